"""Long footage through a model that sees neighbouring frames, in chunks that overlap: no seam shows. Pure."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def chunks(items: Iterable[T], length: int, margin: int) -> Iterator[tuple[list[T], slice]]:
    """Pieces of a sequence and which of their items are new: the others are there as neighbours.

    Every item is new in exactly one piece, in order, and has there all its neighbours up to `margin` on either side
    that the sequence has. A piece has at most `length` + 2 `margin` items; only one is in memory.
    """
    held: list[T] = []
    fresh = 0  # where in `held` the first item is that was not new yet
    for item in items:
        held.append(item)
        if len(held) == fresh + length + margin:
            yield held, slice(fresh, fresh + length)
            fresh += length
            drop = max(0, fresh - margin)
            held, fresh = held[drop:], fresh - drop
    if fresh < len(held):
        yield held, slice(fresh, len(held))


def spaced(scores: list[float], seconds: list[float], count: int, gap_s: float) -> list[int]:
    """Positions of the up to `count` highest scores that are at least `gap_s` seconds apart, the highest first."""
    taken: list[int] = []
    for position in sorted(range(len(scores)), key=lambda one: (-scores[one], one)):
        if all(abs(seconds[position] - seconds[other]) >= gap_s for other in taken):
            taken.append(position)
            if len(taken) == count:
                break
    return taken
