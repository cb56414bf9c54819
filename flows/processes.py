"""Background processes of a workspace: started once, found again, stopped with all their children.

Each has `.sightline/run/NAME.json` (pid and the process's start time, so that a number which went to another program
is never taken for it) and `.sightline/logs/NAME.log`.
"""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError
from components.core.files import atomic_json

GRACE_S = 15.0
CLOCK_S = 2.0  # start times are told by a clock that may be set; a number is not given out anew within this


@dataclass(frozen=True)
class Running:
    """A process that was started: `started` in seconds since 1970, as the system tells it."""

    name: str
    pid: int
    started: float
    url: str


def record(name: str) -> Path:
    """The file that remembers the process `name`."""
    return paths.state("run", f"{name}.json")


def log_file(name: str) -> Path:
    """Where the process `name` writes."""
    return paths.state("logs", f"{name}.log")


def recorded() -> list[str]:
    """Names of the processes that were started and not stopped."""
    return sorted(path.stem for path in paths.state("run").glob("*.json") if not path.name.startswith("."))


def find(name: str) -> Running | None:
    """The process `name` of this workspace if it is running, else None."""
    known = _read(name)
    return known if known and _is_same(known) and _lives(known.pid) else None


def forget(name: str) -> None:
    """Forgets a process that is gone, and ends what it left behind in its group (a killed server's workers)."""
    known = _read(name)
    if known and _is_same(known, when_gone=True):
        end_family(known.pid, GRACE_S)
    record(name).unlink(missing_ok=True)


def start(name: str, command: list[str], url: str, env: dict[str, str]) -> Running:
    """Starts `command` in the background of the workspace, in a process group of its own, and remembers it."""
    import psutil

    log = log_file(name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as output:
        output.write(f"--- {time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(command)}\n".encode())
        output.flush()
        process = subprocess.Popen(
            command,
            cwd=paths.workspace(),
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Running(name, process.pid, psutil.Process(process.pid).create_time(), url)
    atomic_json(record(name), asdict(running))
    return running


def stop(running: Running) -> None:
    """Ends the process and its children. Raises SightlineError if one of them outlives that."""
    if find(running.name) == running and end_family(running.pid, GRACE_S):
        raise SightlineError(f"{running.name}: process {running.pid} does not end", "see what holds it")
    record(running.name).unlink(missing_ok=True)


def end_family(pid: int, grace_s: float, leader_signal: int = signal.SIGTERM) -> bool:
    """TERM to the group that `pid` leads and to descendants that left it, after `grace_s` KILL; whether any is left.

    `leader_signal` goes to `pid` itself in TERM's place, and before the others hear anything: a leader that sees its
    child die first may be putting its affairs in order when its own signal comes (DVC, writing its file of locks).

    Looks instead of waiting for them: a child's exit code is for the one who started it.
    """
    import psutil

    family = set()
    with suppress(psutil.NoSuchProcess):
        leader = psutil.Process(pid)
        family = {leader, *leader.children(recursive=True)}
    for first, others, seconds in (
        (leader_signal, signal.SIGTERM, grace_s),
        (signal.SIGKILL, signal.SIGKILL, 5.0),
    ):
        family |= _group(pid)  # once more before KILL: some answer TERM with one more child
        for member in sorted(family, key=lambda one: one.pid != pid):
            with suppress(psutil.NoSuchProcess):
                member.send_signal(first if member.pid == pid else others)
        deadline = time.monotonic() + seconds
        while family and time.monotonic() < deadline:
            family = {member for member in family if member.is_running() and _lives(member.pid)}
            time.sleep(0.05)
    return bool(family)


def _read(name: str) -> Running | None:
    try:
        return Running(**json.loads(record(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _is_same(known: Running, when_gone: bool = False) -> bool:
    """Whether the number still means the process that was started; `when_gone` where it means none."""
    import psutil

    try:
        return abs(psutil.Process(known.pid).create_time() - known.started) <= CLOCK_S
    except psutil.NoSuchProcess:
        return when_gone


def _group(pid: int) -> set:
    """Members of the process group `pid`. While there are any, the system gives the number to no other process."""
    import psutil

    members = set()
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
            if os.getpgid(process.pid) == pid:
                members.add(process)
    return members


def _lives(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def last_lines(name: str, count: int = 15) -> str:
    """The end of the process's log since it was last started."""
    with suppress(OSError):
        text = log_file(name).read_text(errors="replace")
        return "\n".join(text.rpartition("\n--- ")[2].splitlines()[1:][-count:])
    return ""
