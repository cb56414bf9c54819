"""Chunks of a sequence: every item once, in order, with all its neighbours."""

from hypothesis import given
from hypothesis import strategies as st

from components.serving.sequence import chunks, spaced


@given(st.integers(0, 60), st.integers(1, 9), st.integers(0, 7))
def test_every_item_is_new_once_and_has_its_neighbours(count, length, margin):
    seen = []
    for piece, new in chunks(range(count), length, margin):
        assert len(piece) <= length + 2 * margin
        for place in range(new.start, new.stop):
            item = piece[place]
            wanted = range(max(0, item - margin), min(count, item + margin + 1))
            assert set(wanted) <= set(piece)
            assert piece[place - min(place, margin) : place] == list(range(item - min(place, margin), item))
            seen.append(item)
    assert seen == list(range(count))


def test_the_best_that_are_apart():
    scores, seconds = [0.9, 0.95, 0.2, 0.9, 0.1], [0.0, 1.0, 2.0, 3.0, 9.0]
    assert spaced(scores, seconds, 3, 2.0) == [1, 3, 4]
    assert spaced(scores, seconds, 1, 2.0) == [1]
    assert spaced([], [], 3, 2.0) == []
