"""Near-duplicate groups: the same as comparing every pair with every other."""

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.media import perceptual_hash, resize
from components.ingest.near import DISTANCE, FEATURELESS, near_groups
from tests.footage import picture

LIVELY = 50.0


def by_comparing_all(hashes: list[int], contrast: list[float], distance: int = DISTANCE) -> list[int]:
    """The definition: single linkage over all pairs."""
    group = list(range(len(hashes)))
    for i in range(len(hashes)):
        for j in range(i):
            near = ((hashes[i] ^ hashes[j]) & (2**64 - 1)).bit_count() <= distance
            if near and min(contrast[i], contrast[j]) >= FEATURELESS and group[i] != group[j]:
                low, high = sorted((group[i], group[j]))
                group = [low if name == high else name for name in group]
    return [name if group.count(name) > 1 else -1 for name in group]


def groups(hashes, contrast=None, distance=DISTANCE) -> list[int]:
    contrast = [LIVELY] * len(hashes) if contrast is None else contrast
    return near_groups(np.array(hashes, dtype=np.uint64).view(np.int64), np.array(contrast), distance).tolist()


bits = st.integers(0, 2**64 - 1)
flips = st.lists(st.integers(0, 63), max_size=6)


@st.composite
def families(draw):
    """Hashes of a few families whose members differ from their founder in up to 6 bits."""
    founders = draw(st.lists(bits, min_size=1, max_size=4))
    found = []
    for founder, flipped in draw(st.lists(st.tuples(st.sampled_from(founders), flips), max_size=40)):
        for bit in flipped:
            founder ^= 1 << bit
        found.append(founder)
    return found


@settings(max_examples=150, deadline=None)
@given(families(), st.data(), st.sampled_from([DISTANCE, DISTANCE, 0, 1, 7, 16]))
def test_as_by_comparing_all(hashes, data, distance):
    contrast = [data.draw(st.sampled_from([0.0, LIVELY])) for _ in hashes]
    assert groups(hashes, contrast, distance) == by_comparing_all(hashes, contrast, distance)


def test_long_runs_of_equal_keys():
    """More members than are compared at once, all agreeing in most of their bits."""
    random = np.random.default_rng(0)
    low = [int(value) for value in random.integers(0, 2**20, 300)]
    assert groups(low) == by_comparing_all(low, [LIVELY] * len(low))
    ends = [1, *low, 1 << 63, (1 << 63) | 7]
    assert groups(ends) == by_comparing_all(ends, [LIVELY] * len(ends))


def test_four_bits_are_near_and_five_are_not():
    for spread in ([0, 1, 2, 3], [0, 13, 27, 41], [60, 61, 62, 63]):
        near = sum(1 << bit for bit in spread)
        assert groups([0, near]) == [0, 0]
        assert groups([0, near | 1 << 50]) == [-1, -1]
    assert groups([]) == [] and groups([5]) == [-1] and groups([5, 5, 27 << 40, 5]) == [0, 0, -1, 0]


def test_pictures():
    first, second = picture(1, 200, 150), picture(2, 200, 150)
    seen = [first, resize(first, 75, 100), np.clip(first * 0.9 + 8, 0, 255).astype(np.uint8), second]
    blank = [np.full((60, 80, 3), value, np.uint8) for value in (0, 0, 128, 255)]
    hashes = np.array([perceptual_hash(rgb) for rgb in seen + blank], dtype=np.int64)
    contrast = np.array([float(rgb.std()) for rgb in seen + blank])
    assert near_groups(hashes, contrast).tolist() == [0, 0, 0, -1, -1, -1, -1, -1]


def test_a_hundred_thousand_take_seconds():
    random = np.random.default_rng(1)
    founders = random.integers(0, 2**64, 80_000, dtype=np.uint64)
    copies = founders[:20_000] ^ (np.uint64(1) << random.integers(0, 64, 20_000, dtype=np.uint64))
    hashes = np.concatenate([founders, copies]).view(np.int64)
    start = time.process_time()
    found = near_groups(hashes, np.full(len(hashes), LIVELY))
    assert time.process_time() - start < 20
    assert (found[80_000:] == np.arange(20_000)).all() and (found[20_000:80_000] == -1).all()
