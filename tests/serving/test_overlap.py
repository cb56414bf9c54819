"""What runs ahead and what runs behind: order, bounds, and errors on either side."""

import threading
import time

import pytest

from components.serving.overlap import abreast, ahead, behind


def counted(most: int, made: list[int], closed: list[bool]):
    """Numbers up to `most`; notes what was made, and that it was closed."""
    try:
        for number in range(most):
            made.append(number)
            yield number
    finally:
        closed.append(True)


def threads() -> int:
    return sum(one.name.startswith(("ahead", "abreast", "behind")) for one in threading.enumerate())


def test_order_stays_and_no_more_wait_than_may():
    made, done, most = [], [], 0
    with behind(done.append, 3) as give, ahead(counted(200, made, []), 4) as items:
        for number in items:
            most = max(most, made[-1] - number)
            give(number)
    assert done == list(range(200)) and most <= 4 + 1 and threads() == 0


def test_both_ends_work_while_the_middle_does():
    """An item is made, the one before it is in hand and the one before that is dealt with: each waits for both others,
    which nothing but all three at once can end."""
    meet, count, done = threading.Barrier(3), 20, []

    def made():
        for number in range(count):
            if number >= 2:
                meet.wait(60)
            yield number

    def act(number: int) -> None:
        if number < count - 2:
            meet.wait(60)
        done.append(number)

    with behind(act, 4) as give, ahead(made(), 4) as items:
        for number in items:
            if 1 <= number < count - 1:
                meet.wait(60)
            give(number)
    assert done == list(range(count)) and threads() == 0


def test_an_error_ahead_comes_in_place_of_its_item():
    def broken():
        yield from range(3)
        raise ValueError("the end is missing")

    done = []
    with pytest.raises(ValueError, match="the end is missing"), behind(done.append, 1) as give:
        with ahead(broken(), 8) as items:
            for number in items:
                give(number)
    assert set(done) <= {0, 1, 2} and threads() == 0


@pytest.mark.parametrize("count", [1, 3, 50])
def test_an_error_behind_stops_what_comes_after_it(count):
    done, closed = [], []

    def act(number: int) -> None:
        if number == count - 1:
            raise OSError("disk full")
        done.append(number)

    with pytest.raises(OSError, match="disk full"):
        with behind(act, 2) as give, ahead(counted(count if count < 50 else 10**9, [], closed), 2) as items:
            for number in items:
                give(number)
    assert done == list(range(count - 1)) and closed and threads() == 0


@pytest.mark.parametrize("depth", [1, 5])
def test_left_early_both_end_at_once(depth):
    made, closed, done, lock = [], [], [], threading.Event()

    def act(number: int) -> None:
        lock.wait(5)
        done.append(number)

    with pytest.raises(RuntimeError, match="enough"):
        with behind(act, depth) as give, ahead(counted(10**9, made, closed), depth) as items:
            for number in items:
                if number == depth:
                    lock.set()
                    raise RuntimeError("enough")
                give(number)
    assert closed and len(made) <= 3 * depth + 3 and threads() == 0 and len(done) <= depth


def test_nothing_is_nothing():
    done = []
    with behind(done.append, 1) as give, ahead(counted(0, [], []), 1) as items:
        for number in items:
            give(number)
    assert done == [] and threads() == 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_abreast_keeps_order_and_its_bound_whatever_takes_how_long(count):
    taken, most, at_work = [0], [], []

    def items():
        for number in range(60):
            taken[0] += 1
            yield number

    def act(number: int) -> int:
        at_work.append(number)
        most.append(len(at_work))
        time.sleep(0.004 if number % 3 else 0.012)
        at_work.remove(number)
        return number * number

    with abreast(act, items(), count) as done:
        for expected, (number, square) in enumerate(done):
            assert (number, square) == (expected, expected**2)
            assert taken[0] <= expected + 2 * count + 1
    assert max(most) == count and threads() == 0


def test_an_error_abreast_comes_in_place_of_its_item_and_nothing_more_is_taken():
    taken = []

    def items():
        for number in range(10**9):
            taken.append(number)
            yield number

    with pytest.raises(ZeroDivisionError):
        with abreast(lambda number: 1 / (5 - number), items(), 2) as done:
            assert [number for number, _ in done] == []
    assert len(taken) <= 5 + 2 * 2 + 2 and threads() == 0
