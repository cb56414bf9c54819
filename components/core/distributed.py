"""Horovod: a thin launcher for the workers of a stage, and what a worker does first and last."""

import ctypes
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from components.core import hosts
from components.core.errors import SightlineError, TransientError, UsageError, signal_of

PR_SET_PDEATHSIG = 1
COOLDOWN_S = (1, 10)  # after which a lost worker's host is tried again, from time to time later
RESETS = 100  # losses and returns after which an elastic training is given up
HOSTFILE = "SIGHTLINE_HOSTFILE"  # lines `HOST slots=N`: workers are started there, over ssh
SSH_PORT, SSH_KEY = "SIGHTLINE_SSH_PORT", "SIGHTLINE_SSH_KEY"  # of these hosts, where they are not the user's own
STARTS_S = 300  # for which a worker is waited for: one that comes back imports for as long as a busy machine takes
SILENT = "SIGHTLINE_SILENT_S"  # the same among hosts that may be lost, where silence is all that a broken link shows
SILENT_S = 60
ALIVE = ["-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"]  # of ssh to these
# The launcher tells workers of changes and waits for their word, by itself for as long as a stopped host is stopped.
LAUNCHER = """
import socket
from horovod.runner.launch import run_commandline

socket.setdefaulttimeout(10)
run_commandline()
"""
ENDED = re.compile(r"^Exit code: (-?\d+)", re.MULTILINE)  # what horovodrun says of a worker that failed


def die_with_parent(signum: int = signal.SIGKILL) -> None:
    """Asks Linux to end this process when its parent ends, so that a killed stage leaves no worker behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)


def name_interface() -> None:
    """Has Horovod use the network interface by which this host reaches the launcher, where it has none of the name that
    the launcher found on all hosts: a link that was cut may have come back by another one."""
    import psutil  # Horovod's; not in the images of those who only tie processes to their parents

    launcher, told = os.environ.get("HOROVOD_GLOO_RENDEZVOUS_ADDR"), os.environ.get("HOROVOD_GLOO_IFACE")
    if not launcher or told in psutil.net_if_addrs():
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((launcher, 9))  # sends nothing
        ours = route.getsockname()[0]
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.address == ours for address in addresses):
            os.environ |= {"HOROVOD_GLOO_IFACE": name, "NCCL_SOCKET_IFNAME": name}


def _tied_to_parent() -> None:
    die_with_parent(signal.SIGTERM)


def launch(workers: int, module: str, arguments: list[str], least: int | None = None) -> None:
    """Runs `python -m module arguments` as `workers` Horovod processes and waits for them: on this machine or, where
    SIGHTLINE_HOSTFILE names a file, on its hosts, which see the workspace and Python under the same paths.

    `least`: elastic: so many, fewer than all, are enough to go on when others are lost, which are started again after a
    while; the module's code is one that `horovod.elastic.run` runs. The file of hosts is then read again and again, and
    its hosts that ssh does not reach are left out until it does; a worker that is silent for SIGHTLINE_SILENT_S seconds
    is lost.

    A subprocess, because `horovod.run` needs the main thread's signals, which a flow's task does not have. Output
    is passed through. Raises SightlineError with the exit code where a worker failed, TransientError where one was
    killed, UsageError for a file of hosts that does not serve.
    """
    horovodrun = Path(sys.executable).with_name("horovodrun")
    if not horovodrun.exists():
        raise SightlineError(f"{horovodrun}: not there", "run `make setup`: Horovod is not installed")
    slots = _slots(workers, least)
    threads = str(max(1, (os.cpu_count() or 1) // (1 if slots else workers)))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "HOROVOD_LOG_LEVEL": "error"}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lossy = slots and least is not None
        launcher = ["-c", LAUNCHER] if lossy else [str(horovodrun)]
        command = [sys.executable, *launcher, "-np", str(workers), "--gloo", "--disable-cache"]
        command += ["--gloo-timeout-seconds", str(_silence() if lossy else STARTS_S)]
        command += ["--start-timeout", str(STARTS_S)]
        if least is not None:
            script = _reached(folder) if slots else _twice(folder, workers)
            environment["PATH"] = os.pathsep.join([name, environment.get("PATH", os.defpath)])
            command += _elastic(workers, least, script)
        elif slots:
            command += ["-H", ",".join(f"{host}:{number}" for host, number in slots.items())]
        command += [*(_ssh() if slots else []), sys.executable, "-m", module, *arguments]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, preexec_fn=_tied_to_parent) as process:
            said = _passed_on(process.stderr)
    if process.returncode:
        code = int((ENDED.findall(said) or [process.returncode])[-1])  # horovodrun's own is 1 for all of them
        raise (TransientError if signal_of(code) else SightlineError)(
            f"{module}: Horovod's workers ended with exit code {code}",
            "the worker's own message stands above; run the stage again: it resumes at the last checkpoint",
        )


def _slots(workers: int, least: int | None) -> dict[str, int]:
    """The hosts of SIGHTLINE_HOSTFILE and how many workers each takes; none where it is not set."""
    named = os.environ.get(HOSTFILE)
    if not named:
        return {}
    try:
        slots = hosts.slots(Path(named))
    except (OSError, ValueError) as error:
        raise UsageError(f"{HOSTFILE}: {named}: {error}", "write lines like: worker-0 slots=1") from None
    if sum(slots.values()) < workers:
        problem = f"{named}: {sum(slots.values())} slots for {workers} workers"
        raise UsageError(problem, "name more hosts, or lower training.workers")
    if least is not None and len(slots) < 2:
        raise UsageError(f"{named}: one host, and none is left when it is lost", "name another, or no min_workers")
    return slots


def _silence() -> int:
    """Seconds after which a silent worker of another host is lost."""
    value = os.environ.get(SILENT) or str(SILENT_S)
    if not value.isdecimal() or int(value) < 1:
        raise UsageError(f"{SILENT}: {value!r} is no number of seconds", f"leave it out for {SILENT_S}")
    return int(value)


def _ssh() -> list[str]:
    """horovodrun's arguments for the ssh servers of the hosts."""
    told = []
    for option, variable in (("--ssh-port", SSH_PORT), ("--ssh-identity-file", SSH_KEY)):
        told += [option, os.environ[variable]] if os.environ.get(variable) else []
    return told


def _reached(folder: Path) -> Path:
    """A script that prints the hosts of SIGHTLINE_HOSTFILE that answer, beside an `ssh` that leaves those that do not.

    Horovod gives its workers no word on how long to hold a connection, and looks for `ssh` in PATH.
    """
    if ssh := shutil.which("ssh"):
        _script(folder / "ssh", [ssh, *ALIVE], ' "$@"')
    asked = [hosts.__file__, str(Path(os.environ[HOSTFILE]).absolute()), os.environ.get(SSH_PORT) or "22"]
    return _script(folder / "hosts", [sys.executable, "-I", "-S", *asked])


def _twice(folder: Path, workers: int) -> Path:
    """A script that prints this machine by two names.

    Where a worker fails Horovod gives up its whole host for a while: so one is left.
    """
    return _script(folder / "hosts", ["printf", f"localhost:{(workers + 1) // 2}\n127.0.0.1:{workers // 2}\n"])


def _script(file: Path, command: list[str], rest: str = "") -> Path:
    file.write_text(f"#!/bin/sh\nexec {shlex.join(command)}{rest}\n")
    file.chmod(0o755)
    return file


def _elastic(workers: int, least: int, script: Path) -> list[str]:
    """horovodrun's arguments for workers that may be lost and come back, on the hosts that `script` prints."""
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
