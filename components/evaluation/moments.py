"""Ranked moments: where in the videos to look first. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Moment:
    """A peak of the score. `rank` from 1; `asset` and `row`: positions of the asset and of its frame."""

    rank: int
    asset: int
    row: int
    seconds: float
    score: float


def ranked_moments(tracks: Sequence[tuple[np.ndarray, np.ndarray]], count: int, gap_s: float) -> list[Moment]:
    """The `count` highest peaks over all assets, highest first.

    `tracks`: per asset, seconds (N,) growing and scores (N,). A peak is a frame, or the first of equal frames, higher
    than both neighbours; of two peaks of an asset nearer than `gap_s` the lower is dropped. Equal scores rank in the
    order of assets and time.
    """
    found = [
        (float(scores[row]), asset, row)
        for asset, (seconds, scores) in enumerate(tracks)
        for row in _apart(seconds, scores, peaks(scores), gap_s)
    ]
    found.sort(key=lambda one: (-one[0], one[1], one[2]))
    return [
        Moment(rank, asset, row, float(tracks[asset][0][row]), score)
        for rank, (score, asset, row) in enumerate(found[:count], 1)
    ]


def peaks(scores: np.ndarray) -> np.ndarray:
    """Rows of the local maxima of scores (N,), growing; of a plateau, its first row."""
    if not len(scores):
        return np.empty(0, np.int64)
    starts = np.flatnonzero(np.concatenate([[True], np.diff(scores) != 0]))
    level = np.concatenate([[-np.inf], scores[starts].astype(np.float64), [-np.inf]])
    return starts[(level[1:-1] > level[:-2]) & (level[1:-1] > level[2:])]


def _apart(seconds: np.ndarray, scores: np.ndarray, rows: np.ndarray, gap_s: float) -> list[int]:
    """Of these rows, the highest first, those that are at least `gap_s` from each taken before."""
    taken: list[int] = []
    for row in sorted(rows.tolist(), key=lambda row: (-scores[row], row)):
        if all(abs(seconds[row] - seconds[other]) >= gap_s for other in taken):
            taken.append(row)
    return taken
