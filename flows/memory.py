"""The machine's memory, shared out among the stages of all flow runs of a workspace: who finds none left waits.

Each share is a file in `.sightline/run/memory` that its holder keeps locked. The system lets go of the lock when the
process ends, however it ends, so a killed run's share is free at once.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.core import paths

GIGABYTE = 1e9
POLL_S = 0.5
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of the container that this runs in, where there is one


@contextmanager
def share(name: str, gigabytes: float, pause: Callable[[float], None], log: Callable[[str], None]) -> Iterator[int]:
    """Holds `gigabytes` while the context lasts; waits by `pause(seconds)`, which may raise, until they are free.

    Yields the handle of the share: a process that inherits it holds the share until it ends too. A share larger than
    all there is gets everything: it waits until nobody else holds any.
    """
    folder = paths.state("run", "memory")
    folder.mkdir(parents=True, exist_ok=True)
    wanted, waiting = min(gigabytes, total_gb()), False
    while (held := _taken(folder, name, wanted)) is None:
        if not waiting:
            log(f"waiting for {wanted:g} GB of memory: {', '.join(_holders(folder)) or 'others'} hold too much")
            waiting = True
        pause(POLL_S)
    path, handle = held
    try:
        yield handle
    finally:
        path.unlink(missing_ok=True)
        os.close(handle)


def total_gb() -> float:
    """What the stages may hold together: SIGHTLINE_MEMORY_GB, else four fifths of the machine's or container's."""
    if named := os.environ.get("SIGHTLINE_MEMORY_GB"):
        return float(named)
    import psutil

    total = psutil.virtual_memory().total
    with suppress(OSError, ValueError):
        total = min(total, int(CGROUP_LIMIT.read_text()))
    return 0.8 * total / GIGABYTE


def _taken(folder: Path, name: str, wanted: float) -> tuple[Path, int] | None:
    """The file of the share and its handle, or None where not enough is left."""
    with _alone(folder):
        if sum(gigabytes for _, gigabytes in _living(folder)) + wanted > total_gb() * (1 + 1e-9):
            return None
        path = folder / f"{uuid.uuid4().hex}.json"
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, json.dumps([name, wanted]).encode())
        return path, handle


def _holders(folder: Path) -> list[str]:
    with _alone(folder):
        return [f"{name} ({gigabytes:g} GB)" for name, gigabytes in _living(folder)]


def _living(folder: Path) -> Iterator[tuple[str, float]]:
    """(name, gigabytes) of each share that is held; files whose holder is gone are removed."""
    for path in sorted(folder.glob("*.json")):
        with suppress(FileNotFoundError), open(path) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield tuple(json.loads(handle.read()))
            else:
                path.unlink()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with open(folder / "lock", "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
