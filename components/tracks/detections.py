"""What is found in one frame, checked before a tracker changes anything."""

from typing import NamedTuple

import numpy as np

from components.core.errors import SightlineError
from components.tracks.association import unit
from components.tracks.kalman import to_measurements

LEAST_SIDE, FARTHEST = 1e-3, 1e6  # pixels: the smallest side of a box, and the largest coordinate
THINNEST = 1e-2  # pixels of a side that is worth following: above LEAST_SIDE, whatever is lost in arithmetic
REMEDY = "give boxes (N, 4) left, top, right, bottom in pixels, scores (N,), classes (N,) int, embeddings (N, D)"


def followable(boxes: np.ndarray) -> np.ndarray:
    """Which of boxes (N, 4) in pixels are not too thin to be followed, (N,) bool: the others must be left out."""
    return (boxes[:, 2:] - boxes[:, :2] >= THINNEST).all(1)


class Detections(NamedTuple):
    """M detections of one frame."""

    boxes: np.ndarray  # (M, 4) float64 left, top, right, bottom in pixels
    scores: np.ndarray  # (M,) float64
    kinds: np.ndarray  # (M,) int64, class
    embeddings: np.ndarray | None  # (M, D) float64 of length 1
    measurements: np.ndarray  # (M, 4) float64, see kalman


def detections(boxes, scores, classes, embeddings, dimension: int) -> Detections:
    """The arguments of `Tracker.update` as arrays; `dimension`: D of earlier embeddings, 0 where there were none.

    Raises SightlineError naming the first detection that is not finite, without area, or beyond all pictures.
    """
    try:
        boxes, scores, kinds = np.asarray(boxes, np.float64), np.asarray(scores, np.float64), np.asarray(classes)
        embeddings = None if embeddings is None or len(boxes) == 0 else np.asarray(embeddings, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise SightlineError(f"detections: not arrays of numbers ({error})", REMEDY) from None
    if boxes.size == 0:
        boxes = boxes.reshape(0, 4)
    count = len(boxes)
    if boxes.shape != (count, 4) or scores.shape != (count,) or kinds.shape != (count,):
        problem = f"boxes {boxes.shape}, scores {scores.shape}, classes {kinds.shape} do not belong together"
        raise SightlineError(f"detections: {problem}", REMEDY)
    if count and kinds.dtype.kind not in "iu":
        raise SightlineError(f"detections: classes are {kinds.dtype}, not whole numbers", REMEDY)
    _check_boxes(boxes, scores)
    if embeddings is not None:
        _check_embeddings(embeddings, count, dimension)
        embeddings = unit(embeddings)
    return Detections(boxes, scores, kinds.astype(np.int64), embeddings, to_measurements(boxes))


def _check_boxes(boxes: np.ndarray, scores: np.ndarray) -> None:
    within = (np.abs(boxes) <= FARTHEST).all(axis=1)  # false for NaN too
    numbers = within & (np.abs(scores) <= FARTHEST)
    solid = (boxes[:, 2] - boxes[:, 0] >= LEAST_SIDE) & (boxes[:, 3] - boxes[:, 1] >= LEAST_SIDE)
    if numbers.all() and solid.all():
        return
    row = int(np.argmin(numbers & solid))
    reason = "right and bottom are not beyond left and top" if numbers[row] else "not finite, or beyond all pictures"
    raise SightlineError(f"detection {row}: box {boxes[row].tolist()}, score {scores[row]}: {reason}", REMEDY)


def _check_embeddings(embeddings: np.ndarray, count: int, dimension: int) -> None:
    if embeddings.ndim != 2 or len(embeddings) != count or embeddings.shape[1] == 0:
        raise SightlineError(f"detections: embeddings {embeddings.shape} of {count} boxes", REMEDY)
    if dimension and embeddings.shape[1] != dimension:
        problem = f"embeddings of {embeddings.shape[1]} numbers, {dimension} in earlier frames"
        raise SightlineError(f"detections: {problem}", "begin with a new tracker when the model changes")
    bad = ~(np.abs(embeddings) <= np.finfo(np.float32).max).all(axis=1)
    if bad.any():
        raise SightlineError(f"detection {int(np.argmax(bad))}: its embedding is not finite", REMEDY)
