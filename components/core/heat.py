"""From the weights of superpixels to a map of heat, and from that to boxes. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from components.core.lime import Explanation

TOUCHING = np.ones((3, 3))  # pixels that touch at a corner are of one region


@dataclass(frozen=True)
class Region:
    """A box (left, top, right, bottom in shares of the picture's sides) and its share of the map's weight."""

    box: tuple[float, float, float, float]
    share: float


def heat_map(found: Sequence[tuple[np.ndarray, Explanation]], smooth: float) -> np.ndarray:
    """(H, W) float64, not negative: the sum over segmentations of what superpixels add to the score, smoothed.

    `found`: labels (H, W) and what was found by them. Segmentations of several scales have their edges at different
    places, so that their sum follows an object closer than any of them. `smooth`: standard deviation of the Gaussian,
    as a share of the shorter side.
    """
    total = sum(np.maximum(explanation.weights, 0)[labels] for labels, explanation in found)
    return ndimage.gaussian_filter(total, smooth * min(total.shape)) if smooth else total


def regions(heat: np.ndarray, threshold: float, min_share: float) -> list[Region]:
    """A region for each connected part of the map that reaches `threshold` of its highest value, the heaviest first.

    Parts with less than `min_share` of all parts' weight are left out, the heaviest never. A map of zeros has none.
    """
    if not heat.max() > 0:
        return []
    parts, count = ndimage.label(heat >= threshold * heat.max(), TOUCHING)
    weights = np.bincount(parts.ravel(), heat.ravel(), count + 1)[1:]
    shares = weights / weights.sum()
    boxes = [_box(place, heat.shape) for place in ndimage.find_objects(parts)]
    order = np.argsort(-shares, kind="stable")
    return [Region(boxes[i], float(shares[i])) for i in order if shares[i] >= min_share or i == order[0]]


def single_region(heat: np.ndarray, threshold: float) -> list[Region]:
    """The published method: one rectangle around all that reaches the threshold."""
    if not heat.max() > 0:
        return []
    return [Region(_box(ndimage.find_objects((heat >= threshold * heat.max()).astype(int))[0], heat.shape), 1.0)]


def inside(boxes: Sequence[tuple[float, float, float, float]], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool: the pixels in any of the boxes."""
    mask = np.zeros(shape, bool)
    height, width = shape
    for left, top, right, bottom in boxes:
        mask[round(top * height) : round(bottom * height), round(left * width) : round(right * width)] = True
    return mask


def png(heat: np.ndarray) -> bytes:
    """The map as a grey PNG, see `grey`."""
    return cv2.imencode(".png", grey(heat))[1].tobytes()


def grey(heat: np.ndarray) -> np.ndarray:
    """The map as (H, W) uint8, scaled so that its highest value is 255."""
    scaled = np.round(255 * heat / heat.max()) if heat.max() > 0 else np.zeros(heat.shape)
    return scaled.astype(np.uint8)


def over(picture: np.ndarray, grey: np.ndarray) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, under its map, (h, w) uint8 as of `png`: the hotter, the brighter and denser."""
    height, width = picture.shape[:2]
    heat = cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO)[..., ::-1]
    share = (0.15 + 0.6 * heat.astype(np.float32) / 255)[..., None]
    return np.ascontiguousarray((picture * (1 - share) + colours * share).astype(np.uint8))


def _box(place: tuple[slice, slice], shape: tuple[int, int]) -> tuple[float, float, float, float]:
    (height, width), (rows, columns) = shape, place
    return columns.start / width, rows.start / height, columns.stop / width, rows.stop / height
