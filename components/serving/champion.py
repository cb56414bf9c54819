"""The champion being served: follows the pointer; a request that has taken a model keeps it to its end."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from components.core.bundle import Pointer, read_pointer
from components.core.errors import SightlineError
from components.serving.model import ServedModel

INTERVAL_S = 0.5
RETRY_S = 5.0  # a bundle that failed is tried again: it may just be being published

log = logging.getLogger("sightline.serving")


class Champion:
    """`model`: what is served now, or None before the first; `problem`: why it is not what the pointer names, or None;
    `swaps`: how often a model took the place of another.

    A thread looks at the pointer. A new model is loaded and warmed up beside the old one and then takes its place in a
    single assignment. Whatever is wrong with it, the old one goes on.
    """

    def __init__(self, deployed: Path, load: Callable[[Pointer], ServedModel], interval: float = INTERVAL_S):
        self.model: ServedModel | None = None
        self.problem: SightlineError | None = None
        self.swaps = 0
        self._deployed, self._load, self._interval = deployed, load, interval
        self._failed: tuple[Pointer | None, float] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="champion", daemon=True)

    def start(self) -> None:
        """Begins to follow the pointer."""
        self._thread.start()

    def stop(self) -> None:
        """Ends following."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """One look at the pointer: loads what it names where that is not what is being served."""
        pointer = None
        try:
            pointer = read_pointer(self._deployed)
            if pointer is None:
                raise SightlineError(f"{self._deployed}: no champion was deployed", "run the recipe's flow to its end")
            if self.model and (self.model.version, self.model.digest) == (pointer.version, pointer.digest):
                self.problem = self._failed = None
                return
            if self._failed and self._failed[0] == pointer and time.monotonic() - self._failed[1] < RETRY_S:
                return
            model = self._load(pointer)
        except SightlineError as error:
            if str(error) != str(self.problem):
                kept = f"; {self.model.tag} stays" if self.model else ""
                log.error("%s%s", error, kept)
            self.problem, self._failed = error, (pointer, time.monotonic())
            return
        self.swaps += self.model is not None
        self.model, self.problem, self._failed = model, None, None
        log.info("serving %s", model.tag)

    def _watch(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # the thread must outlive any surprise, or no swap would ever be seen again
                log.exception("looking at the pointer failed")
                self.problem = SightlineError(f"{self._deployed}: {error}", "see the service's log")
            if self._stop.wait(self._interval):
                return
