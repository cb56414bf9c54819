"""The monitoring flow: new footage is brought in, compared with what the champion saw, and drift has it retrained."""

import json
import subprocess
import sys
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

from components.core import paths
from components.core.files import atomic_json
from components.core.recipe import Monitoring, load_recipe
from flows import environment

environment.prepare()  # before Prefect reads it

from prefect import flow, task  # noqa: E402
from prefect.artifacts import create_table_artifact  # noqa: E402
from prefect.automations import Automation, EventTrigger, Posture, RunDeployment  # noqa: E402
from prefect.cache_policies import NO_CACHE  # noqa: E402
from prefect.client.schemas.objects import State  # noqa: E402
from prefect.events import emit_event  # noqa: E402
from prefect.logging import get_run_logger  # noqa: E402
from prefect.states import Completed, Failed  # noqa: E402

from flows.training import training  # noqa: E402

CHECKED, DRIFTED, WANTED = "sightline.drift.checked", "sightline.drift.found", "sightline.retraining.wanted"
LOOKED_AT = "features"  # the last stage that a check needs
DAY_S = 86_400.0


@flow(name="monitoring", flow_run_name="check-{recipe}", persist_result=False)
def monitoring(recipe: str) -> State:
    """Brings ingest, frames and features of `recipe` up to date and tests the new footage for drift.

    Emits an event with the figures, and where there is drift, the cool-down is over and the day's budget is not spent,
    the event that the retraining automation waits for. The same footage asks for it once.
    """
    log = get_run_logger()
    if not paths.state("deployed", recipe, "champion.json").is_file():
        return Completed(name="NoChampion", message=f"{recipe} has no champion yet: there is nothing to compare with")
    state = training(recipe, until_stage=LOOKED_AT, return_state=True)
    if not state.is_completed():
        return Failed(message=state.message)
    found = check(recipe)
    if "tests" not in found:
        return Failed(message=found["error"])
    resource = {"prefect.resource.id": resource_id(recipe), "prefect.resource.name": recipe}
    emit_event(DRIFTED if found["drifted"] else CHECKED, resource=resource, payload=found)
    if found["tests"]:
        create_table_artifact(key=f"{recipe}-drift", table=found["tests"], description="New footage against the old")
    if not found["drifted"]:
        return Completed(message=found["reason"] or f"{found['current']} new assets, no drift")
    names = ", ".join(test["name"] for test in found["tests"] if test["drifted"])
    refused = ask_once(recipe, found["footage"], load_recipe(recipe).monitoring, time.time())
    if refused:
        log.info(f"drift in {names}, no retraining: {refused}")
        return Completed(name="Drifted", message=f"drift in {names}; no retraining: {refused}")
    emit_event(WANTED, resource=resource, payload={"recipe": recipe, "because": f"drift in {names}"})
    log.info(f"drift in {names}: retraining is asked for")
    return Completed(name="Drifted", message=f"drift in {names}: retraining was asked for")


@task(cache_policy=NO_CACHE, persist_result=False)
def check(recipe: str) -> dict[str, Any]:
    """What the monitoring component found, or {"error": what it said}."""
    command = [sys.executable, "-m", "components.monitoring", "--recipe", recipe, "--json"]
    done = subprocess.run(command, cwd=paths.workspace(), capture_output=True, text=True)
    return json.loads(done.stdout) if done.returncode == 0 else {"error": done.stderr.strip()}


def ask_once(recipe: str, footage: str, limits: Monitoring, now: float) -> str:
    """Notes that retraining is asked for on this footage, at `now` (seconds since 1970); or says why it is not to be.

    What was asked for is kept in `.sightline/monitoring/RECIPE.json`.
    """
    path = paths.state("monitoring", f"{recipe}.json")
    asked = json.loads(path.read_text()) if path.is_file() else []
    if any(one["footage"] == footage for one in asked):
        return "it was asked for on this very footage"
    recent = [one["time"] for one in asked if now - one["time"] < DAY_S]
    if recent and (passed := (now - max(recent)) / 3600) < limits.cooldown_h:
        return f"the last one was asked for {passed:.1f} h ago, and {limits.cooldown_h:g} h must pass"
    if len(recent) >= limits.per_day:
        return f"{len(recent)} were asked for within a day, and {limits.per_day} is the most"
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_json(path, [*asked, {"time": now, "footage": footage}])
    return ""


def resource_id(recipe: str) -> str:
    """The recipe as a resource of Prefect's events."""
    return f"sightline.recipe.{recipe}"


def retrain_when_wanted(recipe: str, deployment: UUID) -> Automation:
    """Runs the training deployment of `recipe` when its retraining is asked for."""
    return Automation(
        name=f"sightline: retrain {recipe} when it is asked for",
        description="Drift, a decayed model: the monitoring flow decides, within the cool-down and the day's budget",
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match={"prefect.resource.id": resource_id(recipe)},
            expect={WANTED},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment, parameters={"recipe": recipe})],
    )
