"""Horovod: a thin launcher for the workers of a stage, and what a worker does first and last."""

import ctypes
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO

from components.core.errors import SightlineError, TransientError

PR_SET_PDEATHSIG = 1
ENDED = re.compile(r"^Exit code: (-?\d+)", re.MULTILINE)  # what horovodrun says of a worker that failed


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Asks Linux to end this process when its parent ends, so that a killed stage leaves no worker behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def _tied_to_parent() -> None:
    die_with_parent(signal.SIGTERM)


def launch(workers: int, module: str, arguments: list[str]) -> None:
    """Runs `python -m module arguments` as `workers` Horovod processes on this machine and waits for them.

    A subprocess, because `horovod.run` needs the main thread's signals, which a flow's task does not have. Output
    is passed through. Raises SightlineError with the exit code where a worker failed, TransientError where one was
    killed.
    """
    horovodrun = Path(sys.executable).with_name("horovodrun")
    if not horovodrun.exists():
        raise SightlineError(f"{horovodrun}: not there", "run `make setup`: Horovod is not installed")
    command = [sys.executable, str(horovodrun), "-np", str(workers), "--gloo", "--disable-cache"]
    command += [sys.executable, "-m", module, *arguments]
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "HOROVOD_LOG_LEVEL": "error"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=_tied_to_parent) as process:
        said = _passed_on(process.stderr)
    if process.returncode:
        code = int((ENDED.findall(said) or [process.returncode])[-1])  # horovodrun's own is 1 for all of them
        raise (TransientError if code < 0 or code > 128 else SightlineError)(
            f"{module}: Horovod's workers ended with exit code {code}",
            "the worker's own message stands above; run the stage again: it resumes at the last checkpoint",
        )


def _passed_on(stream: IO[bytes]) -> str:
    """Writes what comes to stderr, as it comes; returns the end of it."""
    end = b""
    while block := stream.read1():
        os.write(2, block)
        end = (end + block)[-10_000:]
    return end.decode(errors="replace")
