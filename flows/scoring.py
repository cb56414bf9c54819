"""The scoring flow: what the champion says of footage that it was not made from. Its log is what monitoring reads."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from components.core import paths
from components.core.errors import MAY_PASS, signal_of
from flows import environment

environment.prepare()  # before Prefect reads it

from prefect import flow, task  # noqa: E402
from prefect.artifacts import create_table_artifact  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.logging import get_run_logger  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

from flows.cancelling import watched  # noqa: E402
from flows.memory import share  # noqa: E402
from flows.needs import Needs, needs  # noqa: E402
from flows.runners import elsewhere  # noqa: E402
from flows.runners.local import Stages  # noqa: E402
from flows.training import training  # noqa: E402
from flows.turn import turn  # noqa: E402

NEEDED = "ingest"  # the last stage that scoring needs


class ComponentFailed(Exception):
    """What a component said on its standard error before it ended with another code than 0."""


def run_name() -> str:
    """The name of the flow run that is going on: its flow, its recipe and when it began."""
    return f"{flow_run.flow_name}-{flow_run.parameters['recipe']}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


@flow(name="scoring", flow_run_name=run_name, persist_result=False)
def scoring(recipe: str) -> State:
    """Brings ingest of `recipe` up to date and has its champion score what it has not seen.

    The scores are in `.sightline/scores/RECIPE`, with a table of the moments to look at first among the artifacts.
    """
    if no_champion := without_champion(recipe):
        return no_champion
    state = training(recipe, until_stage=NEEDED, return_state=True)
    if not state.is_completed():
        return state
    log = get_run_logger()
    try:
        with turn(recipe, str(flow_run.name), time.sleep, log.info):  # no other run changes the catalog meanwhile
            return Completed(message=score(recipe))
    except ComponentFailed as error:
        return Failed(message=str(error))


@task(task_run_name="score@{recipe}", cache_policy=NO_CACHE, persist_result=False)
def score(recipe: str) -> str:
    """Scores the footage that the champion has neither seen nor scored. Returns in words what was done.

    Raises ComponentFailed.
    """
    unseen = component("components.monitoring", recipe, "--unseen")
    if not unseen.strip():
        return "no footage that the champion has not seen or scored"
    with _folder() as folder:
        (folder / "footage.txt").write_text(unseen)
        given = ("-o", str(paths.scores(recipe).parent), "--json", "--listed", str(folder / "footage.txt"))
        said = component("components.serving.batch", recipe, *given)
    done = json.loads(said)
    if done["moments"]:
        create_table_artifact(key=f"{recipe}-moments", table=done["moments"], description="What to look at first")
    return f"{done['files']} files, {done['frames']} frames scored by {done['model']}"


def without_champion(recipe: str) -> State | None:
    """The state of a run that needs a champion where there is none."""
    if paths.state("deployed", recipe, "champion.json").is_file():
        return None
    return Completed(name="NoChampion", message=f"{recipe} has no champion yet")


def component(module: str, recipe: str, *arguments: str) -> str:
    """What a component prints, executed where this process's stages are: packages that it needs may be there alone.

    As flows/stages.yaml has it, it waits for its share of the memory, and is tried again where that can help. It is
    ended as stages are when the run is cancelled or stopped. Raises ComponentFailed with what it said where it fails,
    Stopped.
    """
    name, log, stages = module.split(".")[:2][-1], get_run_logger(), Stages()
    needed, command = needs(name), ["-m", module, "--recipe", recipe, *arguments]
    with watched(stages):
        for left in range(needed.retries, -1, -1):
            with share(f"{name}@{recipe}", needed.memory_gb, stages.pause, log.info):
                code, said, complaint = _answer(stages, f"{name}@{recipe}", command, needed)
            if not code:
                return said
            if not left or not (code == MAY_PASS or signal_of(code)):
                raise ComponentFailed(complaint.strip())
            log.warning("%s is tried again: %s", name, complaint.strip())
            stages.pause(needed.backoff_s * 2 ** (needed.retries - left))
    raise AssertionError("unreachable")


def _answer(stages: Stages, stage: str, command: list[str], needed: Needs) -> tuple[int, str, str]:
    """(exit code, what it printed, what it said beside) of Python with these arguments."""
    runner = needed.runner or os.environ.get(elsewhere.RUNNER) or "local"
    if runner == "local":
        return _ran(stages, [sys.executable, *command])
    with _folder() as folder:  # the log of a container has both of its streams
        answer = folder / "answer"
        told = {elsewhere.RUNNER: runner, elsewhere.STAGE: stage, elsewhere.ANSWER: str(answer)}
        code, *logs = _ran(stages, [sys.executable, "-m", "flows.runners.elsewhere", *command], told)
        return code, answer.read_text() if answer.exists() else "", "".join(logs)


def _ran(stages: Stages, command: list[str], env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command. Raises Stopped where it was ended."""
    options = {"cwd": paths.workspace(), "env": os.environ | (env or {}), "text": True}
    with stages.started(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options) as process:
        said, complaint = process.communicate()
    stages.check()
    return process.returncode, said, complaint


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that this context and containers of the workspace's owner write to."""
    place = paths.state("run")
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="component-") as name:
        if os.getuid() == 0:
            owner = paths.workspace().stat()
            os.chown(name, owner.st_uid, owner.st_gid)
        yield Path(name)
