"""Pictures of unrelated requests through the network in one pass, as many as wait anyway."""

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from components.serving.gate import Place
from components.serving.model import ServedModel

# What a request wants of the network: yields its pictures as `ServedModel.prepare` gives them, is sent what was found
# in them (`ServedModel.look`), and returns the answer. Runs on a thread, and may return without having yielded.
Work = Generator[list[np.ndarray], Any, Any]


@dataclass(frozen=True)
class _Asked:
    """A request that waits, and where its answer goes."""

    model: ServedModel
    begin: Callable[[], Work]
    place: Place
    size: int
    future: asyncio.Future


@dataclass(frozen=True)
class _Opened:
    """A request whose pictures are decoded."""

    asked: _Asked
    work: Work
    pictures: list[np.ndarray]


class MicroBatcher:
    """Answers requests on the `workers` threads of a pool. Of one event loop.

    A thread that is free takes its share of those that wait, decodes their pictures, has the network look at all of
    them in one pass, and answers. So nothing waits for company: where no queue is, each request is a pass of its own,
    begun at once, and the longer the queue, the more share a pass. Bounds: `most` pictures a pass, but a request's own
    stay together, however many; and none is taken into a pass whose decoding would keep a decoded picture waiting for
    over `wait_s` seconds, as far as its bytes tell by what others took. Requests begin in the order in which they came,
    a pass is of one model, and what is wrong with one request is that request's alone.
    """

    def __init__(self, pool: Executor, workers: int, most: int, wait_s: float):
        self._pool, self._workers, self._most, self._wait_s = pool, workers, most, wait_s
        self._waiting: deque[_Asked] = deque()
        self._lock = threading.Lock()

    def ask(self, model: ServedModel, begin: Callable[[], Work], place: Place, size: int) -> asyncio.Future:
        """What the work that `begin` makes returns, or raises; Abandoned where nobody waits for it by its turn.

        `size`: the bytes that it decodes, at least one.
        """
        asked = _Asked(model, begin, place, size, asyncio.get_running_loop().create_future())
        with self._lock:
            self._waiting.append(asked)
        self._pool.submit(self._turn)  # a turn for each, though one may take several and leave others nothing to do
        return asked.future

    def _turn(self) -> None:
        """Takes a thread's share of what waits through the network."""
        model, opened, pictures, until, pace, room = None, [], 0, 0.0, 1e-12, math.inf
        while one := self._next(model, len(opened), pictures, room):
            began, model = time.monotonic(), one.model
            work = _opened(one)
            now = time.monotonic()
            pace = max(pace, (now - began) / one.size)  # seconds a byte, of the slowest
            if work is not None:
                opened.append(work)
                pictures += len(work.pictures)
                until = until or now + self._wait_s
                room = (until - now) / pace
        for part in _parts(opened, self._most):
            _pass(part)

    def _next(self, model: ServedModel | None, taken: int, pictures: int, room: float) -> _Asked | None:
        """The request that has waited longest; None where it is another model's, of more than `room` bytes, or more
        than this thread's share."""
        with self._lock:
            share = math.ceil((taken + len(self._waiting)) / self._workers)
            if not self._waiting or (taken and (taken >= share or pictures >= self._most)):
                return None
            if model is not None and (self._waiting[0].model is not model or self._waiting[0].size > room):
                return None
            return self._waiting.popleft()


def _opened(asked: _Asked) -> _Opened | None:
    """The request with its pictures; None where it was answered without the network."""
    try:
        asked.place.check()
        work = asked.begin()
        return _Opened(asked, work, next(work))
    except StopIteration as done:
        _answer([(asked, done.value)])
    except Exception as error:
        _answer([(asked, error)])
    return None


def _parts(opened: list[_Opened], most: int) -> list[list[_Opened]]:
    """The requests in order, in parts of at most so many pictures; one that has more is a part of its own."""
    parts: list[list[_Opened]] = []
    for one in opened:
        if parts and sum(len(other.pictures) for other in parts[-1]) + len(one.pictures) <= most:
            parts[-1].append(one)
        else:
            parts.append([one])
    return parts


def _pass(opened: Sequence[_Opened]) -> None:
    """One pass, and the answers. Where it fails each is tried alone: the others are not to pay for one."""
    model = opened[0].asked.model
    try:
        looked = model.look([picture for one in opened for picture in one.pictures])
        shares = [model.part(looked, rows) for rows in _rows(opened)] if len(opened) > 1 else [looked]
    except Exception as error:
        if len(opened) == 1:
            _answer([(opened[0].asked, error)])
            return
        for one in opened:
            _pass([one])
        return
    _answer([(one.asked, _ended(one.work, share)) for one, share in zip(opened, shares, strict=True)])


def _rows(opened: Sequence[_Opened]) -> list[slice]:
    """Where each request's pictures are in the pass."""
    ends = list(accumulate(len(one.pictures) for one in opened))
    return [slice(first, end) for first, end in zip([0, *ends], ends, strict=False)]


def _ended(work: Work, looked: Any) -> Any:
    """What the work returns, or the exception that it raises."""
    try:
        work.send(looked)
    except StopIteration as done:
        return done.value
    except Exception as error:
        return error
    return RuntimeError("the work asked for a second pass")


def _answer(answers: Sequence[tuple[_Asked, Any]]) -> None:
    answers[0][0].future.get_loop().call_soon_threadsafe(_deliver, answers)


def _deliver(answers: Sequence[tuple[_Asked, Any]]) -> None:
    for asked, made in answers:
        if asked.future.done():  # whoever asked has gone
            continue
        asked.future.set_exception(made) if isinstance(made, Exception) else asked.future.set_result(made)
