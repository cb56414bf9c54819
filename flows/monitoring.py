"""The monitoring flow: new footage is brought in, scored, compared with what the champion saw; drift has it retrained.

Each finding is an event of Prefect's with its figures, about the resource `sightline.recipe.RECIPE`.
"""

import json
import time
from pathlib import Path
from typing import Any

from components.core import paths
from components.core.files import atomic_json
from components.core.recipe import Monitoring, load_recipe
from flows import environment

environment.prepare()  # before Prefect reads it

from prefect import flow, task  # noqa: E402
from prefect.artifacts import create_table_artifact  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.logging import get_run_logger  # noqa: E402
from prefect.runtime import flow_run  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

from flows import gauges  # noqa: E402
from flows.events import CHECKED, CURABLE, FOUND, WANTED, send  # noqa: E402
from flows.scoring import ComponentFailed, component, run_name, score, without_champion  # noqa: E402
from flows.training import training  # noqa: E402
from flows.turn import turn  # noqa: E402

NEEDED = "features"  # the last stage that a check needs
DAY_S = 86_400.0


@flow(name="monitoring", flow_run_name=run_name, persist_result=False)
def monitoring(recipe: str) -> State:
    """Brings ingest, frames and features of `recipe` up to date, scores the new footage and tests it for drift.

    Sends an event for each kind of drift that was found, or that all was checked; and where training can help, the
    cool-down is over and the day's budget is not spent, the event that the retraining automation waits for. The same
    footage with the same labels asks for it once.
    """
    log = get_run_logger()
    if no_champion := without_champion(recipe):
        return no_champion
    state = training(recipe, until_stage=NEEDED, return_state=True)
    if not state.is_completed():
        return state
    try:
        with turn(recipe, str(flow_run.name), time.sleep, log.info):  # no other run changes the tables meanwhile
            log.info(score(recipe))
            found = check(recipe)
    except ComponentFailed as error:
        return Failed(message=str(error))
    if unheard := gauges.push(recipe, found, time.time()):
        log.warning("the figures were not pushed: %s", unheard)
    if found["tests"]:
        create_table_artifact(key=f"{recipe}-drift", table=found["tests"], description="New footage against the old")
    for event, payload in events(found):
        send(event, recipe, payload)
    because = reasons(found)
    if not because:
        return Completed(message=found["reason"] or f"{found['current']} new assets, no drift")
    limits, now = load_recipe(recipe).monitoring, time.time()
    refused = no_cure(found) or refusal(recipe, found["footage"], limits, now)
    if refused:
        return Completed(name="Drifted", message=f"{because}; no retraining: {refused}")
    send(WANTED, recipe, {"recipe": recipe, "because": because})
    note_asked(recipe, found["footage"], now)
    return Completed(name="Drifted", message=f"{because}: retraining was asked for")


@task(task_run_name="check@{recipe}", cache_policy=NO_CACHE, persist_result=False)
def check(recipe: str) -> dict[str, Any]:
    """What the monitoring component found. Raises ComponentFailed."""
    return json.loads(component("components.monitoring", recipe, "--json"))


def kinds(found: dict[str, Any]) -> list[str]:
    """What was found: kinds of drift, and `stale`."""
    return [*found["drifted"], *(["stale"] if found["stale"] else [])]


def events(found: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """(event, its payload: what was found, with the tests of this kind alone) for each kind; that it was checked, where
    nothing was found."""
    if not kinds(found):
        return [(CHECKED, found)]
    return [
        (FOUND[kind], found | {"tests": [test for test in found["tests"] if test["kind"] == kind]})
        for kind in kinds(found)
    ]


def reasons(found: dict[str, Any]) -> str:
    """In words what was found: the figures that drifted, the champion's age; "" where nothing was."""
    names = [test["name"] for test in found["tests"] if test["drifted"]]
    said = [f"drift in {', '.join(names)}"] if names else []
    if found["stale"]:
        said.append(f"the champion is {found['age_days']:.0f} days old")
    return " and ".join(said)


def no_cure(found: dict[str, Any]) -> str:
    """Why training cannot help; "" where it can."""
    there = set(kinds(found))
    if there & set(CURABLE):
        return ""
    if there == {"quarantine"}:
        return "files that cannot be read stay so, see `sightline quarantine`"
    return "the champion has learned from the like"


def refusal(recipe: str, footage: str, limits: Monitoring, now: float) -> str:
    """Why retraining is not to be asked for on this footage at `now` (seconds since 1970); "" where it is."""
    asked = _asked(recipe)
    if any(one["footage"] == footage for one in asked):
        return "it was asked for on this very footage"
    recent = [one["time"] for one in asked if now - one["time"] < DAY_S]
    if recent and (passed := (now - max(recent)) / 3600) < limits.cooldown_h:
        return f"the last one was asked for {passed:.1f} h ago, and {limits.cooldown_h:g} h must pass"
    if len(recent) >= limits.per_day:
        return f"{len(recent)} were asked for within a day, and {limits.per_day} is the most"
    return ""


def note_asked(recipe: str, footage: str, now: float) -> None:
    """Keeps in `.sightline/monitoring/RECIPE.json` that retraining was asked for."""
    path = _path(recipe)
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_json(path, [*_asked(recipe), {"time": now, "footage": footage}])


def _asked(recipe: str) -> list[dict[str, Any]]:
    path = _path(recipe)
    return json.loads(path.read_text()) if path.is_file() else []


def _path(recipe: str) -> Path:
    return paths.state("monitoring", f"{recipe}.json")
