"""What the Prefect server does by itself: automations as code, registered by `sightline up`.

Where deployments are of a work pool (prefect.yaml): `python -m flows.automations`, once they are deployed.
"""

import os
import sys
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, Posture, RunDeployment
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.exceptions import ObjectNotFound

from components.core.errors import SightlineError
from components.core.recipe import recipe_names
from components.core.stage import guarded
from flows.events import ARRIVED, WANTED, resource

OWN = ("WrongRequest", "MayPass", "Drifted", "NoChampion")  # events carry the state's name: these are the flows' own
HEARTBEAT = "prefect.flow-run.heartbeat"  # every PREFECT_FLOWS_HEARTBEAT_FREQUENCY seconds, see environment.py
SILENCE = timedelta(seconds=100)  # three beats that did not come
ENDED = tuple(f"prefect.flow-run.{state}" for state in ("Completed", "Failed", "Cancelled", "Crashed", *OWN))


def silent_runs_crashed(silence: timedelta = SILENCE) -> Automation:
    """Marks a flow run as crashed whose process was killed: it has sent a heartbeat, and neither more nor its end."""
    return Automation(
        name="sightline: a run that fell silent has crashed",
        description="The run's process was killed, or its machine is gone. Run it again: it goes on where it was.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            after={HEARTBEAT},
            expect={HEARTBEAT, *ENDED},
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                name="Crashed",
                message=f"no sign of life for {silence.total_seconds():.0f} s: run again to go on where it stopped",
            )
        ],
    )


def run_when(event: str, recipe: str, deployment: UUID, name: str, description: str) -> Automation:
    """Runs a deployment for `recipe` whenever this event is sent about it."""
    return Automation(
        name=f"sightline: {name}",
        description=description,
        trigger=EventTrigger(
            posture=Posture.Reactive,
            match={"prefect.resource.id": resource(recipe)["prefect.resource.id"]},
            expect={event},
            threshold=1,
            within=timedelta(0),
        ),
        actions=[RunDeployment(source="selected", deployment_id=deployment, parameters={"recipe": recipe})],
    )


def register(automations: list[Automation]) -> None:
    """Makes the server have these, each as it is here: one of the same name that differs is replaced."""
    with get_client(sync_client=True) as client:
        for automation in automations:
            known = client.read_automations_by_name(automation.name)
            wanted = automation.model_dump(exclude={"id"})
            if len(known) == 1 and known[0].model_dump(include=set(wanted)) == wanted:
                continue
            for old in known:
                client.delete_automation(old.id)
            automation.create()


def of_recipes(recipes: list[str]) -> list[Automation]:
    """All automations for recipes whose deployments the server has. Raises SightlineError where it lacks one."""
    found = [silent_runs_crashed()]
    for recipe in recipes:
        retrain, score = (_deployment(name) for name in (f"training/retrain-{recipe}", f"scoring/score-{recipe}"))
        why = "Drift, decay, age: the monitoring flow decides, within the cool-down and the day's budget"
        found.append(run_when(WANTED, recipe, retrain, f"retrain {recipe} when it is asked for", why))
        why = "New files in the folder that the recipe's footage comes from"
        found.append(run_when(ARRIVED, recipe, score, f"score what arrives for {recipe}", why))
    return found


def _deployment(name: str) -> UUID:
    with get_client(sync_client=True) as client:
        try:
            return client.read_deployment_by_name(name).id
        except ObjectNotFound:
            raise SightlineError(f"the server has no deployment {name}", "prefect --no-prompt deploy --all") from None


def main() -> None:
    """Registers the automations of every recipe with the server of PREFECT_API_URL."""
    if not os.environ.get("PREFECT_API_URL"):
        raise SightlineError("there is no Prefect server to register with", "set PREFECT_API_URL")
    wanted = of_recipes(recipe_names())
    register(wanted)
    print("".join(f"{automation.name}\n" for automation in wanted), end="")


if __name__ == "__main__":
    sys.exit(guarded(main, label="automations"))
