"""One run of a recipe at a time: who comes second waits, and is told for whom."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from components.core import paths

POLL_S = 1.0


@contextmanager
def turn(recipe: str, run: str, pause: Callable[[float], None], log: Callable[[str], None]) -> Iterator[None]:
    """Holds the recipe's turn for the run of this name; waits by `pause(seconds)`, which may raise, until it is free.

    The system frees the turn of a process that has ended, however it ended.
    """
    path = paths.state("run", "turns", f"{recipe}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as handle:
        waiting = False
        while not _locked(handle):
            if not waiting:
                log(f"waiting for {_holder(handle)}, which works on {recipe} already")
                waiting = True
            pause(POLL_S)
        handle.truncate(0)
        handle.write(json.dumps({"run": run, "pid": os.getpid()}))
        handle.flush()
        yield


def _locked(handle) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _holder(handle) -> str:
    handle.seek(0)
    try:
        body = json.loads(handle.read())
        return f"run {body['run']} (process {body['pid']})"
    except (ValueError, KeyError):
        return "another run"
