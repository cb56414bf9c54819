"""One request at a time to a host, and so many a second at most, over all workers and runs of a workspace.

A host has a file whose lock is its turn and whose time says when its last turn ended. A lock, and not one Spark task
per host: most pictures lie on one or two hosts, redirects lead from one to another, and two recipes may search at the
same time. The file's time is set by the file system, so that it is one clock for workers on several machines.
"""

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from components.core import paths

PATIENCE_S = 60.0  # a host that wants to be left alone for longer is not waited for
LONGEST_S = 24 * 3600.0


class NotNow(Exception):
    """What was asked for cannot be had now; a later run may get it. The message is the reason."""


class LeftAlone(NotNow):
    """It was not even asked: the host is to be left alone for now."""


@contextmanager
def turn(url: str, rate: float) -> Iterator[Callable[[float], None]]:
    """Waits for the turn of the url's host, which lasts until the context ends. Yields `pause(seconds)`.

    After a pause nobody asks the host for so many seconds. Raises LeftAlone where that would be longer than PATIENCE_S.
    """
    path = paths.state("work", "gather", "hosts", host_name(url))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before, now = os.stat(path), _touched(path)
        left = before.st_mtime + 1 / rate - now if before.st_size else 0
        if left > max(PATIENCE_S, 1 / rate):
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            why = "as it asked or for it did not answer"
            raise LeftAlone(f"{host_name(url)} is left alone for {left:.0f} s more, {why}")
        time.sleep(max(left, 0))
        longer = 0.0

        def pause(seconds: float) -> None:
            nonlocal longer
            longer = max(min(seconds, LONGEST_S) - 1 / rate, 0)

        try:
            yield pause
        finally:
            # From its end: counted from its beginning, a request that is long under way would come close to the next.
            ended = _touched(path) + longer
            os.utime(path, (ended, ended))


def host_name(url: str) -> str:
    """The host and port of an address, as the name of a file."""
    parts = urlsplit(url)
    port = parts.port or {"https": 443}.get(parts.scheme, 80)
    return re.sub(r"[^a-z0-9.-]", "_", f"{parts.hostname}-{port}".lower())[:200]


def _touched(path: os.PathLike) -> float:
    """Sets the file's time to the file system's present, and returns it, in seconds."""
    with open(path, "r+b") as file:
        file.write(b".")
    return os.stat(path).st_mtime
