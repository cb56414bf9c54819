"""How much work may wait for the service's few threads."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TypeVar

from components.serving.pictures import Refusal

T = TypeVar("T")

log = logging.getLogger("sightline.serving")


class Abandoned(Exception):
    """Nobody waits for this work any more."""


class Place:
    """One request's place within the gate."""

    def __init__(self):
        self.wanted = True

    def check(self) -> None:
        """Raises Abandoned where nobody waits for the answer any more."""
        if not self.wanted:
            raise Abandoned

    def run(self, act: Callable[..., T], *arguments: object) -> T:
        """What `act` gives: for a thread, which leaves out what was abandoned while it waited. Raises Abandoned."""
        self.check()
        return act(*arguments)


class Gate:
    """Lets so many requests in at a time. Of one event loop.

    `within`: who holds a place; of these so many as there are `workers` may be at work, and the others wait.
    """

    def __init__(self, most: int, workers: int = 0):
        self._most, self._workers, self.within = most, workers, 0
        self._left_behind: set[asyncio.Future] = set()

    @property
    def waiting(self) -> int:
        """How many hold a place and wait for a thread."""
        return max(0, self.within - self._workers)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Holds a place. Raises Refusal (429) where there is none."""
        if self.within >= self._most:
            raise Refusal(429, "too many requests are waiting", "ask again in a second", "busy")
        self.within += 1
        try:
            yield
        finally:
            self.within -= 1

    async def through(self, work: Callable[[Place], Awaitable[T]]) -> T:
        """What `work` gives, within a place. Raises Refusal (429) where there is none.

        Work whose caller was cancelled keeps its place until it has really ended, since a thread cannot be stopped:
        else the threads would be taken for free while abandoned work holds them. What of it has not begun by then is
        left out, if it asks its place.
        """
        place = Place()
        with self.entered():
            task = asyncio.ensure_future(work(place))
            try:
                return await asyncio.shield(task)
            except asyncio.CancelledError:
                if task.done():
                    raise
                place.wanted = False
                self.within += 1  # the task's own from here on
                self._left_behind.add(task)
                task.add_done_callback(self._ended)
                raise

    async def run(self, pool: Executor, act: Callable[..., T], *arguments: object) -> T:
        """What `act` gives in a thread of the pool, within a place. Raises Refusal (429) where there is none."""
        loop = asyncio.get_running_loop()
        return await self.through(lambda place: loop.run_in_executor(pool, place.run, act, *arguments))

    async def run_placed(self, pool: Executor, act: Callable[[Place], T]) -> T:
        """The same of an `act` that is given its place, to ask now and then whether anybody still waits."""
        loop = asyncio.get_running_loop()
        return await self.through(lambda place: loop.run_in_executor(pool, place.run, act, place))

    def _ended(self, task: asyncio.Future) -> None:
        self.within -= 1
        self._left_behind.discard(task)
        error = None if task.cancelled() else task.exception()
        if error and not isinstance(error, (Abandoned, Refusal)):
            log.error("work that nobody waited for any more failed", exc_info=error)
