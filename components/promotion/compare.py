"""A paired bootstrap over assets: how much better is one model than another on the same frames?

Frames of one clip resemble each other, so clips, not frames, are drawn: over frames the interval would be too narrow.
Where tracks are judged, what is drawn are sequences, of which one may consist of many assets.
Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile interval; pairs kept together).
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

RESAMPLES = 1000
DECIMALS = 6  # what is written down must not hang on the last bits of a sum

# What `Scores.shown` gives -> figure; NaN where it is undefined.
Metric = Callable[..., float]


@dataclass(frozen=True)
class Scores:
    """One model's answers on labelled frames: row i is frame `keys[i]` = (asset_id, frame_index).

    labels (N,) int64 class indices; probabilities (N, C) float32; `threshold`: from where on the model calls positive,
    None without a positive class.
    """

    keys: list[tuple[str, int]]
    labels: np.ndarray
    probabilities: np.ndarray
    threshold: float | None

    UNITS: ClassVar[str] = "assets"  # what is drawn whole

    def units(self) -> list[str]:
        """What each row is drawn together with: its asset."""
        return [asset for asset, _ in self.keys]

    def shown(self, rows: np.ndarray | slice) -> tuple:
        """What a metric of these rows is worked out from: labels, probabilities, threshold."""
        return self.labels[rows], self.probabilities[rows], self.threshold

    def at(self, rows: np.ndarray, told: "Scores | None" = None) -> "Scores":
        """These rows, with the labels of `told`, which has as many, where it is given."""
        keys = [self.keys[row] for row in rows]
        labels = self.labels[rows] if told is None else told.labels
        return Scores(keys, labels, self.probabilities[rows], self.threshold)

    def of_assets(self, assets: Collection[str]) -> "Scores":
        """The rows of these assets."""
        return self.at(np.array([row for row, (asset, _) in enumerate(self.keys) if asset in assets], dtype=np.int64))


@dataclass(frozen=True)
class Pairs:
    """The frames that two models both scored, sorted by asset: `starts` (A+1,) bounds each asset's rows.

    Of tracks, sequences stand for assets.
    """

    starts: np.ndarray
    challenger: Scores
    champion: Scores

    @property
    def assets(self) -> int:
        return len(self.starts) - 1

    @property
    def frames(self) -> int:
        return int(self.starts[-1])


@dataclass(frozen=True)
class Difference:
    """Challenger minus champion, positive where the challenger is better: mean and interval over the resamples."""

    mean: float
    low: float
    high: float


def pair(challenger: Scores, champion: Scores) -> Pairs:
    """The frames in both, with the challenger's labels (those of the present annotations)."""
    places = {key: row for row, key in enumerate(champion.keys)}
    units = challenger.units()
    common = sorted((units[row], key, row) for row, key in enumerate(challenger.keys) if key in places)
    keys = [key for _, key, _ in common]
    mine = np.array([row for *_, row in common], dtype=np.int64)
    theirs = np.array([places[key] for key in keys], dtype=np.int64)
    firsts = [row for row, (unit, *_) in enumerate(common) if row == 0 or unit != common[row - 1][0]]
    own = challenger.at(mine)
    return Pairs(np.array([*firsts, len(keys)], dtype=np.int64), own, champion.at(theirs, own))


def measure(metric: Metric, scores: Scores, rows: np.ndarray | slice = slice(None)) -> float:
    """The metric of these rows."""
    return metric(*scores.shown(rows))


def paired_bootstrap(pairs: Pairs, metric: Metric, confidence: float, seed: int = 0) -> Difference | None:
    """The difference in `metric`, higher being better, over RESAMPLES draws of whole assets with replacement.

    Both models are measured on each draw. Draws on which the metric is undefined (one class only, say) are left out;
    None where that is more than half of them.
    """
    generator = np.random.default_rng(seed)
    rows = [np.arange(first, last) for first, last in zip(pairs.starts[:-1], pairs.starts[1:], strict=True)]
    differences = []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[asset] for asset in generator.integers(0, pairs.assets, pairs.assets)])
        differences.append(measure(metric, pairs.challenger, drawn) - measure(metric, pairs.champion, drawn))
    defined = np.array(differences)[np.isfinite(differences)]
    if len(defined) < RESAMPLES / 2:
        return None
    tail = (1 - confidence) / 2
    figures = defined.mean(), *np.quantile(defined, [tail, 1 - tail])
    return Difference(*(round(float(figure), DECIMALS) for figure in figures))
