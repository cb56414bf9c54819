"""Boxes that stand on the floor: furniture, litter and the bags that people carry."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

SHIFT = 4  # OpenCV's drawing takes fixed-point coordinates with this many fractional bits
_CORNERS = np.array([[f, s, u] for u in (0, 1) for f, s in ((-0.5, -0.5), (-0.5, 0.5), (0.5, 0.5), (0.5, -0.5))])
# faces as corner indices, with the outward normal (forward, left, up) and its shade
_FACES = (
    ((4, 5, 6, 7), (0, 0, 1), 1.18), ((0, 1, 5, 4), (-1, 0, 0), 0.72), ((2, 3, 7, 6), (1, 0, 0), 0.95),
    ((1, 2, 6, 5), (0, 1, 0), 0.82), ((3, 0, 4, 7), (0, -1, 0), 0.78),
)  # fmt: skip


def fixed(points: np.ndarray) -> np.ndarray:
    """Pixel coordinates -> int32 in OpenCV's fixed-point form (pixel centres at whole numbers)."""
    return np.clip(np.rint((points - 0.5) * (1 << SHIFT)), -(2**20), 2**20).astype(np.int32)


def fill(picture: np.ndarray, polygon: np.ndarray, colour) -> None:
    """Fills a convex polygon (N, 2) int32 from `fixed`, antialiased."""
    cv2.fillConvexPoly(picture, polygon, colour, cv2.LINE_AA, SHIFT)


def box_corners(size, base: np.ndarray, heading: np.ndarray) -> np.ndarray:
    """Corners (..., 8, 3) of boxes of (length, width, height) on base points (..., 3), turned by heading (...,)."""
    f, s, u = (_CORNERS * np.asarray(size)).T
    cos, sin = np.cos(heading)[..., None], np.sin(heading)[..., None]
    x, y = f * cos - s * sin, f * sin + s * cos
    return np.stack([x, y, np.broadcast_to(u, x.shape)], axis=-1) + base[..., None, :]


def visible_faces(corners: np.ndarray, heading: float, eye: np.ndarray) -> list[tuple[tuple, float]]:
    """The faces of one box (8, 3) that look towards the eye (3,): (corner indices, shade)."""
    out = []
    for face, (f, s, u), tone in _FACES:
        normal = np.array([f * np.cos(heading) - s * np.sin(heading), f * np.sin(heading) + s * np.cos(heading), u])
        if normal @ (corners[list(face)].mean(axis=0) - eye) < 0:
            out.append((face, tone))
    return out


@dataclass(frozen=True)
class Solid:
    """A piece of furniture: boxes (offset forward, left, up; length, width, height; RGB) around a floor point."""

    kind: str
    xy: np.ndarray
    heading: float
    boxes: tuple
    leaves: tuple = ()

    @property
    def forward(self) -> np.ndarray:
        """The unit vector (2,) to the front."""
        return np.array([np.cos(self.heading), np.sin(self.heading)])

    def depth(self, view) -> float:
        """The depth at which it is drawn among people."""
        return float(view.project(np.array([*self.xy, 0.0]))[1])

    def footprint(self, margin: float) -> np.ndarray:
        """The outline on the floor (N, 2), widened by `margin` metres."""
        points = [self._corners(box, margin)[:4, :2] for box in self.boxes if box[0][2] < 0.05]
        return cv2.convexHull(np.concatenate(points).astype(np.float32))[:, 0].astype(float)

    def _corners(self, box, margin: float = 0.0) -> np.ndarray:
        (f, s, u), (length, width, height), _ = box
        side = np.array([-self.forward[1], self.forward[0]])
        base = np.array([*(self.xy + f * self.forward + s * side), u])
        return box_corners((length + 2 * margin, width + 2 * margin, height), base, np.float64(self.heading))

    def draw(self, view, picture: np.ndarray, light: float | None) -> None:
        """Draws it into an RGB picture, or as 255 into a one-channel mask when light is None."""
        eye = np.array([0.0, 0.0, view.camera.above])
        for box in self.boxes:
            corners = self._corners(box)
            points = fixed(view.project(corners)[0])
            for face, tone in visible_faces(corners, self.heading, eye):
                colour = 255 if light is None else _rgb(box[2], tone * light)
                fill(picture, points[list(face)], colour)
        for f, s, u, radius, rgb in self.leaves:
            side = np.array([-self.forward[1], self.forward[0]])
            centre, depth = view.project(np.array([*(self.xy + f * self.forward + s * side), u]))
            size = int(max(1, view.focal * radius / depth * (1 << SHIFT)))
            colour = 255 if light is None else _rgb(rgb, light)
            cv2.circle(picture, tuple(fixed(centre).tolist()), size, colour, -1, cv2.LINE_AA, SHIFT)


def _rgb(colour, factor: float) -> tuple[int, int, int]:
    return tuple(int(np.clip(c * factor, 0, 255)) for c in colour)


def furniture(kind: str, xy: np.ndarray, heading: float, rng: np.random.Generator) -> Solid:
    """A piece of furniture by kind: bench, plant, pillar, bin, bollard, counter, carton or sack."""
    tone = float(rng.uniform(0.8, 1.15))
    if kind == "bench":
        seat = ((0, 0, 0.34), (0.45, 1.7, 0.07), np.array([128, 92, 60]) * tone)
        legs = [((0, s, 0), (0.35, 0.12, 0.34), np.array([70, 70, 74])) for s in (-0.65, 0.65)]
        return Solid(kind, xy, heading, (*legs, seat))
    if kind == "plant":
        spread = rng.uniform([-0.3, -0.3, 0.55, 0.14], [0.3, 0.3, 1.3, 0.26], (26, 4))
        greens = np.array([[44, 92, 48], [66, 118, 60], [34, 70, 40]])[rng.integers(3, size=26)]
        leaves = tuple((*row, green) for row, green in zip(spread, greens, strict=True))
        return Solid(kind, xy, heading, (((0, 0, 0), (0.42, 0.42, 0.5), np.array([120, 84, 66]) * tone),), leaves)
    sizes = {
        "pillar": ((0.5, 0.5, 4.5), (176, 170, 160)), "bin": ((0.4, 0.4, 0.8), (72, 78, 84)),
        "bollard": ((0.18, 0.18, 0.95), (92, 92, 96)), "counter": ((0.7, 1.7, 1.05), (150, 132, 110)),
        "carton": ((0.36, 0.5, 0.36), (164, 128, 86)), "sack": ((0.34, 0.46, 0.4), (52, 52, 60)),
    }  # fmt: skip
    size, rgb = sizes[kind]
    if kind in ("carton", "sack"):
        heading = heading + float(rng.uniform(-0.6, 0.6))
    body = ((0, 0, 0), size, np.array(rgb) * tone)
    if kind == "counter":
        return Solid(kind, xy, heading, (body, ((0, 0, 1.05), (0.8, 1.8, 0.05), np.array([96, 74, 56]))))
    if kind == "carton":
        return Solid(kind, xy, heading, (body, ((0, 0, 0.36), (0.06, 0.5, 0.002), np.array([196, 176, 140]))))
    return Solid(kind, xy, heading, (body,))
