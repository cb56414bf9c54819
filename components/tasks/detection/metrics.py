"""Metrics of detection.

    ap50            average precision at an overlap of .5, a mean over the classes that occur (COCO's AP50)
    ap              the mean of the same over the overlaps .5, .55, ... .95 (COCO's AP; T.-Y. Lin et al., 2014)
    corloc          share of the pictures with a true box whose best box overlaps a true one by .5 or more
                    (T. Deselaers, B. Alexe and V. Ferrari, "Weakly supervised localization and learning with
                    generic knowledge", 2012)
    mean_iou        mean, over the pictures with a true box, of the best overlap of their best box with a true one
    recall50        share of all true boxes that any box found overlaps by .5 or more
    box_precision   share of the boxes called, those with a score of the threshold or more, that are right (as for ap50)
    box_recall      share of the true boxes that a box called is right about
    box_f1          both in one

The best box of a picture is the one with the highest score; a picture in which nothing is found counts 0. Overlap is
intersection over union. ap50 and ap count pictures without a true box, where everything found is wrong, and look at
100 boxes of a class in a picture at most; corloc, mean_iou and recall50 do not look at classes. box_precision,
box_recall and box_f1 count the boxes of all classes together.
"""

import contextlib
import io
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from components.core.bundle import EVEN
from components.core.errors import SightlineError
from components.tasks.detection.boxes import Detections
from components.tasks.detection.samples import Boxes

OVERLAP = 0.5
MOST = 100  # boxes of a class in a picture, as COCO has it
RECALLS = np.linspace(0, 1, 101)  # at which the precision is read


def iou_matrix(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union, (N, M) float64, of boxes (N, 4) and (M, 4), left, top, right, bottom; 0 without area.

    Worked out from left, top, width and height in the order in which COCO's code does, and so equal to the last bit.
    """
    first, second = _corner_and_size(boxes)[:, None], _corner_and_size(others)[None]
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    shared = np.clip(high - low, 0, None).prod(-1)
    union = first[..., 2:].prod(-1) + second[..., 2:].prod(-1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def box_metrics(truths: list[Boxes], found: Detections, classes: int) -> dict[str, float]:
    """The figures that the module explains. `found` in numpy, of the same pictures; `classes` counts the background.

    Raises SightlineError where no picture has a true box.
    """
    best = top_overlaps(truths, found)
    positive = np.array([len(truth) > 0 for truth in truths], bool)
    if not positive.any():
        raise SightlineError(
            f"metrics: none of {len(truths)} pictures has a true box", "hold out pictures with boxes: see ingest.split"
        )
    return coco_precision(truths, found, classes) | {
        "corloc": float((best[positive] >= OVERLAP).mean()),
        "mean_iou": float(best[positive].mean()),
        "recall50": recall(truths, found),
    }


def top_overlaps(truths: list[Boxes], found: Detections) -> np.ndarray:
    """The best overlap of each picture's highest scored box with one of its true boxes, (N,) float64; 0 without."""
    best = np.zeros(len(truths))
    for row, truth in enumerate(truths):
        if len(truth) and found.scores[row, 0] > 0:
            best[row] = iou_matrix(found.boxes[row, :1], truth.boxes).max()
    return best


def recall(truths: list[Boxes], found: Detections, overlap: float = OVERLAP) -> float:
    """Share of all true boxes that some box found overlaps by `overlap` or more; NaN without true boxes."""
    hit = [
        iou_matrix(truth.boxes, found.boxes[row][found.scores[row] > 0]).max(1, initial=0) >= overlap
        for row, truth in enumerate(truths)
    ]
    every = np.concatenate([*hit, np.empty(0, bool)])
    return float(every.mean()) if len(every) else float("nan")


def coco_precision(truths: list[Boxes], found: Detections, classes: int) -> dict[str, float]:
    """ap50 and ap by pycocotools, the reference; NaN where no true box is there."""
    kinds = [{"id": kind, "name": str(kind)} for kind in range(1, classes)]
    true = [
        {
            "id": 0, "image_id": row, "category_id": int(kind), "bbox": box.tolist(), "iscrowd": 0,
            "area": float(box[2] * box[3]),
        }
        for row, truth in enumerate(truths)
        for box, kind in zip(_corner_and_size(truth.boxes), truth.classes, strict=True)
    ]  # fmt: skip
    for number, entry in enumerate(true):
        entry["id"] = number + 1  # COCO takes 0 for no match
    claimed = [
        {"image_id": row, "category_id": int(found.classes[row, at]), "bbox": box.tolist(), "score": float(score)}
        for row in range(len(truths))
        for at, (box, score) in enumerate(zip(_corner_and_size(found.boxes[row]), found.scores[row], strict=True))
        if score > 0
    ]
    if not true or not claimed:
        return dict.fromkeys(("ap50", "ap"), 0.0 if true else float("nan"))
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = {
            "info": {}, "images": [{"id": row} for row in range(len(truths))], "annotations": true, "categories": kinds,
        }  # fmt: skip
        reference.createIndex()
        judge = COCOeval(reference, reference.loadRes(claimed), "bbox")
        judge.params.areaRng, judge.params.areaRngLbl = judge.params.areaRng[:1], judge.params.areaRngLbl[:1]
        judge.params.maxDets = [MOST]
        judge.evaluate()
        judge.accumulate()
    precision = judge.eval["precision"][..., 0, 0]  # (overlaps, recalls, classes), -1 for a class that does not occur
    occurring = precision[0, 0] > -1
    return {"ap50": float(precision[0][:, occurring].mean()), "ap": float(precision[..., occurring].mean())}


@dataclass(frozen=True)
class Matches:
    """Every box found and whether it is right at one overlap, so that ap50 of any drawing of the pictures is quick.

    Of D boxes, by falling score: picture (D,) int64, kind (D,) int64, right (D,) bool, score (D,) float. `true` (N, C)
    int64: true boxes of each of N pictures by class.
    """

    picture: np.ndarray
    kind: np.ndarray
    right: np.ndarray
    score: np.ndarray
    true: np.ndarray

    @cached_property
    def _rows(self) -> list[np.ndarray]:
        return [np.flatnonzero(self.kind == kind) for kind in range(self.true.shape[1])]

    def precision(self, times: np.ndarray | None = None) -> float:
        """Average precision where picture i is there `times[i]` times (N,) int (None: once); NaN without true boxes.

        COCO's of the pictures repeated, but for boxes of one picture with the very same score: these, which have no
        order of their own, COCO takes in turns, copy by copy.
        """
        times = np.ones(len(self.true), np.int64) if times is None else times
        total = times @ self.true
        values = [self._of_class(kind, times, int(total[kind])) for kind in np.flatnonzero(total)]
        return float(np.mean(values)) if values else float("nan")

    def _of_class(self, kind: int, times: np.ndarray, total: int) -> float:
        rows = self._rows[kind]
        many = times[self.picture[rows]]
        right, every = np.cumsum(many * self.right[rows]), np.cumsum(many)
        # From the end: the best precision at this recall or a higher one.
        best = np.maximum.accumulate((right / np.maximum(every, 1))[::-1])[::-1]
        at = np.searchsorted(right / total, RECALLS, side="left")
        return float(np.append(best, 0.0)[at].mean())

    @cached_property
    def _cuts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of every score that occurs, falling: the score, the boxes right and all boxes from it on; (M,) each."""
        last = np.flatnonzero(np.diff(self.score, append=-np.inf))
        return self.score[last], np.cumsum(self.right)[last], last + 1

    def curve(self) -> list[tuple[float, float, float]]:
        """(recall, precision, threshold) of the boxes of all classes from a score on, recall falling; at the last,
        threshold inf, nothing is called. Of the scores between two boxes that are right only the outermost are there.
        """
        scores, right, every = (part[::-1] for part in self._cuts)
        kept = (np.diff(right, prepend=-1) != 0) | (np.diff(right, append=-1) != 0)
        columns = right / max(1, int(self.true.sum())), right / every, scores
        return [*(tuple(map(float, row)) for row in np.stack(columns, 1)[kept]), (0.0, 1.0, float("inf"))]

    def called(self, threshold: float) -> dict[str, float]:
        """box_precision, box_recall and box_f1 of the boxes with a score of `threshold` or more, 0 of none."""
        right, every = int(self.right[self.score >= threshold].sum()), int((self.score >= threshold).sum())
        total = int(self.true.sum())
        return {
            "box_precision": right / max(1, every),
            "box_recall": right / max(1, total),
            "box_f1": 2 * right / max(1, every + total),
        }

    def best_threshold(self) -> float:
        """The threshold with the highest box_f1, midway between two neighbouring scores, the highest of equal ones;
        EVEN where no box is right."""
        scores, right, every = self._cuts
        if not right.any():
            return EVEN
        at = int(np.argmax(2 * right / (every + self.true.sum())))
        return float(scores[at : at + 2].astype(np.float64).mean())


def matches(truths: list[Boxes], found: Detections, classes: int, overlap: float = OVERLAP) -> Matches:
    """Which boxes found are right, as COCO settles it: by falling score each takes the true box of its class, not yet
    taken, that it overlaps most, if by `overlap` or more."""
    parts, true = [], np.zeros((len(truths), classes), np.int64)
    for row, truth in enumerate(truths):
        np.add.at(true[row], truth.classes, 1)
        for kind in np.unique(found.classes[row][found.scores[row] > 0]):
            own = np.flatnonzero((found.classes[row] == kind) & (found.scores[row] > 0))
            own = own[np.argsort(-found.scores[row][own], kind="stable")][:MOST]
            right = _taken(iou_matrix(found.boxes[row][own], truth.boxes[truth.classes == kind]), overlap)
            parts.append((np.full(len(own), row), np.full(len(own), kind), right, found.scores[row][own]))
    columns = zip(*parts, strict=True) if parts else [[np.empty(0, kind)] for kind in (int, int, bool, float)]
    picture, kind, right, scores = (np.concatenate(column) for column in columns)
    order = np.argsort(-scores, kind="stable")
    return Matches(picture[order], kind[order], right[order], scores[order], true)


def _taken(ious: np.ndarray, overlap: float) -> np.ndarray:
    """Whether each box, (D,) by falling score, takes a true one; overlaps (D, T). Of equal ones the last is taken."""
    free, right = np.ones(ious.shape[1], bool), np.zeros(len(ious), bool)
    for row, values in enumerate(ious):
        able = np.flatnonzero(free & (values >= min(overlap, 1 - 1e-10)))
        if len(able):
            free[able[np.flatnonzero(values[able] == values[able].max())[-1]]] = False
            right[row] = True
    return right


def _corner_and_size(boxes: np.ndarray) -> np.ndarray:
    """Left, top, width and height, (N, 4) float64."""
    wide = boxes.astype(np.float64)
    return np.concatenate([wide[:, :2], wide[:, 2:] - wide[:, :2]], 1)
