"""A small real workspace: git, DVC, and stages that do as a plan file says."""

import contextlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import yaml

from tests.workspaces import params

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = "toy"

# A stage: `stage.py NAME OUTPUT INPUT...`. plan/NAME holds one line per attempt: `sleep S`, `exit CODE`, `count`,
# `meet N` (stages), `until FILE`.
STAGE = """
import hashlib, os, pathlib, sys, time

name, output, *inputs = sys.argv[1:]
began = time.time()
attempts = pathlib.Path("attempts", name)
attempts.parent.mkdir(exist_ok=True)
number = len(attempts.read_text().splitlines()) if attempts.exists() else 0
with open(attempts, "a") as file:
    file.write(f"{os.getpid()} {os.environ.get('SIGHTLINE_FLOW_RUN_ID')} {began}\\n")
plan = pathlib.Path("plan", name)
steps = plan.read_text().splitlines() if plan.exists() else []
print(f"{name} looks at {len(inputs)} inputs", flush=True)
what, _, value = (steps[number] if number < len(steps) else "").partition(" ")
if what == "sleep":
    time.sleep(float(value))
if what in ("meet", "until"):  # until so many stages are here at once; until this file is there
    pathlib.Path("meeting").mkdir(exist_ok=True)
    pathlib.Path("meeting", name).touch()
    given_up = time.time() + 200
    while (len(os.listdir("meeting")) < int(value)) if what == "meet" else not os.path.exists(value):
        if time.time() > given_up:
            sys.exit("waited in vain")
        time.sleep(0.05)
if what == "count":
    print(f"{name}: 3/4 shards (1.5 shards/s, 1 s left)", file=sys.stderr, flush=True)
    time.sleep(2)
if what == "exit":
    print(f"{name}@toy: the footage is not there\\n  remedy: bring footage", file=sys.stderr)
    sys.exit(int(value))
digest = hashlib.sha256(b"".join(pathlib.Path(path).read_bytes() for path in inputs)).hexdigest()
pathlib.Path(output).parent.mkdir(parents=True, exist_ok=True)
pathlib.Path(output).write_text(f"{name} {digest}\\n")
pathlib.Path("spans").mkdir(exist_ok=True)
pathlib.Path("spans", name).write_text(f"{began} {time.time()}")
"""

STAGES = {"ingest": [], "frames": ["ingest"], "other": ["ingest"], "join": ["frames", "other"]}


def make(root: Path) -> Path:
    """Writes the workspace: ingest -> frames and other, independent -> join."""
    root.mkdir(parents=True)
    stages = {}
    for name, upstream in STAGES.items():
        inputs = [f"data/${{key}}/{one}" for one in upstream] or ["source.txt"]
        output = f"data/${{key}}/{name}"
        stage = {"cmd": f"python stage.py {name} {output} {' '.join(inputs)}", "outs": [output]}
        stage |= {"deps": inputs} if upstream else {"always_changed": True}
        stages[name] = {"foreach": "${recipes}", "do": stage}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["params.yaml"], "stages": stages}, sort_keys=False))
    (root / "params.yaml").write_text(yaml.safe_dump(params()))
    (root / "stage.py").write_text(STAGE)
    (root / "source.txt").write_text("footage\n")
    (root / ".gitignore").write_text("/data\n/.sightline\n/plan\n/attempts\n/spans\n/meeting\n/heard\n")
    shell(root, "git", "init", "-q")
    dvc(root, "init", "-q")
    shutil.copy(PROJECT / ".dvc" / "config", root / ".dvc" / "config")
    shell(root, "git", "add", "-A")
    shell(root, "git", "-c", "user.name=test", "-c", "user.email=test@example.org", "commit", "-qm", "toy")
    return root


def plan(root: Path, **steps: list[str]) -> None:
    """What each stage does, attempt by attempt."""
    (root / "plan").mkdir(exist_ok=True)
    for name, lines in steps.items():
        (root / "plan" / name).write_text("\n".join(lines))
        (root / "attempts" / name).unlink(missing_ok=True)


def attempts(root: Path, name: str) -> list[str]:
    """One line per attempt of a stage: process number and flow run."""
    path = root / "attempts" / name
    return path.read_text().splitlines() if path.exists() else []


def span(root: Path, name: str) -> tuple[float, float]:
    """When the stage's last run began and ended."""
    began, ended = (root / "spans" / name).read_text().split()
    return float(began), float(ended)


def environment(root: Path, **more: str) -> dict[str, str]:
    """The environment of a command in the workspace: no Prefect or MLflow settings from outside."""
    clean = {
        key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "SIGHTLINE_"))
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return clean | {"PATH": path, "SIGHTLINE_WORKSPACE": str(root), "PYTHONPATH": str(PROJECT), **more}


def shell(root: Path, *command: str, **env: str) -> subprocess.CompletedProcess:
    """Runs a command that must succeed."""
    done = subprocess.run(command, cwd=root, env=environment(root, **env), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Runs DVC, which must succeed."""
    return shell(root, sys.executable, "-m", "dvc", *arguments)


def sightline(root: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess:
    """Runs the real command; the caller looks at the exit code."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    return subprocess.run(command, cwd=root, env=environment(root, **env), capture_output=True, text=True, timeout=600)


def popen(root: Path, *arguments: str, **env: str) -> subprocess.Popen:
    """Starts the real command."""
    command = [sys.executable, "-m", "flows.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=root, env=environment(root, **env), **pipes)


def stopped(root: Path, node, run) -> BaseException | None:
    """What `run(node, stages)` raised, whose stages were stopped as soon as the stage worked."""
    from flows.runners.local import Stages

    stages, raised = Stages(), []

    def work() -> None:
        try:
            run(node, stages)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    deadline = time.monotonic() + 300
    while not attempts(root, node.stage):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    stages.stop()
    thread.join(300)
    assert not thread.is_alive()
    return raised[0] if raised else None


def failures(root: Path, node, run, *codes: int) -> list[BaseException]:
    """What `run(node)` raised each time, the stage ending with these exit codes one after another."""
    plan(root, **{node.stage: [f"exit {code}" for code in codes]})
    raised = []
    for _ in codes:
        try:
            run(node)
        except Exception as error:
            raised.append(error)
    return raised


def lock(root: Path) -> dict:
    """What dvc.lock says, whatever the order in which stages that run at the same time came to be written."""
    return yaml.safe_load((root / "dvc.lock").read_text())


def free_port() -> int:
    """A port that nothing listens on, and not one of those that the system hands out by itself."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def statuses(reply: subprocess.CompletedProcess) -> dict[str, str]:
    """Stage -> status of a `sightline run --json`."""
    return {row["stage"].partition("@")[0]: row["status"] for row in json.loads(reply.stdout)["stages"]}
