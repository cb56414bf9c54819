"""A stream seen through a window that reaches over its neighbours. Pure."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def windows(items: Iterable[T], reach: int) -> Iterator[tuple[list[T], int]]:
    """Of each item in order: it with up to `reach` on either side, as far as there are any, and its place among them.

    An item waits for the `reach` items after it, or the end; 2 `reach` + 1 are in memory.
    """
    held: deque[T] = deque(maxlen=2 * reach + 1)
    seen = given = 0
    for item in items:
        held.append(item)
        seen += 1
        if seen > reach:
            yield list(held), len(held) - 1 - reach
            given += 1
    while given < seen:
        first = seen - len(held)  # the number of the first that is held
        if given - first > reach:
            held.popleft()
            continue
        yield list(held), given - first
        given += 1
