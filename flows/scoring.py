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

    Raises ComponentFailed with what it said where it fails.
    """
    command, runner = ["-m", module, "--recipe", recipe, *arguments], os.environ.get(elsewhere.RUNNER) or "local"
    if runner == "local":
        code, said, complaint = _ran([sys.executable, *command])
    else:
        stage = f"{module.split('.')[1]}@{recipe}"
        with _folder() as folder:  # the log of a container has both of its streams
            answer = folder / "answer"
            told = {elsewhere.RUNNER: runner, elsewhere.STAGE: stage, elsewhere.ANSWER: str(answer)}
            code, *logs = _ran([sys.executable, "-m", "flows.runners.elsewhere", *command], told)
            said, complaint = answer.read_text() if answer.exists() else "", "".join(logs)
    if code:
        raise ComponentFailed(complaint.strip())
    return said


def _ran(command: list[str], env: dict[str, str] | None = None) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command, which is ended as stages are when the run is cancelled or stopped.

    Raises Stopped where it was.
    """
    stages, pipe = Stages(), subprocess.PIPE
    options = {"cwd": paths.workspace(), "env": os.environ | (env or {}), "text": True}
    with watched(stages), stages.started(command, stdout=pipe, stderr=pipe, **options) as process:
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
