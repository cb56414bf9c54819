"""A tracker's answers on frames of which it is known what they show, for the gates that are about tracks."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import pyarrow as pa

from components.core.tables import TRACKED
from components.promotion.compare import Scores
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.samples import Boxes
from components.tasks.detection.tracking.follow import measurable
from components.tasks.detection.tracking.metrics import Counts, combined, sequence_counts

METRICS = ("hota", "mota", "idf1")


@dataclass(frozen=True)
class TrackScores(Scores):
    """Scores with what was tracked in each frame and what is marked there, by the identities; `sequences` (N,) object
    are names, `places` (N,) int64 the order of time within each. Sequences are drawn whole. `classes`: the task's."""

    sequences: np.ndarray
    places: np.ndarray
    tracked: tuple[Boxes, ...]
    marked: tuple[Boxes, ...]
    classes: tuple[str, ...]

    UNITS: ClassVar[str] = "sequences"

    def units(self) -> list[str]:
        """The sequence of each row."""
        return self.sequences.tolist()

    def shown(self, rows: np.ndarray | slice) -> tuple:
        """What a figure of these rows, all of a sequence's as often as any, is worked out from: the counts, and how
        often each is there."""
        counts, holders = self._counts
        numbers, sizes = self._numbered
        return counts, (np.bincount(numbers[rows], minlength=len(sizes)) // sizes)[holders]

    def at(self, rows: np.ndarray, told: Scores | None = None) -> "TrackScores":
        """These rows, with the labels, what is marked, and the sequences of `told` where it is given."""
        plain = super().at(rows, told)
        tracked = tuple(self.tracked[row] for row in rows)
        if told is None:
            marked = tuple(self.marked[row] for row in rows)
            known = self.sequences[rows], self.places[rows], tracked, marked
        else:
            known = told.sequences, told.places, tracked, told.marked
        return TrackScores(*_parts(plain), *known, self.classes)

    @cached_property
    def _numbered(self) -> tuple[np.ndarray, np.ndarray]:
        """Each row's sequence as a number, (N,) int64, and how many rows each sequence has."""
        _, numbers, sizes = np.unique(self.sequences.astype(str), return_inverse=True, return_counts=True)
        return numbers, sizes

    @cached_property
    def _counts(self) -> tuple[list[Counts], np.ndarray]:
        """One evaluation of every sequence, of several classes one for each; and the number of its sequence, (S,)."""
        numbers, sizes = self._numbered
        counts, holders = [], []
        for number in range(len(sizes)):
            rows = np.flatnonzero(numbers == number)
            rows = rows[np.argsort(self.places[rows], kind="stable")]
            marked, tracked = ([every[row] for row in rows] for every in (self.marked, self.tracked))
            pairs = measurable(self.sequences[rows[0]], marked, tracked, self.classes)
            counts += sequence_counts(pairs).values()
            holders += [number] * len(pairs)
        return counts, np.array(holders, np.int64)


def figure(name: str, counts: list[Counts], times: np.ndarray) -> float:
    """A figure where what counts[i] is of is there `times[i]` times; NaN where nothing there is to be followed."""
    if not counts:
        return float("nan")
    found = combined(counts, times)
    return found[name] if found["tracks"] else float("nan")


def with_tracks(scores: Scores, predictions: pa.Table, classes: tuple[str, ...]) -> TrackScores:
    """Those of the scores of a predictions table of whose frame it is known what it shows, with the tracks.

    Raises KeyError naming the column where the table has none.
    """
    for column in TRACKED.names:
        if column not in predictions.column_names:
            raise KeyError(column)
    names = zip(predictions["asset_id"].to_pylist(), predictions["frame_index"].to_pylist(), strict=True)
    place = {key: row for row, key in enumerate(names)}
    columns = {name: predictions[name].to_pylist() for name in TRACKED.names}
    known = [(row, place[key]) for row, key in enumerate(scores.keys) if columns["marked"][place[key]] is not None]
    tracked, marked = (
        [_boxes(columns[name][at], columns[f"{name}_ids"][at]) for _, at in known] for name in ("tracked", "marked")
    )
    sequences, places = ([columns[name][at] for _, at in known] for name in ("sequence", "place"))
    kept = scores.at(np.array([row for row, _ in known], np.int64))
    return _scores(kept, sequences, places, tracked, marked, classes)


def of_samples(scores: Scores, samples: FoundSamples, rows: np.ndarray, classes: tuple[str, ...]) -> TrackScores:
    """The scores, of these `rows` of the samples, with the tracks; frames of which nothing is known are left out."""
    names, order = np.empty(len(samples), object), np.empty(len(samples), np.int64)
    for one in samples.sequences:
        names[one.rows], order[one.rows] = one.name, np.arange(len(one.rows))
    known = [(place, row) for place, row in enumerate(rows) if samples.marked[row] is not None]
    kept = scores.at(np.array([place for place, _ in known], np.int64))
    tracked, marked = ([every[row] for _, row in known] for every in (samples.tracks, samples.marked))
    sequences, places = ([every[row] for _, row in known] for every in (names, order))
    return _scores(kept, sequences, places, tracked, marked, classes)


def _scores(
    scores: Scores, sequences: list[str], places: list[int], tracked: list[Boxes], marked: list[Boxes], classes: tuple
) -> TrackScores:
    """Identities, which a tracker counts anew in every sequence, become such as no two sequences share: what it called
    one in two of them stays two where they are compared as one."""
    owners = np.repeat(np.arange(len(tracked)), [len(one) for one in tracked])
    _, numbers = np.unique(np.array(sequences, str), return_inverse=True)
    ids = np.concatenate([one.identities for one in tracked] or [np.empty(0, np.int64)])
    _, ids = np.unique(np.stack([numbers[owners], ids]), axis=1, return_inverse=True)
    parts = np.split(ids.ravel(), np.cumsum([len(one) for one in tracked])[:-1])
    tracked = [Boxes(one.boxes, one.classes, one.weights, own) for one, own in zip(tracked, parts, strict=False)]
    known = np.array(sequences, object), np.array(places, np.int64), tuple(tracked), tuple(marked)
    return TrackScores(*_parts(scores), *known, tuple(classes))


def _parts(scores: Scores) -> tuple:
    return scores.keys, scores.labels, scores.probabilities, scores.threshold


def _boxes(numbers: list[float], identities: list[int]) -> Boxes:
    rows = np.array(numbers, np.float32).reshape(-1, 6)
    return Boxes(rows[:, :4], rows[:, 4].astype(np.int64), rows[:, 5], np.array(identities, np.int64))
