"""Work on strangers' files in a process of its own: a decoder that crashes, hangs or eats memory costs that file only.

`Isolated("package.module:function")` keeps one child process, started at the first item and used for all that follow;
items and results go through pipes as JSON, each behind its length. Where the child dies, takes too long or wants too
much memory, it is ended, the item is answered with the reason, and the next item gets a new child.
"""

import atexit
import importlib
import json
import os
import resource
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

from components.core.distributed import die_with_parent
from components.core.errors import SightlineError

STARTS_WITHIN_S = 120.0  # importing decoders on a busy machine; an item's own time begins after it
_LENGTH = struct.Struct("!Q")


class Stopped(Exception):
    """The item has no result; the message is the reason, to be told of the item."""


class NeedsMemory(Stopped):
    """The item needed more memory than it was allowed."""


class _Died(Exception):
    """The child ended, or ran out of memory: on this item, or on what items before it left behind.

    `outcome`: the Stopped to raise where it was on this item.
    """

    def __init__(self, outcome: Stopped):
        super().__init__()
        self.outcome = outcome


class Isolated:
    """A function of one JSON-able value that runs in a child process. Not for use by several threads at a time.

    `function`: "package.module:name"; its module is imported once per child.
    """

    def __init__(self, function: str):
        self.function = function
        self._child: subprocess.Popen | None = None
        self._used = False
        atexit.register(self.close)

    def run(self, item: Any, seconds: float, memory_mb: int) -> Any:
        """The function's result for `item`. Raises Stopped with the reason where there is none.

        `memory_mb`: how much address space the work may take on top of what the child has at its start. An item on
        which a used child dies is tried once more in a new one: an item before it may have done the damage.
        """
        request = {"item": item, "memory_mb": memory_mb}
        if self._child is not None and self._used:
            try:
                return self._ask(request, seconds, memory_mb)
            except _Died:
                pass
        try:
            return self._ask(request, seconds, memory_mb)
        except _Died as death:
            raise death.outcome from None

    def close(self) -> None:
        """Ends the child."""
        if self._child is not None:
            self._child.kill()
            for pipe in (self._child.stdin, self._child.stdout):
                try:
                    pipe.close()
                except OSError:
                    pass  # what it had not read is lost with it
            try:
                self._child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                pass  # stuck in the kernel, on a disk that does not answer: it ends when that does
            self._child, self._used = None, False

    def _ask(self, request: dict, seconds: float, memory_mb: int) -> Any:
        if self._child is None:
            self._start()
        self._used = True
        try:
            _write(self._child.stdin, request)
            answer = self._read(time.monotonic() + seconds)
        except TimeoutError:
            self.close()
            raise Stopped(f"took longer than {seconds:g} s") from None
        except (EOFError, BrokenPipeError):
            raise _Died(Stopped(self._end())) from None
        if answer.get("out_of_memory"):
            self.close()
            raise _Died(NeedsMemory(f"needed more than {memory_mb} MB"))
        if "error" in answer:
            raise Stopped(answer["error"])
        return answer["result"]

    def _start(self) -> None:
        command = [sys.executable, "-m", "components.core.isolate", self.function]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        quiet = None if os.environ.get("SIGHTLINE_DEBUG") else subprocess.DEVNULL  # decoders chat about damaged files
        self._child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=quiet, env=environment, bufsize=0
        )
        try:
            answer = self._read(time.monotonic() + STARTS_WITHIN_S)
        except TimeoutError:
            self.close()
            raise SightlineError(f"{self.function}: no start within {STARTS_WITHIN_S:g} s", "try again") from None
        except EOFError:
            raise SightlineError(f"{self.function}: {self._end()} at its start", "set SIGHTLINE_DEBUG=1") from None
        if "error" in answer:
            self.close()
            raise SightlineError(f"{self.function}: cannot be imported: {answer['error']}", "run `make setup`")

    def _read(self, deadline: float) -> dict:
        """The child's next message. Raises EOFError where it ended, TimeoutError at `deadline`."""
        pipe = self._child.stdout.fileno()
        poll = select.poll()
        poll.register(pipe, select.POLLIN)
        parts, missing, length = [], _LENGTH.size, None
        while missing:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise TimeoutError
            part = os.read(pipe, min(missing, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
            if not missing and length is None:
                (length,) = _LENGTH.unpack(b"".join(parts))
                parts, missing = [], length
        return json.loads(b"".join(parts))

    def _end(self) -> str:
        """How the child ended, in words; it is cleared away."""
        child = self._child
        try:
            code = child.wait(timeout=5)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        if code == -signal.SIGKILL:
            return "decoder was killed (signal 9): most likely the machine ran out of memory"
        if code is not None and code < 0:
            return f"decoder crashed (signal {-code})"
        return f"decoder ended by itself (exit code {code})"


@cache
def isolated(function: str) -> Isolated:
    """The one child of this process for `function`."""
    return Isolated(function)


def _write(pipe, value: Any) -> None:
    content = json.dumps(value).encode()
    message = memoryview(_LENGTH.pack(len(content)) + content)
    while message:
        message = message[pipe.write(message) :]


def _serve(function: str) -> None:
    """The child: imports the function, says that it is ready, then answers items until its parent is gone."""
    die_with_parent()
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not come between the messages
    try:
        module, name = function.split(":")
        work = getattr(importlib.import_module(module), name)
    except Exception as error:
        _write(answers, {"error": f"{type(error).__name__}: {error}"})
        return
    room = _address_space()
    _write(answers, {})
    while len(head := requests.read(_LENGTH.size)) == _LENGTH.size:
        request = json.loads(requests.read(*_LENGTH.unpack(head)))
        _limit(room + (request["memory_mb"] << 20))
        answer = _answer(work, request["item"])
        _limit(resource.RLIM_INFINITY)
        _write(answers, answer)


def _answer(work: Callable[[Any], Any], item: Any) -> dict:
    try:
        return {"result": work(item)}
    except MemoryError:
        return {"out_of_memory": True}
    except Exception as error:
        return {"error": f"unexpected {type(error).__name__}: {error}"}


def _address_space() -> int:
    """Bytes of address space that this process has now; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def _limit(wanted: int) -> None:
    """Sets the soft limit of this process's address space, in bytes, at most the hard one."""
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    known = (
        wanted if hard == resource.RLIM_INFINITY else hard if wanted == resource.RLIM_INFINITY else min(wanted, hard)
    )
    try:
        resource.setrlimit(resource.RLIMIT_AS, (known, hard))
    except (OSError, ValueError):
        pass  # not every system limits address space; the time limit holds everywhere


if __name__ == "__main__":
    _serve(sys.argv[1])
