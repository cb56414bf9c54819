"""Two-sample tests of footage against footage, asset by asset. Pure.

Frames of one clip resemble each other, so an asset is one observation. Single figures are compared by Kolmogorov and
Smirnov's test, embeddings by the energy distance (Szekely and Rizzo, 2004) under permutations, the share of
quarantined files by Fisher's. Of all tests together the chance of any false alarm is at most `alpha` (Holm, 1979).

Where the footage drifted, another question is whether it is of a kind that the reference does not have at all, or only
has more or less of one: its local outlier factors (Breunig et al., 2000) in the reference are compared with those of
the reference's own assets.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.neighbors import LocalOutlierFactor

FEWEST = 8  # assets on either side: of fewer no test says anything at a small alpha
MOST = 300  # assets of a side that the embedding's test looks at
BLOCK = 4000  # permutations in memory at a time
PERMUTATIONS_PER_ALPHA = 20  # over the smallest p-value that must be told apart
WORSE = ("error",)  # figures of which only more is an alarm

NEIGHBOURS = 5  # of the local outlier factor
LOOKS = ("brightness", "contrast", "sharpness", "saturation", "pixels")  # figures that a novelty is looked for in

# What a figure's drift says. Figures that are not named here are of the footage itself.
DATA, NOVELTY, PREDICTIONS, DECAY, QUARANTINE = "data", "novelty", "predictions", "decay", "quarantine"
KINDS = {"score": PREDICTIONS, "error": DECAY, "quarantined": QUARANTINE, "new looks": NOVELTY, "new vectors": NOVELTY}


@dataclass(frozen=True)
class Test:
    """One figure's test. `shift`: the current median less the reference's, in the reference's interquartile ranges (of
    the embedding: the energy distance; of quarantined files: the difference of the shares)."""

    name: str
    kind: str
    p_value: float
    shift: float
    drifted: bool


@dataclass(frozen=True)
class Report:
    """All tests. `drifted`: whether any found a difference; `reason` says why there are none."""

    reference: int
    current: int
    alpha: float
    tests: tuple[Test, ...]
    reason: str = ""

    @property
    def drifted(self) -> list[str]:
        """The kinds of drift that were found."""
        return sorted({test.kind for test in self.tests if test.drifted})


def compare(
    reference: Mapping[str, np.ndarray],
    current: Mapping[str, np.ndarray],
    alpha: float = 0.001,
    quarantined: tuple[tuple[int, int], tuple[int, int]] | None = None,
    seed: int = 0,
) -> Report:
    """Tests every figure that both sides have: (N,) arrays, or (N, D) for an embedding; a row is an asset.

    Values that are not finite are left out; a figure with under FEWEST values on a side is not tested. `quarantined`:
    (files refused, all) of the reference and of the present. `alpha` bounds the chance of a false alarm over all
    figures together; novelty, which alone may be told wrongly more often, only counts where the footage drifted.
    """
    counts = [max(map(len, side.values()), default=0) for side in (reference, current)]
    names = sorted(reference.keys() & current.keys())
    sides = {name: (_finite(reference[name]), _finite(current[name])) for name in names}
    sides = {name: pair for name, pair in sides.items() if _enough(*pair)}
    files = quarantined is not None and min(all_ for _, all_ in quarantined) >= FEWEST
    if not sides and not files:
        return Report(*counts, alpha, (), f"under {FEWEST} assets on a side: too few to tell")
    permutations = int(np.ceil(PERMUTATIONS_PER_ALPHA * (len(sides) + files) / alpha))
    found = {name: _test(name, *pair, permutations, seed) for name, pair in sides.items()}
    if files:
        found["quarantined"] = _more_refused(*quarantined)
    alarms = holm({name: p_value for name, (p_value, _) in found.items()}, alpha)
    if any(KINDS.get(name, DATA) == DATA for name in alarms):
        looks = _looks(reference, current)
        places = {"new looks": looks, "new vectors": sides.get("embedding")}
        novel = {name: novelty_test(*pair) for name, pair in places.items() if pair is not None}
        alarms |= holm({name: p_value for name, (p_value, _) in novel.items()}, alpha)
        found |= novel
    tests = [
        Test(name, KINDS.get(name, DATA), float(p_value), float(shift), name in alarms)
        for name, (p_value, shift) in found.items()
    ]
    return Report(*counts, alpha, tuple(sorted(tests, key=lambda test: (test.p_value, test.name))))


def _enough(then: np.ndarray, now: np.ndarray) -> bool:
    return min(len(then), len(now)) >= FEWEST and then.shape[1:] == now.shape[1:]


def _looks(
    reference: Mapping[str, np.ndarray], current: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """The figures of LOOKS that both sides have as columns, (N, D) and (M, D); None where too few rows are whole."""
    both = (reference, current)
    names = [name for name in LOOKS if all(name in side and np.isfinite(side[name]).any() for side in both)]
    if not names:
        return None
    then, now = (_finite(np.stack([side[name] for name in names], 1)) for side in both)
    return (then, now) if _enough(then, now) else None


def novelty_test(then: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """(p-value that (M, D) lies no farther outside of (N, D) than that does of itself, shift of the outlier factors).

    Each factor is relative to the density around its neighbours, so that a kind of footage counts as known however few
    assets of it the reference has, if they are more than NEIGHBOURS. The p-value is approximate: of footage of a rare
    but known kind, 2 % of checks took it for new at .001 (tests/monitoring).
    """
    scale = np.maximum(then.std(0), 1e-12)
    factors = LocalOutlierFactor(n_neighbors=min(NEIGHBOURS, len(then) - 1), novelty=True).fit(then / scale)
    own, new = -factors.negative_outlier_factor_, -factors.score_samples(now / scale)
    return float(stats.ks_2samp(own, new, "greater").pvalue), _shift(own, new)


def _test(name: str, then: np.ndarray, now: np.ndarray, permutations: int, seed: int) -> tuple[float, float]:
    """(p-value, shift) of one figure."""
    if then.ndim > 1:
        return energy_test(then, now, permutations, seed)
    alternative = "greater" if name in WORSE else "two-sided"  # greater: the reference's distribution function is
    return float(stats.ks_2samp(then, now, alternative).pvalue), _shift(then, now)


def _more_refused(then: tuple[int, int], now: tuple[int, int]) -> tuple[float, float]:
    """(p-value that not more files are refused now than then, difference of the shares)."""
    table = [[now[0], now[1] - now[0]], [then[0], then[1] - then[0]]]
    return float(stats.fisher_exact(table, "greater").pvalue), now[0] / now[1] - then[0] / then[1]


def holm(p_values: Mapping[str, float], alpha: float) -> set[str]:
    """The names whose hypotheses are rejected, with a chance of at most `alpha` that any is rejected wrongly."""
    rejected: set[str] = set()
    for position, name in enumerate(sorted(p_values, key=lambda one: (p_values[one], one))):
        if p_values[name] > alpha / (len(p_values) - position):
            break
        rejected.add(name)
    return rejected


def energy_test(then: np.ndarray, now: np.ndarray, permutations: int, seed: int = 0) -> tuple[float, float]:
    """(p-value, energy distance) of (N, D) against (M, D); columns are scaled by their spread over both together.

    Of more than MOST rows a side, that many are drawn: they tell any difference that matters.
    """
    generator = np.random.default_rng(seed)
    then, now = (side[generator.permutation(len(side))[:MOST]] if len(side) > MOST else side for side in (then, now))
    both = np.concatenate([then, now]).astype(np.float64)
    both = both / np.maximum(both.std(0), 1e-12)
    distances = cdist(both, both)
    first = np.zeros((1, len(both)))
    first[0, : len(then)] = 1.0
    observed = float(_energies(first, distances)[0])
    larger = 0
    for begun in range(0, permutations, BLOCK):
        drawn = np.zeros((min(BLOCK, permutations - begun), len(both)))
        for row in drawn:
            row[generator.permutation(len(both))[: len(then)]] = 1.0
        larger += int((_energies(drawn, distances) >= observed - 1e-12).sum())
    return (larger + 1) / (permutations + 1), observed


def _energies(mine: np.ndarray, distances: np.ndarray) -> np.ndarray:
    """The energy distance of each split: `mine` (P, N + M) is 1 where a row is on the first side, else 0."""
    theirs = 1.0 - mine
    n, m = mine[0].sum(), theirs[0].sum()
    reached = mine @ distances
    beyond = ((theirs @ distances) * theirs).sum(1) / m**2
    return 2 * (reached * theirs).sum(1) / (n * m) - (reached * mine).sum(1) / n**2 - beyond


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(1)]


def _shift(then: np.ndarray, now: np.ndarray) -> float:
    low, high = np.quantile(then, [0.25, 0.75])
    return float((np.median(now) - np.median(then)) / max(high - low, 1e-12))
