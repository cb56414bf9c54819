"""Two-sample tests of footage against footage, asset by asset. Pure.

Frames of one clip resemble each other, so an asset is one observation. Single figures are compared by Kolmogorov and
Smirnov's test, embeddings by the energy distance (Szekely and Rizzo, 2004) under permutations. Of all tests together
the chance of any false alarm is at most `alpha` (Holm, 1979).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist

FEWEST = 8  # assets on either side: of fewer no test says anything at a small alpha
MOST = 300  # assets of a side that the embedding's test looks at
BLOCK = 4000  # permutations in memory at a time
PERMUTATIONS_PER_ALPHA = 20  # over the smallest p-value that must be told apart


@dataclass(frozen=True)
class Test:
    """One figure's test. `shift`: the current median less the reference's, in the reference's interquartile ranges (of
    the embedding: the energy distance)."""

    name: str
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
    def drifted(self) -> bool:
        return any(test.drifted for test in self.tests)


def compare(
    reference: Mapping[str, np.ndarray], current: Mapping[str, np.ndarray], alpha: float = 0.001, seed: int = 0
) -> Report:
    """Tests every figure that both sides have: (N,) arrays, or (N, D) for an embedding; a row is an asset.

    Values that are not finite are left out; a figure with under FEWEST values on a side is not tested. `alpha` bounds
    the chance of a false alarm over all figures together.
    """
    sides = {name: (_finite(reference[name]), _finite(current[name])) for name in reference if name in current}
    counts = max(map(len, reference.values()), default=0), max(map(len, current.values()), default=0)
    tested = {name: side for name, side in sides.items() if min(map(len, side)) >= FEWEST}
    if not tested:
        return Report(*counts, alpha, (), f"under {FEWEST} assets on a side: too few to tell")
    found = {}
    for name, (then, now) in tested.items():
        if then.ndim == 1:
            found[name] = stats.ks_2samp(then, now).pvalue, _shift(then, now)
        else:
            found[name] = energy_test(then, now, _permutations(alpha, len(tested)), seed)
    alarms = holm({name: p_value for name, (p_value, _) in found.items()}, alpha)
    tests = [Test(name, float(p_value), float(shift), name in alarms) for name, (p_value, shift) in found.items()]
    return Report(*counts, alpha, tuple(sorted(tests, key=lambda test: (test.p_value, test.name))))


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


def _permutations(alpha: float, tests: int) -> int:
    return int(np.ceil(PERMUTATIONS_PER_ALPHA * tests / alpha))


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values) if values.ndim == 1 else np.isfinite(values).all(1)]


def _shift(then: np.ndarray, now: np.ndarray) -> float:
    low, high = np.quantile(then, [0.25, 0.75])
    return float((np.median(now) - np.median(then)) / max(high - low, 1e-12))
