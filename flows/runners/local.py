"""One stage as a local process: `dvc repro --single-item`, in its own process group, its lines streamed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from components.core import paths
from components.core.errors import SightlineError
from flows.graph import Busy, StageNode, is_current
from flows.locks import release_dead
from flows.processes import end_family

Log = Callable[[str], None]
ADVICE = "If there are no processes"  # what DVC says about its locks from here on is done by release_dead
LOCK_POLL_S = 2.0
GRACE_S = 10.0
KEPT_LINES = 200

# What DVC says about itself. The stage's own lines are what a reader of the log wants.
CHATTER = re.compile(
    r"|Running stage '.*':|> .*|(?:Generating|Updating) lock file '.*'|To track the changes with git, run:"
    r"|\tgit add .*|To enable auto staging, run:|\tdvc config core\.autostage true"
    r"|Use `dvc push` to send your updates to remote storage\.|Data and pipelines are up to date\."
    r"|WARNING: Process '.*' with \(Pid \d+\), in RWLock-file .* had been killed\. Auto removed it from the lock file\."
)
SKIPPED = re.compile(r"Stage '.*' didn't change, skipping")
RESTORED = re.compile(r"Stage '.*' is cached - skipping run, checking out outputs")
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)", re.DOTALL)
# Two different locks of DVC: that of the repository, and those of single files, which it keeps in one file.
LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by|RWLock-file")


class StageFailed(SightlineError):
    """A stage ended with an error; `exit_code` 2 says that the request was wrong and a retry cannot help."""


class Stopped(BaseException):
    """The run was interrupted; no stage may start or go on."""


@dataclass(frozen=True)
class StageResult:
    """How a stage ended. `cached`: DVC found nothing to do, or put back the outputs of an earlier equal run."""

    name: str
    status: Literal["ran", "cached"]
    seconds: float
    message: str


@dataclass
class _Outcome:
    """What one `dvc repro` did. `lines` are the stage's last ones, `errors` what DVC said of its failure."""

    code: int = 0
    skipped: bool = False
    restored: bool = False
    timed_out: bool = False
    lines: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT_LINES))
    errors: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "\n".join(self.errors).removeprefix("ERROR: ")

    @property
    def locked(self) -> bool:
        return bool(LOCKED.search(self.said))

    @property
    def stage_code(self) -> int | None:
        """The exit code of the stage's own command; None where DVC failed by itself."""
        found = EXITED.search(self.said)
        return int(found.group(1)) if found else None


_running: set[subprocess.Popen] = set()
_guard = threading.Lock()
_stop = threading.Event()


def run_stage(
    node: StageNode,
    *,
    force: bool = False,
    env: dict[str, str] | None = None,
    log: Log = print,
    timeout_s: float | None = None,
) -> StageResult:
    """Runs the stage unless DVC holds it for up to date; `force` runs it all the same.

    `env` is added to the stage's environment. Waits as long as it takes for DVC's locks. Raises StageFailed with the
    stage's own last words, and Stopped after `stop_all`.
    """
    began = time.monotonic()
    waited = _Patience(node.name, log)
    while not force and not node.always_changed:
        try:
            if is_current(node.name):
                return StageResult(node.name, "cached", time.monotonic() - began, "nothing changed")
            break
        except Busy as busy:
            waited.another_turn(str(busy))
    while True:
        outcome = _repro(node, force, env or {}, log, timeout_s)
        if not outcome.locked:
            break
        waited.another_turn(outcome.said)
    seconds = time.monotonic() - began
    if outcome.code == 0 and not outcome.timed_out:
        if outcome.skipped or outcome.restored:
            message = "nothing changed" if outcome.skipped else "outputs of an earlier equal run put back"
            return StageResult(node.name, "cached", seconds, message)
        return StageResult(node.name, "ran", seconds, "done")
    raise _failure(node, outcome, timeout_s)


def stop_all() -> None:
    """Ends every stage that runs here, with all the processes it started; none can start afterwards."""
    _stop.set()
    with _guard:
        running = list(_running)
    for process in running:
        _end(process)


def allow_runs() -> None:
    """Lets stages run again after `stop_all`."""
    _stop.clear()


class _Patience:
    """Waits between attempts at a lock, and says once in a while for whom."""

    def __init__(self, name: str, log: Log):
        self.name, self.log, self.turns = name, log, 0

    def another_turn(self, reason: str) -> None:
        if release_dead(reason):
            return
        if self.turns % 15 == 0:
            self.log(f"waiting for another DVC process: {' '.join(reason.partition(ADVICE)[0].split())}")
        self.turns += 1
        if _stop.wait(LOCK_POLL_S):
            raise Stopped("the run was interrupted")


def _repro(node: StageNode, force: bool, env: dict[str, str], log: Log, timeout_s: float | None) -> _Outcome:
    root = paths.workspace()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", node.name]
    if force:
        command.append("--force")
    with _guard:
        if _stop.is_set():
            raise Stopped("the run was interrupted")
        process = subprocess.Popen(
            command,
            cwd=root,
            env=_environment(root) | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,  # a process group of its own: what ends it reaches the stage's children too
        )
        _running.add(process)
    outcome = _Outcome()
    timer = threading.Timer(timeout_s, _expire, (process, outcome)) if timeout_s else None
    try:
        if timer:
            timer.start()
        for line in process.stdout:
            _read(node.name, line.rstrip(), outcome, log)
        outcome.code = process.wait()
    finally:
        if timer:
            timer.cancel()
        if process.poll() is None:
            _end(process)
        with _guard:
            _running.discard(process)
    if _stop.is_set():
        raise Stopped("the run was interrupted")
    return outcome


def _environment(root: Path) -> dict[str, str]:
    # dvc.yaml says `python`: it must be this one, whatever the caller's PATH holds.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return os.environ | {"PATH": path, "PYTHONUNBUFFERED": "1", "SIGHTLINE_WORKSPACE": str(root)}


def _read(name: str, line: str, outcome: _Outcome, log: Log) -> None:
    # DVC speaks of a failure after the stage has ended, so all that follows its first words is its own.
    if outcome.errors or line.startswith((f"ERROR: failed to reproduce '{name}'", "ERROR: Unable to acquire lock")):
        outcome.errors.append(line)
    elif SKIPPED.fullmatch(line):
        outcome.skipped = True
    elif RESTORED.fullmatch(line):
        outcome.restored = True
    elif not CHATTER.fullmatch(line):
        outcome.lines.append(line)
        log(line.removeprefix(f"{name}: "))  # the log tells the name anyway


def _failure(node: StageNode, outcome: _Outcome, timeout_s: float | None) -> StageFailed:
    if outcome.timed_out:
        return StageFailed(f"{node.name}: not done after {timeout_s:g} s and ended", "allow it more, or see its log")
    code = outcome.stage_code
    if code is None:
        said = outcome.said or " ".join(list(outcome.lines)[-3:]) or f"dvc ended with {outcome.code}"
        return StageFailed(f"{node.name}: {' '.join(said.split())}", "correct what DVC names, then run again")
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        reason = f"ended by signal {number}{_memory(number)}"
        return StageFailed(f"{node.name}: {reason}", "run again: what was finished is kept")
    problem, remedy = last_words(node.name, list(outcome.lines))
    return StageFailed(problem or f"{node.name}: exit code {code}, and not a word", remedy, 2 if code == 2 else 1)


def last_words(name: str, lines: list[str]) -> tuple[str, str]:
    """Problem and remedy from the end of a failed stage's output; each "" where there is none.

    Stages print `STAGE@RECIPE: problem` and `  remedy: ...`; of anything else the last line says most, as a
    traceback's does.
    """
    lines = [line for line in lines if line.strip()]
    starts = [index for index, line in enumerate(lines) if line.startswith(f"{name}: ")]
    block = lines[starts[-1] :] if starts else []
    if block and not any(line.startswith("Traceback ") for line in block):  # a defect comes after what it had to say
        remedies = [index for index, line in enumerate(block) if line.startswith("  remedy: ")]
        if remedies:
            remedy = block[remedies[0]].removeprefix("  remedy: ")
            return "\n".join(block[: remedies[0]]), remedy
        return block[0], ""
    return (f"{name}: {lines[-1].strip()}", "the lines before it are in the log") if lines else ("", "")


def _memory(number: int) -> str:
    return " (kill; often the machine was out of memory)" if number == signal.SIGKILL else ""


def _expire(process: subprocess.Popen, outcome: _Outcome) -> None:
    outcome.timed_out = True
    _end(process)


def _end(process: subprocess.Popen) -> None:
    # Interrupted, DVC puts its locks in order; terminated, it leaves them as they are.
    end_family(process.pid, GRACE_S, leader_signal=signal.SIGINT)
