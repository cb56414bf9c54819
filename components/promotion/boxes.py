"""A detector's answers on frames of which it is known what they show, for the gates that are about boxes."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from components.promotion.compare import Scores
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import FoundSamples, found_rows, truth_rows
from components.tasks.detection.metrics import Matches, matches
from components.tasks.detection.samples import Boxes

METRICS = ("ap50",)


@dataclass(frozen=True)
class BoxScores(Scores):
    """Scores with what was found, a row of (K, 6) float32 each: left, top, right, bottom, class, score; and what there
    is, (T, 5) float32 each. `classes` counts the background."""

    found: tuple[np.ndarray, ...] = ()
    truth: tuple[np.ndarray, ...] = ()
    classes: int = 2

    def shown(self, rows: np.ndarray | slice) -> tuple:
        """What ap50 of these rows is worked out from: what is right of what was found, how often each frame counts."""
        times = np.zeros(len(self.keys), np.int64)
        np.add.at(times, np.arange(len(self.keys))[rows], 1)
        return self._matches, times

    def at(self, rows: np.ndarray, told: Scores | None = None) -> "BoxScores":
        """These rows, with the labels and true boxes of `told` where it is given."""
        plain = super().at(rows, told)
        found = tuple(self.found[row] for row in rows)
        truth = tuple(self.truth[row] for row in rows) if told is None else told.truth
        return BoxScores(plain.keys, plain.labels, plain.probabilities, plain.threshold, found, truth, self.classes)

    @cached_property
    def _matches(self) -> Matches:
        most = max((len(one) for one in self.found), default=0)
        rows = np.zeros((len(self.found), max(most, 1), 6), np.float32)
        for row, one in enumerate(self.found):
            rows[row, : len(one)] = one
        found = Detections(rows[..., :4], rows[..., 5], rows[..., 4].astype(np.int64), None)
        truths = [Boxes(one[:, :4], one[:, 4].astype(np.int64), np.ones(len(one), np.float32)) for one in self.truth]
        return matches(truths, found, self.classes)


def ap50(found: Matches, times: np.ndarray) -> float:
    """Average precision at an overlap of .5 where frame i is there `times[i]` times; NaN without a true box."""
    return found.precision(times)


def with_boxes(scores: Scores, predictions: pa.Table, classes: int) -> BoxScores:
    """Those of the scores of a predictions table of whose frame it is known what it shows, with the boxes.

    Raises KeyError naming the column where the table has none.
    """
    for column in ("found", "truth"):
        if column not in predictions.column_names:
            raise KeyError(column)
    names = zip(predictions["asset_id"].to_pylist(), predictions["frame_index"].to_pylist(), strict=True)
    place = {key: row for row, key in enumerate(names)}
    found, truth = predictions["found"].to_pylist(), predictions["truth"].to_pylist()
    rows = np.array([row for row, key in enumerate(scores.keys) if truth[place[key]] is not None], dtype=np.int64)
    kept = scores.at(rows)
    boxes = tuple(_rows(found[place[key]], 6) for key in kept.keys)
    known = tuple(_rows(truth[place[key]], 5) for key in kept.keys)
    return BoxScores(kept.keys, kept.labels, kept.probabilities, kept.threshold, boxes, known, classes)


def of_samples(scores: Scores, samples: FoundSamples, rows: np.ndarray, classes: int) -> BoxScores:
    """The scores, of these `rows` of the samples, with the boxes; frames of which nothing is known are left out."""
    known = [(place, row) for place, row in enumerate(rows) if samples.truths[row] is not None]
    kept = scores.at(np.array([place for place, _ in known], dtype=np.int64))
    found = tuple(found_rows(samples.found, row) for _, row in known)
    truth = tuple(truth_rows(samples.truths[row]) for _, row in known)
    return BoxScores(kept.keys, kept.labels, kept.probabilities, kept.threshold, found, truth, classes)


def _rows(numbers: list[float], width: int) -> np.ndarray:
    return np.array(numbers, np.float32).reshape(-1, width)
