"""From people and bags in metres to outlines in pixels: the one source of both the drawing and the truth boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.scenes.actions import Track
from components.scenes.bags import BagTrack
from components.scenes.camera import View
from components.scenes.people import J, capsules, parts
from components.scenes.solids import box_corners

_SEEN = 3  # a thing of which less than this many pixels' width or height is in the picture is not in the truth


@dataclass(frozen=True)
class Figure:
    """A person in px: outlines (T, P, 12, 2), their order far to near (T, P), depth (T,) m, boxes (T, 4), seen (T,)."""

    outlines: np.ndarray
    order: np.ndarray
    depth: np.ndarray
    boxes: np.ndarray
    seen: np.ndarray


def figure(track: Track, view: View) -> Figure:
    """The outlines of a person's limbs over the clip."""
    form = parts(track.body)
    points, depth = view.project(track.joints)
    a, b = [J[part[0]] for part in form], [J[part[1]] for part in form]
    metres = np.array([part[2:4] for part in form]) * track.body.stature
    wide = track.body.girth ** np.array([0.0 if part[4] in ("skin", "hair") else 1.0 for part in form])
    pixels = view.focal * metres * wide[:, None]
    outlines = capsules(points[:, a], points[:, b], pixels[:, 0] / depth[:, a], pixels[:, 1] / depth[:, b])
    middle = (depth[:, a] + depth[:, b]) / 2 + np.array([part[6] for part in form])
    boxes, seen = _boxes(outlines.reshape(len(outlines), -1, 2), view)
    # Who is wholly behind the camera or the near edge would be drawn inside out.
    near = track.joints[..., 1].min(axis=1) > 0.5
    order = np.argsort(-middle, axis=1, kind="stable")
    return Figure(outlines, order, _floor_depth(track.xy, view), boxes, seen & near)


def shadow(track: Track, view: View, sun: tuple[float, float]) -> np.ndarray:
    """Outlines (T, P', 12, 2) of a person's shadow on the floor; light runs `sun` metres per metre of height."""
    form = [part for part in parts(track.body) if part[4] in ("shirt", "trousers", "hair", "pack")]
    cast = track.joints.copy()
    cast[..., 0] += cast[..., 2] * sun[0]
    cast[..., 1] = np.minimum(cast[..., 1] + cast[..., 2] * sun[1], view.wall_y(cast[..., 0]) - 0.02)
    cast[..., 2] = 0
    points, depth = view.project(cast)
    a, b = [J[part[0]] for part in form], [J[part[1]] for part in form]
    pixels = view.focal * np.array([part[2:4] for part in form]) * track.body.stature * 0.85
    return capsules(points[:, a], points[:, b], pixels[:, 0] / depth[:, a], pixels[:, 1] / depth[:, b])


@dataclass(frozen=True)
class BagShape:
    """A bag in the picture: corners (T, 8, 3) m and (T, 8, 2) px, depth (T,) m, boxes (T, 4), seen (T,)."""

    solid: np.ndarray
    corners: np.ndarray
    depth: np.ndarray
    boxes: np.ndarray
    seen: np.ndarray


def bag_shape(bag: BagTrack, view: View) -> BagShape:
    """The corners of a bag over the clip."""
    solid = box_corners(bag.size, bag.base, bag.heading)
    corners, _ = view.project(solid)
    boxes, seen = _boxes(corners, view)
    return BagShape(solid, corners, _floor_depth(bag.base[:, :2], view), boxes, seen & (bag.base[:, 1] > 0.8))


def _floor_depth(xy: np.ndarray, view: View) -> np.ndarray:
    return view.project(np.concatenate([xy, np.zeros((len(xy), 1))], axis=1))[1]


def _boxes(points: np.ndarray, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Extents (T, 4) x, y, w, h in whole pixels, clipped to the picture, and whether enough is left (T,)."""
    size = np.array([view.width, view.height])
    low = np.clip(np.floor(points.min(axis=1)), 0, size).astype(np.int64)
    high = np.clip(np.ceil(points.max(axis=1)), 0, size).astype(np.int64)
    return np.concatenate([low, high - low], axis=1), ((high - low) >= _SEEN).all(axis=1)
