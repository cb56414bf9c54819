"""What a detector found in the frames of an asset, what is there, and how well the two agree. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from components.core.bundle import EVEN
from components.tasks.classification.samples import Samples
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import FoundSamples, found_rows, truth_rows
from components.tasks.detection.metrics import OVERLAP, Matches, box_metrics, matches, recall, top_overlaps
from components.tasks.detection.samples import Boxes

CENTRED = (0.1, 0.1, 0.9, 0.9)  # of the boxes in the middle that one might always say, about the best
TRUE, FOUND = (230, 159, 0), (86, 180, 233)  # colours of boxes in the report
TAUGHT = "lime_"  # what the names of the teacher's own figures begin with


@dataclass(frozen=True)
class FrameBoxes:
    """Of each of N frames: `found` (N, ...) Detections in numpy, `truths` and `taught` as `FoundSamples` has them."""

    found: Detections
    truths: list[Boxes | None]
    taught: list[Boxes | None] | None

    @classmethod
    def of(cls, samples: Samples, rows: slice) -> "FrameBoxes | None":
        """Those of these rows of the samples; None where the model is no detector."""
        if not isinstance(samples, FoundSamples):
            return None
        taught = samples.taught[rows] if samples.taught is not None else None
        found = Detections(*(part[rows] for part in samples.found[: len(Detections._fields)]))
        return cls(found, samples.truths[rows], taught)

    def columns(self, row: int) -> dict[str, list[float] | None]:
        """A frame's columns of the predictions table."""
        truth = self.truths[row]
        known = None if truth is None else truth_rows(truth).ravel().tolist()
        return {"found": found_rows(self.found, row).ravel().tolist(), "truth": known}


def drawn(picture: np.ndarray, boxes: FrameBoxes, row: int, threshold: float) -> np.ndarray:
    """A copy of a frame's picture, (H, W, 3) uint8 RGB, with the true boxes and, above them, those found with a score
    of `threshold` or more."""
    out = picture.copy()
    kept = boxes.found.scores[row] >= threshold
    truth = boxes.truths[row]
    for corners, colour in ((truth.boxes if truth is not None else (), TRUE), (boxes.found.boxes[row][kept], FOUND)):
        for left, top, right, bottom in corners:
            height, width = picture.shape[:2]
            ends = [(round(x * (width - 1)), round(y * (height - 1))) for x, y in ((left, top), (right, bottom))]
            cv2.rectangle(out, *ends, (0, 0, 0), 4)
            cv2.rectangle(out, *ends, colour, 2)
    return out


def box_matches(assets: Sequence) -> Matches | None:
    """Which of the boxes found are right, at an overlap of .5; None where there are no boxes, or no true one."""
    known = _known([asset.boxes for asset in assets if asset.boxes is not None])
    return matches(*known[:2], known[1].probabilities.shape[1]) if known else None


def box_precision(assets: Sequence) -> float | None:
    """ap50 of these assets; None where there are no boxes, or no true one."""
    found = box_matches(assets)
    return None if found is None else found.precision()


def box_figures(assets: Sequence, threshold: float | None) -> dict[str, float]:
    """Figures of the boxes (`components.tasks.detection.metrics`), of the frames of which it is known what they show;
    nothing where there are no boxes, or no true one. `threshold`: from where on boxes are called, EVEN where None.

    Beside the detector's own: its teacher's, where people drew the true boxes, and those of two boxes that anybody
    could say, the whole picture and one in the middle.
    """
    parts = [asset.boxes for asset in assets if asset.boxes is not None]
    known = _known(parts)
    if known is None:
        return {}
    true, found, rows = known
    classes = found.probabilities.shape[1]
    figures = box_metrics(true, found, classes)
    figures |= matches(true, found, classes).called(EVEN if threshold is None else threshold)
    if all(part.taught is not None for part in parts):
        told = [taught for part in parts for taught in part.taught]
        figures |= _of_fixed([told[row] for row in rows], true, TAUGHT)
    for name, box in (("whole_picture_", (0.0, 0.0, 1.0, 1.0)), ("centred_", CENTRED)):
        always = Boxes(np.array([box], np.float32), np.ones(1, np.int64), np.ones(1, np.float32))
        figures |= _of_fixed([always] * len(true), true, name)
    return figures | {"boxes": float(sum(len(truth) for truth in true))}


def _known(parts: Sequence[FrameBoxes]) -> tuple[list[Boxes], Detections, list[int]] | None:
    """True boxes and what was found, of the frames of which it is known what they show, and these frames' places among
    all of the parts; None where there is no true box."""
    truths = [truth for part in parts for truth in part.truths]
    rows = [row for row, truth in enumerate(truths) if truth is not None]
    if not any(len(truths[row]) for row in rows):
        return None
    columns = zip(*(part.found for part in parts), strict=True)
    return [truths[row] for row in rows], Detections(*(np.concatenate(column)[rows] for column in columns)), rows


def _of_fixed(boxes: list[Boxes | None], truths: list[Boxes], name: str) -> dict[str, float]:
    """CorLoc, mean IoU and recall of boxes that are said of each frame, the weightiest first."""
    most = max((len(one) for one in boxes if one is not None), default=0) or 1
    shape = (len(boxes), most)
    found = Detections(np.zeros((*shape, 4), np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.int64), None)
    for row, one in enumerate(boxes):
        if one is not None and len(one):
            order = np.argsort(-one.weights, kind="stable")
            found.boxes[row, : len(one)] = one.boxes[order]
            found.scores[row, : len(one)] = np.maximum(one.weights[order], 1e-6)
            found.classes[row, : len(one)] = one.classes[order]
    positive = np.array([len(truth) > 0 for truth in truths])
    best = top_overlaps(truths, found)[positive]
    figures = {
        "corloc": float((best >= OVERLAP).mean()),
        "mean_iou": float(best.mean()),
        "recall50": recall(truths, found),
    }
    return {name + figure: value for figure, value in figures.items()}
