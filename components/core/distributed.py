"""Horovod: a thin launcher for the workers of a stage, and what a worker does first and last."""

import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from components.core.errors import SightlineError, TransientError, UsageError

PR_SET_PDEATHSIG = 1
COOLDOWN_S = (1, 10)  # after which a lost worker's host is tried again, from time to time later
RESETS = 100  # losses and returns after which an elastic training is given up
HOSTFILE = "SIGHTLINE_HOSTFILE"  # lines `HOST slots=N`: workers are started there, over ssh
SSH_PORT, SSH_KEY = "SIGHTLINE_SSH_PORT", "SIGHTLINE_SSH_KEY"  # of these hosts, where they are not the user's own
ENDED = re.compile(r"^Exit code: (-?\d+)", re.MULTILINE)  # what horovodrun says of a worker that failed


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Asks Linux to end this process when its parent ends, so that a killed stage leaves no worker behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def _tied_to_parent() -> None:
    die_with_parent(signal.SIGTERM)


def launch(workers: int, module: str, arguments: list[str], least: int | None = None) -> None:
    """Runs `python -m module arguments` as `workers` Horovod processes and waits for them: on this machine or, where
    SIGHTLINE_HOSTFILE names a file, on its hosts, which see the workspace and Python under the same paths.

    `least`: elastic: so many are enough to go on when others are lost, which are started again after a while; the
    module's code is one that `horovod.elastic.run` runs. On this machine only.

    A subprocess, because `horovod.run` needs the main thread's signals, which a flow's task does not have. Output
    is passed through. Raises SightlineError with the exit code where a worker failed, TransientError where one was
    killed, UsageError for a file of hosts that does not serve.
    """
    horovodrun = Path(sys.executable).with_name("horovodrun")
    if not horovodrun.exists():
        raise SightlineError(f"{horovodrun}: not there", "run `make setup`: Horovod is not installed")
    hosts = _hosts(workers, least)
    threads = str(max(1, (os.cpu_count() or 1) // (1 if hosts else workers)))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "HOROVOD_LOG_LEVEL": "error"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(horovodrun), "-np", str(workers), "--gloo", "--disable-cache"]
        command += ["--gloo-timeout-seconds", "300"]  # one that comes back imports for as long as a busy machine takes
        command += hosts or ([] if least is None else _elastic(workers, least, Path(folder)))
        command += [sys.executable, "-m", module, *arguments]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=_tied_to_parent) as process:
            said = _passed_on(process.stderr)
    if process.returncode:
        code = int((ENDED.findall(said) or [process.returncode])[-1])  # horovodrun's own is 1 for all of them
        raise (TransientError if code < 0 or code > 128 else SightlineError)(
            f"{module}: Horovod's workers ended with exit code {code}",
            "the worker's own message stands above; run the stage again: it resumes at the last checkpoint",
        )


def _hosts(workers: int, least: int | None) -> list[str]:
    """horovodrun's arguments for the hosts of SIGHTLINE_HOSTFILE; none where it is not set."""
    named = os.environ.get(HOSTFILE)
    if not named:
        return []
    if least is not None:
        raise UsageError(f"{HOSTFILE}: elastic workers are this machine's own", "set training.min_workers to null")
    try:
        lines = [line.split() for line in Path(named).read_text().splitlines() if line.strip()]
        slots = {line[0]: int(line[1].removeprefix("slots=")) if line[1:] else 1 for line in lines}
    except (OSError, ValueError) as error:
        raise UsageError(f"{HOSTFILE}: {named}: {error}", "write lines like: worker-0 slots=1") from None
    if sum(slots.values()) < workers:
        problem = f"{named}: {sum(slots.values())} slots for {workers} workers"
        raise UsageError(problem, "name more hosts, or lower training.workers")
    told = ["-H", ",".join(f"{host}:{number}" for host, number in slots.items())]
    for option, variable in (("--ssh-port", SSH_PORT), ("--ssh-identity-file", SSH_KEY)):
        told += [option, os.environ[variable]] if os.environ.get(variable) else []
    return told


def _elastic(workers: int, least: int, folder: Path) -> list[str]:
    """horovodrun's arguments for workers that may be lost and come back.

    Where a worker fails Horovod gives up its whole host for a while: this machine goes by two names, so that one is
    left.
    """
    script = folder / "hosts"
    script.write_text(f"#!/bin/sh\necho localhost:{(workers + 1) // 2}\necho 127.0.0.1:{workers // 2}\n")
    script.chmod(0o755)
    cooldown = [str(seconds) for seconds in COOLDOWN_S]
    found = ["--host-discovery-script", str(script), "--blacklist-cooldown-range", *cooldown]
    return ["--min-np", str(least), "--max-np", str(workers), "--reset-limit", str(RESETS), *found]


def _passed_on(stream: IO[bytes]) -> str:
    """Writes what comes to stderr, as it comes; returns the end of it."""
    end = b""
    while block := stream.read1():
        os.write(2, block)
        end = (end + block)[-10_000:]
    return end.decode(errors="replace")
