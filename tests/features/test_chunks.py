"""Chunks: which picture's motion is against which, whatever the chunk; errors of the decoding thread are raised."""

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.features.chunks import ahead, chunks, others

runs = st.lists(st.integers(1, 4), max_size=6)


def expected(assets: list[str], before: bool, after: bool) -> list[int]:
    """By the words of the rule, row by row."""
    found = []
    for row, asset in enumerate(assets):
        if (row and assets[row - 1] == asset) or (row == 0 and before):
            found.append(row - 1)
        elif (row + 1 < len(assets) and assets[row + 1] == asset) or (row + 1 == len(assets) and after):
            found.append(row + 1)
        else:
            found.append(row)
    return found


@given(runs, st.integers(1, 5), st.booleans(), st.booleans())
def test_every_row_meets_the_row_its_motion_is_against(lengths, size, before, after):
    assets = [str(number) for number, length in enumerate(lengths) for _ in range(length)]
    against = others(assets, before, after)
    assert against.tolist() == expected(assets, before, after)
    rows = range(-1 if -1 in against else 0, len(assets) + (len(assets) in against))
    pictures = (np.full((1, 1, 3), row + 1, np.int64) for row in rows)
    made = list(chunks(pictures, against, size))
    assert [len(chunk.now) for chunk in made] == [min(size, len(assets) - at) for at in range(0, len(assets), size)]
    now = [int(chunk.pictures[row, 0, 0, 0]) - 1 for chunk in made for row in chunk.now]
    other = [int(chunk.pictures[row, 0, 0, 0]) - 1 for chunk in made for row in chunk.other]
    assert now == list(range(len(assets))) and other == against.tolist()
    assert next(pictures, None) is None  # nothing was asked for that no chunk needed


def test_pictures_that_stand_alone_share_a_batch():
    assets = [f"{i}" for i in range(10)]
    made = list(chunks((np.zeros((2, 2, 3), np.uint8) for _ in assets), others(assets), 8))
    assert [len(chunk.pictures) for chunk in made] == [8, 2]


def test_ahead_keeps_the_order_stays_close_and_raises_what_was_raised():
    seen = []

    def items():
        for i in range(9):
            seen.append(i)
            yield i
        raise ValueError("the ninth is damaged")

    got = []
    with pytest.raises(ValueError, match="damaged"):
        for item in ahead(items(), depth=2):
            got.append(item)
            assert len(seen) - len(got) <= 4
    assert got == list(range(9))


def test_ahead_ends_its_thread_when_nobody_listens():
    before = set(threading.enumerate())
    source = ahead(iter(range(1000)), depth=1)
    assert next(source) == 0
    source.close()
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before
