"""One stage as a local process: `dvc repro --single-item`, in its own process group, its lines streamed."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from components.core import paths
from components.core.errors import MAY_PASS, WRONG_REQUEST, SightlineError, signal_of
from flows.graph import Busy, StageNode, is_current
from flows.locks import release_dead
from flows.memory import share
from flows.needs import Needs
from flows.processes import end_family
from flows.runners import elsewhere

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
    r"|WARNING: Using incubator modules: .*"
    r"|WARNING: Process '.*' with \(Pid \d+\), in RWLock-file .* had been killed\. Auto removed it from the lock file\."
)
SKIPPED = re.compile(r"Stage '.*' didn't change, skipping")
RESTORED = re.compile(r"Stage '.*' is cached - skipping run, checking out outputs")
EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)", re.DOTALL)
# Two different locks of DVC: that of the repository, and those of single files, which it keeps in one file.
LOCKED = re.compile(r"Unable to acquire lock|is busy, it is being blocked by|RWLock-file")


class StageFailed(SightlineError):
    """A stage ended with an error; only where `exit_code` is MAY_PASS can a retry help."""


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


class Stages:
    """The stages of one flow run, each run by a thread of its own; `stop` ends them together, once and for all."""

    def __init__(self):
        self.stopped = threading.Event()
        self._running: set[subprocess.Popen] = set()
        self._guard = threading.Lock()

    def stop(self) -> None:
        """Ends every stage that runs, with all the processes it started; none can start afterwards."""
        self.stopped.set()
        with self._guard:
            running = list(self._running)
        for process in running:
            _end(process)

    def check(self) -> None:
        """Raises Stopped after `stop`."""
        if self.stopped.is_set():
            raise Stopped("the run was interrupted")

    def pause(self, seconds: float) -> None:
        """Waits. Raises Stopped as soon as `stop` is called."""
        self.stopped.wait(seconds)
        self.check()

    @contextmanager
    def started(self, command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
        """Yields a process in a group of its own, which is ended with all it started where the context is left."""
        with self._guard:
            self.check()
            process = subprocess.Popen(command, start_new_session=True, **options)
            self._running.add(process)
        try:
            yield process
        finally:
            if process.poll() is None:
                _end(process)
            with self._guard:
                self._running.discard(process)


def run_stage(
    node: StageNode,
    stages: Stages,
    needed: Needs,
    *,
    runner: str = "local",
    force: bool = False,
    env: dict[str, str] | None = None,
    log: Log = print,
) -> StageResult:
    """Runs the stage as one of `stages` unless DVC holds it for up to date; `force` runs it all the same.

    `runner`: who executes its command, local | docker | kubernetes. `env` is added to its environment. Waits as long as
    it takes for its share of memory and for DVC's locks. Raises StageFailed with the stage's own last words, and
    Stopped after `stages.stop`.
    """
    began = time.monotonic()
    waited = _Patience(stages, log)
    while not force and not node.always_changed:
        try:
            if is_current(node.name):
                return StageResult(node.name, "cached", time.monotonic() - began, "nothing changed")
            break
        except Busy as busy:
            waited.another_turn(str(busy))
    while True:
        with share(node.name, needed.memory_gb if runner != "kubernetes" else 0.0, stages.pause, log) as handle:
            told = _environment(node, runner) | (env or {})
            outcome = _repro(node, stages, force, told, log, needed.timeout_s, handle)
        if not outcome.locked:
            break
        waited.another_turn(outcome.said)
    seconds = time.monotonic() - began
    if outcome.code == 0 and not outcome.timed_out:
        if outcome.skipped or outcome.restored:
            message = "nothing changed" if outcome.skipped else "outputs of an earlier equal run put back"
            return StageResult(node.name, "cached", seconds, message)
        return StageResult(node.name, "ran", seconds, "done")
    raise _failure(node, outcome, needed.timeout_s)


class _Patience:
    """Waits between attempts at a lock, and says once in a while for whom."""

    def __init__(self, stages: Stages, log: Log):
        self.stages, self.log, self.turns = stages, log, 0

    def another_turn(self, reason: str) -> None:
        if release_dead(reason):
            return
        if self.turns % 15 == 0:
            self.log(f"waiting for another DVC process: {' '.join(reason.partition(ADVICE)[0].split())}")
        self.turns += 1
        self.stages.pause(LOCK_POLL_S)


def _repro(
    node: StageNode,
    stages: Stages,
    force: bool,
    env: dict[str, str],
    log: Log,
    timeout_s: float | None,
    handle: int,
) -> _Outcome:
    root = paths.workspace()
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", node.name]
    if force:
        command.append("--force")
    options = {"cwd": root, "env": env, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE}
    options |= {"stderr": subprocess.STDOUT, "text": True, "encoding": "utf-8", "errors": "replace"}
    options["pass_fds"] = [handle]  # where the flow is killed and DVC goes on, the stage keeps its share of memory
    outcome = _Outcome()
    with stages.started(command, **options) as process:
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
    stages.check()
    return outcome


def _environment(node: StageNode, runner: str) -> dict[str, str]:
    # dvc.yaml says `python`: it must be this one, whatever the caller's PATH holds, or one that works elsewhere.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    if runner != "local":
        path = elsewhere.path_with_python(path)
    told = {"PATH": path, "PYTHONUNBUFFERED": "1", "SIGHTLINE_WORKSPACE": str(paths.workspace())}
    return os.environ | told | {elsewhere.RUNNER: runner, elsewhere.STAGE: node.name}


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
    if code is None and outcome.code < 0:
        return StageFailed(f"{node.name}: DVC was ended by signal {-outcome.code}", "run again", MAY_PASS)
    if code is None:
        said = outcome.said or " ".join(list(outcome.lines)[-3:]) or f"dvc ended with {outcome.code}"
        return StageFailed(f"{node.name}: {' '.join(said.split())}", "correct what DVC names, then run again")
    if number := signal_of(code):
        reason = f"ended by signal {number}{_memory(number)}"
        return StageFailed(f"{node.name}: {reason}", "run again: what was finished is kept", MAY_PASS)
    problem, remedy = last_words(node.name, list(outcome.lines))
    kind = code if code in (WRONG_REQUEST, MAY_PASS) else 1
    return StageFailed(problem or f"{node.name}: exit code {code}, and not a word", remedy, kind)


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
