"""Groups of near-duplicate pictures: perceptual hashes that differ in few bits, found without comparing all pairs.

Multi-index hashing (M. Norouzi, A. Punjani, D. Fleet, "Fast search in Hamming space with multi-index hashing", 2012):
of two parts more than bits may differ, two at least hold no differing bit, so near hashes agree in whole on those.
Hashes are sorted by every such choice of parts, and only neighbours with the same ones are compared.
"""

from itertools import combinations

import numpy as np

# Recompression, scaling and slight changes of brightness move up to 4 bits of the 64; different pictures differ in
# about 32, and in 4 or fewer by chance once in 10^13 pairs.
DISTANCE = 4
# The bits of a picture without features are noise of the arithmetic: below this contrast (grey levels, one standard
# deviation) it is compared with none.
FEATURELESS = 2.0

# Parts that agree at least. For DISTANCE that makes 15 keys of 20 bits or more: a million hashes seldom share one by
# chance. Keys for larger distances are shorter, and the search slower.
AGREE = 2
_CLOSE = 16  # a run of at most so many equal keys is compared at once with all other such runs


def near_groups(hashes: np.ndarray, contrast: np.ndarray, distance: int = DISTANCE) -> np.ndarray:
    """Per picture the index of its group's first member, or -1 where it is alone; (n,) int64.

    `hashes` (n,) int64 (`media.perceptual_hash`), `contrast` (n,) as in the catalog. Pictures of which a chain of near
    ones leads from one to the other are of one group. `distance`: in how many bits near hashes differ at most.
    """
    found = np.full(len(hashes), -1, dtype=np.int64)
    seen = np.flatnonzero(contrast >= FEATURELESS)
    if not seen.size:
        return found
    distinct, first, member = np.unique(hashes[seen].view(np.uint64), return_index=True, return_inverse=True)
    # Numbered by their first picture, so that the smallest of a group is the one to name it by.
    rank = np.argsort(np.argsort(first))
    ordered = distinct[np.argsort(first)]
    root = _joined(ordered, distance)[rank[member]]
    root = np.sort(first)[root]
    counts = np.bincount(root, minlength=len(seen))
    found[seen] = np.where(counts[root] > 1, seen[root], -1)
    return found


def _joined(hashes: np.ndarray, distance: int) -> np.ndarray:
    """Per distinct hash, (n,) uint64, the smallest index of those that it is joined with."""
    root = np.arange(len(hashes))
    count = distance + AGREE
    bounds = [round(64 * part / count) for part in range(count + 1)]
    for parts in combinations(range(count), AGREE):
        mask = np.uint64(sum(((1 << bounds[part + 1]) - (1 << bounds[part])) for part in parts))
        key = hashes & mask
        order = np.argsort(key, kind="stable")
        edges = np.flatnonzero(np.diff(key[order])) + 1
        starts, ends = np.r_[0, edges], np.r_[edges, len(order)]
        long = ends - starts > _CLOSE
        for start, end in zip(starts[long], ends[long], strict=True):
            root = _spread(hashes, root, order[start:end], distance)
        run = np.repeat(np.where(long, -1, np.arange(len(starts))), ends - starts)
        for shift in range(1, min(_CLOSE, int((ends - starts).max()))):
            together = np.flatnonzero((run[:-shift] == run[shift:]) & (run[:-shift] >= 0))
            root = _join(root, *_near(hashes, root, order[together], order[together + shift], distance))
    return root


def _near(
    hashes: np.ndarray, root: np.ndarray, a: np.ndarray, b: np.ndarray, distance: int
) -> tuple[np.ndarray, np.ndarray]:
    """Of the pairs (a, b) those that are near and not joined yet."""
    apart = root[a] != root[b]
    a, b = a[apart], b[apart]
    near = np.bitwise_count(hashes[a] ^ hashes[b]) <= distance
    return a[near], b[near]


def _join(root: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """`root` after joining every a with its b: the smaller root wins, and all point straight at it."""
    while a.size:
        low, high = np.minimum(root[a], root[b]), np.maximum(root[a], root[b])
        np.minimum.at(root, high, low)
        while not np.array_equal(root, further := root[root]):
            root = further
        apart = root[a] != root[b]
        a, b = a[apart], b[apart]
    return root


def _spread(hashes: np.ndarray, root: np.ndarray, members: np.ndarray, distance: int) -> np.ndarray:
    """`root` after joining what is near within a long run, such as a fixed camera's: each member finds its neighbours
    among those not reached yet, so a run that hangs together costs little more than its length."""
    left, a, b = members, [], []
    while left.size:
        frontier, left = [left[0]], left[1:]
        while frontier and left.size:
            at = frontier.pop()
            near = np.bitwise_count(hashes[left] ^ hashes[at]) <= distance
            reached, left = left[near], left[~near]
            frontier += reached.tolist()
            a += [at] * len(reached)
            b += reached.tolist()
    return _join(root, np.array(a, dtype=np.int64), np.array(b, dtype=np.int64))
