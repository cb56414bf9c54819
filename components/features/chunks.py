"""Pictures of a shard in chunks for an engine: which picture's motion is against which other, decoded ahead."""

import queue
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

AHEAD = 2  # chunks decoded while the engine works


@dataclass(frozen=True)
class Chunk:
    """(M, H, W, 3) uint8 RGB `pictures`; the rows to make vectors of are `now`, their motion is against `other`."""

    pictures: np.ndarray
    now: np.ndarray  # (N,) int64, places in `pictures`
    other: np.ndarray  # (N,) int64


def others(assets: list[str], before: bool = False, after: bool = False) -> np.ndarray:
    """For every row the row that its motion is against, (rows,) int64: the row before it of the same asset, else the
    one after it, else itself, and then there is no motion.

    `before`: there is a frame of the first row's asset before it, row -1. `after`: there is one after the last, row n.
    """
    count = len(assets)
    at = np.arange(count)
    if not count:
        return at
    same = np.array([a == b for a, b in zip(assets, assets[1:], strict=False)], bool)
    earlier, later = np.append(before, same), np.append(same, after)
    return np.where(earlier, at - 1, np.where(later, at + 1, at))


def chunks(pictures: Iterable[np.ndarray], against: np.ndarray, size: int) -> Iterator[Chunk]:
    """Chunks of `size` rows, the last of what is left, with the other pictures that their motion is against.

    `pictures`: those of the rows that are asked for, in order, with rows -1 and n where `against` names them. Chunks
    are cut by rows alone, so the same shard gives the same chunks.
    """
    source = iter(pictures)
    held: dict[int, np.ndarray] = {}
    read = min(0, int(against.min(initial=0))) - 1  # the row read last
    for first in range(0, len(against), size):
        rows = np.arange(first, min(first + size, len(against)))
        wanted = np.union1d(rows, against[rows])
        while read < wanted[-1]:
            read += 1
            held[read] = next(source)
        yield Chunk(
            np.stack([held[row] for row in wanted]),
            np.searchsorted(wanted, rows),
            np.searchsorted(wanted, against[rows]),
        )
        held = {row: picture for row, picture in held.items() if row >= rows[-1]}


def ahead(items: Iterator, depth: int = AHEAD) -> Iterator:
    """The items of an iterator that a thread of its own works through, at most `depth` ahead; its errors are raised."""
    waiting: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def work() -> None:
        try:
            for item in items:
                if not _put(waiting, (item, None), stop):
                    return
            _put(waiting, (None, StopIteration()), stop)
        except BaseException as error:  # whatever it is, it is raised where the items are wanted
            _put(waiting, (None, error), stop)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            item, error = waiting.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()


def _put(waiting: queue.Queue, item: tuple, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            waiting.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False
