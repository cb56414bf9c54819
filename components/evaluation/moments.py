"""Ranked moments: which frames of which assets to look at first. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from components.evaluation.curves import Pair
from components.evaluation.scores import Scored

PEAK, MISTAKE, PAIR, UNSURE = "peak", "mistake", "pair", "unsure"
PAIRS, EXAMPLES = 6, 4  # confused pairs of classes that are shown, and frames of each


@dataclass(frozen=True)
class Moment:
    """A frame to look at. `rank` from 1; `asset` and `row`: positions of the asset and of its frame.

    `kind`: PEAK of the positive class's score, MISTAKE that the model was sure of, PAIR of classes confused, UNSURE.
    """

    rank: int
    asset: int
    row: int
    seconds: float
    score: float
    kind: str = PEAK


def chosen_moments(assets: Sequence[Scored], pairs: Sequence[Pair], count: int, gap_s: float) -> list[Moment]:
    """What the report shows, ranked throughout: up to `count` of each kind, in the order of the kinds.

    With a positive class the peaks of its score, and of pictures also the mistakes. Without one the mistakes and the
    frames that the model was least sure of. Of more than two classes also examples of `pairs`, EXAMPLES of each.
    """
    positive, classes = assets[0].positive, assets[0].probabilities.shape[1]
    pictures = all(asset.kind == "picture" for asset in assets)
    found: list[Moment] = []
    if positive is not None:
        found += ranked_moments([(asset.seconds, asset.scores) for asset in assets], count, gap_s)
    order = _surest(assets)
    if positive is None or pictures:
        found += _moments(MISTAKE, assets, _taken(order, assets, count, gap_s))
    if classes > 2:
        for pair in pairs:
            own = [
                (asset, row)
                for asset, row in order
                if (assets[asset].labels[row], assets[asset].called[row]) == (pair.actual, pair.called)
            ]
            found += _moments(PAIR, assets, _taken(own, assets, EXAMPLES, gap_s))
    if positive is None:
        found += _moments(UNSURE, assets, _taken(_least_sure(assets), assets, count, gap_s))
    return [Moment(rank, one.asset, one.row, one.seconds, one.score, one.kind) for rank, one in enumerate(found, 1)]


def _surest(assets: Sequence[Scored]) -> list[tuple[int, int]]:
    """(asset, row) of every wrong call, the one with the highest probability first."""
    found = [
        (-float(asset.probabilities[row, asset.called[row]]), number, int(row))
        for number, asset in enumerate(assets)
        for row in np.flatnonzero(asset.wrong)
    ]
    return [(number, row) for _, number, row in sorted(found)]


def _least_sure(assets: Sequence[Scored]) -> list[tuple[int, int]]:
    """(asset, row) of every frame, those first whose two likeliest classes are nearest to each other."""
    found = []
    for number, asset in enumerate(assets):
        best = np.sort(asset.probabilities, axis=1)[:, -2:]
        found += [(float(margin), number, row) for row, margin in enumerate(best[:, 1] - best[:, 0])]
    return [(number, row) for _, number, row in sorted(found)]


def _taken(order: Iterable[tuple[int, int]], assets: Sequence[Scored], count: int, gap_s: float) -> list:
    """The first `count` of these (asset, row) that are at least `gap_s` from each taken before of the same asset."""
    taken: list[tuple[int, int]] = []
    for number, row in order:
        seconds = assets[number].seconds
        if all(other != number or abs(seconds[row] - seconds[at]) >= gap_s for other, at in taken):
            taken.append((number, row))
            if len(taken) == count:
                break
    return taken


def _moments(kind: str, assets: Sequence[Scored], rows: Iterable[tuple[int, int]]) -> list[Moment]:
    return [
        Moment(0, number, row, float(assets[number].seconds[row]), float(assets[number].scores[row]), kind)
        for number, row in rows
    ]


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
