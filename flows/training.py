"""The training flow: the DVC graph of one recipe, one Prefect task per DVC stage.

DVC owns what is out of date and is the only cache; Prefect owns order, retries and visibility.
"""

import contextvars
import logging
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from components.core import paths
from components.core.errors import MAY_PASS, WRONG_REQUEST, SightlineError
from components.core.recipe import load_recipe
from flows import environment

environment.prepare()  # before Prefect reads it

import httpx  # noqa: E402
from prefect import flow, get_client, task  # noqa: E402
from prefect.assets import materialize  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State, StateType  # noqa: E402
from prefect.context import FlowRunContext  # noqa: E402
from prefect.exceptions import PrefectException  # noqa: E402
from prefect.futures import PrefectFuture, wait  # noqa: E402
from prefect.logging import get_run_logger  # noqa: E402
from prefect.runtime import flow_run, task_run  # noqa: E402
from prefect.states import Cancelled, Completed, Failed  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402

from flows import artifacts, assets  # noqa: E402
from flows.cancelling import is_cancelling, watched  # noqa: E402
from flows.graph import StageNode, read_graph  # noqa: E402
from flows.needs import Needs, needs  # noqa: E402
from flows.progressing import Shown  # noqa: E402
from flows.runners import local  # noqa: E402
from flows.turn import turn  # noqa: E402

POOL = 64  # a stage that waits for another holds a thread too

# Names of a failed stage's state, by its exit code; of these only the second is retried.
FAILURES = {WRONG_REQUEST: "WrongRequest", MAY_PASS: "MayPass"}

# Of the flow runs of this process, by recipe: the stages that go on, how they ended, the rows of their tables.
_stages: dict[str, local.Stages] = {}
_states: dict[str, State] = {}
_seconds: dict[str, float] = {}  # by a stage's full name
_rows: dict[str, list[dict]] = {}


@dataclass(frozen=True)
class TrainingRun:
    """How a flow run ended. `stages`: rows of stage, status, seconds; `error`: what to raise, or None."""

    recipe: str
    state: str
    message: str
    flow_run: str | None
    stages: list[dict]
    error: SightlineError | None

    @property
    def succeeded(self) -> bool:
        return self.error is None


def run(recipes: list[str], from_stage: str | None = None, **options: Any) -> list[TrainingRun]:
    """Runs the flow of each recipe in this process, all at the same time; returns how each ended.

    `options`: as `training` takes them. Against the Prefect server at hand: raises SightlineError where that server
    does not answer or one of its own cannot be started.
    """
    try:
        if len(recipes) == 1:
            states = {recipes[0]: training(recipes[0], from_stage, **options, return_state=True)}
        else:
            several(recipes, **options, return_state=True)
            states = _states
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        where = os.environ.get("PREFECT_API_URL")
        remedy = f"see that a server answers at {where}, or unset PREFECT_API_URL" if where else "sightline up"
        raise SightlineError(f"Prefect: {type(error).__name__}: {error}", remedy) from error
    return [_ended(recipe, states[recipe]) for recipe in recipes]


def _ended(recipe: str, state: State) -> TrainingRun:
    message = state.message or state.name
    error = None
    if not state.is_completed():
        problem, _, remedy = message.partition("\n  remedy: ")
        error = SightlineError(problem, remedy, 2 if state.name == FAILURES[WRONG_REQUEST] else 1)
    flow_run_id = str(state.state_details.flow_run_id) if state.state_details.flow_run_id else None
    return TrainingRun(recipe, state.name, message, flow_run_id, _rows.get(recipe, []), error)


def _may_pass(task_, run_, state: State) -> bool:
    """Whether a retry can help."""
    return state.name == FAILURES[MAY_PASS]


def _run_name() -> str:
    return f"{flow_run.parameters['recipe']}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _failed(error: SightlineError) -> State:
    return Failed(name=FAILURES.get(error.exit_code), message=str(error))


def run_stage(
    node: StageNode, stages: local.Stages, runner: str, force: bool, env: dict[str, str], needed: Needs
) -> State:
    """Runs one stage; the state's name is `Cached` where DVC had nothing to do, its message how it went."""
    log = get_run_logger()
    if task_run.run_count > 1:
        log.info(f"attempt {task_run.run_count} of {needed.retries + 1}")
    began, shown = time.monotonic(), Shown(f"{node.name.replace('@', '-')}-progress")

    def read(line: str) -> None:
        log.info(line)
        shown.line(line)

    try:
        result = local.run_stage(node, stages, needed, runner=runner, force=force, env=env, log=read)
    except local.StageFailed as error:
        log.error(str(error))
        return _failed(error)
    except local.Stopped as stopped:
        return Cancelled(message=f"{node.name}: {stopped}")
    finally:
        _seconds[node.name] = time.monotonic() - began
    if result.status == "cached":
        log.info(f"cached: {result.message}")
        return Completed(name="Cached", message=result.message)
    log.info(f"done in {result.seconds:.1f} s")
    shown.done()
    assets.tell(node)
    return Completed(message=result.message)


@flow(name="training-of-several", persist_result=False)
def several(
    recipes: list[str], runner: str = "local", force: bool = False, stage_timeout_s: float | None = None
) -> State:
    """Brings several recipes up to date at the same time, each by a training flow of its own."""
    _states.clear()
    _stages.update({recipe: local.Stages() for recipe in recipes})
    options = {"runner": runner, "force": force, "stage_timeout_s": stage_timeout_s}

    def one(recipe: str) -> None:
        try:
            _states[recipe] = training(recipe, **options, return_state=True)
        except Exception as error:  # the engine's own, a server's 500 say: that recipe's run has failed, not the others
            _states[recipe] = Failed(message=f"{recipe}: Prefect: {type(error).__name__}: {error}")

    with watched(*(_stages[recipe] for recipe in recipes)), ThreadPoolExecutor(len(recipes)) as pool:
        try:
            runs = [pool.submit(contextvars.copy_context().run, one, recipe) for recipe in recipes]
            for run in runs:
                run.result()
        except BaseException:
            for stages in list(_stages.values()):
                stages.stop()
            raise
    if is_cancelling():
        return Cancelled(message="cancelled")
    ended = {recipe: _states[recipe].name for recipe in recipes if not _states[recipe].is_completed()}
    if ended:
        return Failed(message=", ".join(f"{recipe}: {state}" for recipe, state in ended.items()))
    return Completed(message=f"{len(recipes)} recipes are up to date")


@flow(
    name="training",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=POOL),
    persist_result=False,
)
def training(
    recipe: str,
    from_stage: str | None = None,
    until_stage: str | None = None,
    runner: str | None = None,
    force: bool = False,
    stage_timeout_s: float | None = None,
) -> State:
    """Brings every stage of `recipe` up to date, or those from `from_stage` on, or those until `until_stage`.

    `runner`: who executes the stages' commands, local | docker | kubernetes (flows/stages.yaml may say otherwise for
    one); by default what SIGHTLINE_RUNNER says, or local. `force` runs stages that did not change; `stage_timeout_s`
    ends a stage that takes longer. The flow run fails with one message naming the stage, the reason and the remedy;
    stages after a failed one do not run.
    """
    log = get_run_logger()
    _rows.pop(recipe, None)
    try:
        load_recipe(recipe)
        nodes = read_graph(recipe, from_stage, until_stage)
    except SightlineError as error:
        log.error(str(error))
        return _failed(error)
    commit = git_commit()
    _tag({recipe, commit} - {None})
    began = time.monotonic()
    stages, runner = _stages.setdefault(recipe, local.Stages()), runner or os.environ.get("SIGHTLINE_RUNNER") or "local"
    try:
        with watched(stages), ExitStack() as turns:
            # Those of recipes that this one learns from too; in order, so that no two runs wait for each other.
            for name in sorted({node.name.partition("@")[2] for node in nodes} | {recipe}):
                turns.enter_context(turn(name, str(flow_run.name), stages.pause, log.info))
            states = _run_all(nodes, stages, runner, force, stage_timeout_s)
    except local.Stopped:
        return Cancelled(message=f"{recipe}: cancelled before a stage began")
    finally:
        _stages.pop(recipe, None)
    rows = _rows[recipe] = [stage_row(node, states[node.name]) for node in nodes]
    artifacts.publish(recipe, rows, commit, model=until_stage is None)
    if stages.stopped.is_set() or is_cancelling():
        return Cancelled(message=f"{recipe}: cancelled\n  remedy: run again to go on: what was finished is kept")
    failed = [state for state in states.values() if state.type in (StateType.FAILED, StateType.CRASHED)]
    if failed:
        return Failed(name=failed[0].name, message=failed[0].message)
    summary = f"{_in_words(nodes, states)} ({time.monotonic() - began:.1f} s)"
    log.info(summary)
    return Completed(message=summary)


def _run_all(
    nodes: list[StageNode], stages: local.Stages, runner: str, force: bool, timeout_s: float | None
) -> dict[str, State]:
    """Runs each stage as soon as those before it are done; the final state of each by name."""
    env = {"SIGHTLINE_FLOW_RUN_ID": str(flow_run.id)}
    futures: dict[str, PrefectFuture] = {}
    for node in nodes:
        _seconds.pop(node.name, None)
        needed = needs(node.stage)
        if timeout_s is not None:
            needed = needed.model_copy(update={"timeout_s": timeout_s})
        options = {
            "name": node.stage,
            "task_run_name": node.name,
            "retries": needed.retries,
            "retry_delay_seconds": [needed.backoff_s * 2**number for number in range(needed.retries)] or None,
            "retry_condition_fn": _may_pass,
            "cache_policy": NO_CACHE,
            "persist_result": False,
        }
        made = assets.assets(node)
        named = (materialize(*made, by="dvc", **options) if made else task(**options))(run_stage)
        upstream = [futures[name] for name in node.upstream]
        futures[node.name] = named.submit(node, stages, needed.runner or runner, force, env, needed, wait_for=upstream)
    wait(list(futures.values()))
    return {name: future.state for name, future in futures.items()}


def stage_row(node: StageNode, state: State) -> dict[str, str | float | None]:
    """How one stage went, for tables: its name, status and seconds (None where it did not start)."""
    seconds = _seconds.get(node.name)
    status = {"Completed": "Ran"}.get(state.name, state.name)
    return {"stage": node.name, "status": status, "seconds": None if seconds is None else round(seconds, 1)}


def _in_words(nodes: list[StageNode], states: dict[str, State]) -> str:
    ran = [node for node in nodes if states[node.name].name != "Cached"]
    cached = f"{len(nodes) - len(ran)} stages cached"
    if all(node.always_changed for node in ran) and len(ran) < len(nodes):
        looked = f"{', '.join(node.stage for node in ran)} looked at the source, " if ran else ""
        return f"nothing changed: {looked}{cached}"
    return f"{len(ran)} stages ran, {cached}"


def git_commit() -> str | None:
    """The commit that the workspace is at, short, or None before the first."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        reply = subprocess.run(command, cwd=paths.workspace(), capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return reply.stdout.strip() if reply.returncode == 0 else None


def _tag(tags: set[str]) -> None:
    run = FlowRunContext.get().flow_run
    with get_client(sync_client=True) as client:
        client.update_flow_run(run.id, tags={*run.tags, *tags})


class _OneMessage(logging.Filter):
    """Leaves out Prefect's own account of an end whose message is in the log already."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("Task run failed with state", "Finished in state "))


for _name in ("prefect.task_runs", "prefect.flow_runs"):
    logging.getLogger(_name).addFilter(_OneMessage())
