"""Pictures of many requests through the graph in one pass."""

import asyncio
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress

import numpy as np

from components.serving.detector import Found, ServedDetector

MOST = 8  # pictures in a pass
PATIENCE_S = 0.004  # that a pass waits for pictures that are on their way


class Batcher:
    """Collects what waits, runs the graph once over it, and hands out what was found in each picture.

    While a pass runs, the next one collects. One that could begin waits up to PATIENCE_S for pictures that are still
    being read and decoded; where none are, it begins at once: who is alone does not wait. What is found in a picture
    does not depend on which others are in the pass. Of one event loop.
    """

    def __init__(self, pool: Executor, most: int = MOST, patience_s: float = PATIENCE_S):
        self._pool, self._most, self._patience_s = pool, most, patience_s
        self._waiting: deque[tuple[ServedDetector, np.ndarray, asyncio.Future]] = deque()
        self._coming = 0
        self._changed = asyncio.Event()
        self._work: asyncio.Task | None = None

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Says that pictures are on their way, as long as it is entered."""
        self._coming += 1
        try:
            yield
        finally:
            self._coming -= 1
            self._changed.set()

    async def find(self, model: ServedDetector, pictures: list[np.ndarray]) -> list[Found]:
        """What the model finds in each of these pictures, as `prepare` gives them; in each alone (B is 1)."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in pictures]
        self._waiting += [(model, picture, future) for picture, future in zip(pictures, futures, strict=True)]
        self._changed.set()
        if self._work is None:
            self._work = asyncio.create_task(self._passes())
        return await asyncio.gather(*futures)

    async def _passes(self) -> None:
        try:
            while self._waiting:
                await self._collected()
                await self._pass()
        finally:
            self._work = None

    async def _collected(self) -> None:
        """Returns when a pass is full, nothing more is coming, or patience is at its end."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while self._coming and len(self._waiting) < self._most and (left := until - loop.time()) > 0:
            self._changed.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), left)

    async def _pass(self) -> None:
        """One pass over the pictures that have waited longest and are for one model."""
        taken = [self._waiting.popleft()]
        model = taken[0][0]
        while self._waiting and len(taken) < self._most and self._waiting[0][0] is model:
            taken.append(self._waiting.popleft())
        pictures = [picture for _, picture, _ in taken]
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._pool, model.find, pictures)
            given = [found.of(row) for row in range(len(pictures))]
        except Exception as error:
            given = [error] * len(taken)
        for (_, _, future), one in zip(taken, given, strict=True):
            if future.done():  # whoever asked has gone
                continue
            future.set_exception(one) if isinstance(one, Exception) else future.set_result(one)
