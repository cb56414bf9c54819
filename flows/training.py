"""The training flow: the DVC graph of one recipe, one Prefect task per DVC stage.

DVC owns what is out of date and is the only cache; Prefect owns order, retries and visibility.
"""

import logging
import os
import subprocess
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from components.core import paths
from components.core.errors import SightlineError
from components.core.recipe import load_recipe
from flows import environment

environment.prepare()  # before Prefect reads it

import httpx  # noqa: E402
from prefect import flow, get_client, task  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State, StateType  # noqa: E402
from prefect.context import FlowRunContext  # noqa: E402
from prefect.exceptions import PrefectException  # noqa: E402
from prefect.futures import PrefectFuture, wait  # noqa: E402
from prefect.logging import get_run_logger  # noqa: E402
from prefect.runtime import flow_run, task_run  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402

from flows import artifacts  # noqa: E402
from flows.graph import StageNode, read_graph  # noqa: E402
from flows.runners import local  # noqa: E402

RETRIES = 1
RETRY_DELAY_S = (3, 30)
AT_ONCE = int(os.environ.get("SIGHTLINE_STAGES_AT_ONCE", "2"))  # stages use all cores by themselves
POOL = 64  # a stage that waits for another holds a thread too

WRONG_REQUEST = "WrongRequest"  # the state of what no retry can help

_places = threading.BoundedSemaphore(AT_ONCE)
# Of the one flow run that goes on in this process: seconds by stage, and the rows of its table.
_seconds: dict[str, float] = {}
_rows: list[dict] = []


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


def run(
    recipe: str, from_stage: str | None = None, force: bool = False, stage_timeout_s: float | None = None
) -> TrainingRun:
    """Runs the flow in this process, against the Prefect server at hand; returns how it ended.

    Raises SightlineError where that server does not answer or one of its own cannot be started.
    """
    _rows.clear()
    try:
        state = training(recipe, from_stage, force, stage_timeout_s, return_state=True)
    except (httpx.HTTPError, PrefectException, RuntimeError) as error:
        where = os.environ.get("PREFECT_API_URL")
        remedy = f"see that a server answers at {where}, or unset PREFECT_API_URL" if where else "sightline up"
        raise SightlineError(f"Prefect: {type(error).__name__}: {error}", remedy) from error
    message = state.message or state.name
    error = None
    if not state.is_completed():
        problem, _, remedy = message.partition("\n  remedy: ")
        error = SightlineError(problem, remedy, 2 if state.name == WRONG_REQUEST else 1)
    flow_run_id = str(state.state_details.flow_run_id) if state.state_details.flow_run_id else None
    return TrainingRun(recipe, state.name, message, flow_run_id, list(_rows), error)


def _may_pass(task_, run_, state: State) -> bool:
    """Whether a retry can help: not where the request itself was wrong."""
    return state.name != WRONG_REQUEST


def _run_name() -> str:
    return f"{flow_run.parameters['recipe']}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _failed(error: SightlineError) -> State:
    return Failed(name=WRONG_REQUEST if error.exit_code == 2 else None, message=str(error))


@task(
    task_run_name="{node.name}",
    retries=RETRIES,
    retry_delay_seconds=list(RETRY_DELAY_S),
    retry_condition_fn=_may_pass,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def run_stage(node: StageNode, force: bool, env: dict[str, str], timeout_s: float | None) -> State:
    """Runs one stage; the state's name is `Cached` where DVC had nothing to do, its message how it went."""
    log = get_run_logger()
    if task_run.run_count > 1:
        log.info(f"attempt {task_run.run_count} of {RETRIES + 1}")
    with _places:
        began = time.monotonic()
        try:
            result = local.run_stage(node, force=force, env=env, log=log.info, timeout_s=timeout_s)
        except local.StageFailed as error:
            log.error(str(error))
            return _failed(error)
        finally:
            _seconds[node.name] = time.monotonic() - began
    if result.status == "cached":
        log.info(f"cached: {result.message}")
        return Completed(name="Cached", message=result.message)
    log.info(f"done in {result.seconds:.1f} s")
    return Completed(message=result.message)


@flow(
    name="training",
    flow_run_name=_run_name,
    task_runner=ThreadPoolTaskRunner(max_workers=POOL),
    persist_result=False,
)
def training(
    recipe: str, from_stage: str | None = None, force: bool = False, stage_timeout_s: float | None = None
) -> State:
    """Brings every stage of `recipe` up to date, from its source to its bundle, or from `from_stage` on.

    `force` runs stages that did not change; `stage_timeout_s` ends a stage that takes longer. The flow run fails with
    one message naming the stage, the reason and the remedy; stages after a failed one do not run.
    """
    log = get_run_logger()
    try:
        load_recipe(recipe)
        nodes = read_graph(recipe, from_stage)
    except SightlineError as error:
        log.error(str(error))
        return _failed(error)
    commit = git_commit()
    _tag({recipe, commit} - {None})
    began = time.monotonic()
    states = _run_all(nodes, force, {"SIGHTLINE_FLOW_RUN_ID": str(flow_run.id)}, stage_timeout_s)
    rows = [stage_row(node, states[node.name]) for node in nodes]
    _rows.extend(rows)
    artifacts.publish(recipe, rows, commit)
    failed = [state for state in states.values() if state.type in (StateType.FAILED, StateType.CRASHED)]
    if failed:
        return Failed(name=failed[0].name, message=failed[0].message)
    summary = f"{_in_words(nodes, states)} ({time.monotonic() - began:.1f} s)"
    log.info(summary)
    return Completed(message=summary)


def _run_all(nodes: list[StageNode], force: bool, env: dict[str, str], timeout_s: float | None) -> dict[str, State]:
    """Runs each stage as soon as those before it are done; the final state of each by name."""
    local.allow_runs()
    _seconds.clear()
    futures: dict[str, PrefectFuture] = {}
    try:
        for node in nodes:
            named = run_stage.with_options(name=node.stage)
            upstream = [futures[name] for name in node.upstream]
            futures[node.name] = named.submit(node, force, env, timeout_s, wait_for=upstream)
        wait(list(futures.values()))
    except BaseException:
        local.stop_all()
        raise
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
