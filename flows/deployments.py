"""Deployments as code, served by this process, of each recipe: nightly training, retraining, the hourly check, scoring.

`sightline up` starts it. Drift asks for retraining, footage that arrives in a recipe's folder for scoring; on demand:
`prefect deployment run training/retrain-RECIPE`. SIGHTLINE_NIGHTLY and SIGHTLINE_CHECKS name other times than 3:00 UTC
and every full hour, SIGHTLINE_INBOX_S other than ten seconds between two looks into the folders.
"""

import os
import sys
from uuid import UUID

from components.core.errors import SightlineError
from components.core.recipe import recipe_names
from components.core.stage import guarded
from flows import environment

NIGHTLY, CHECKS = "SIGHTLINE_NIGHTLY", "SIGHTLINE_CHECKS"  # cron expressions, in UTC
INBOX_S = "SIGHTLINE_INBOX_S"  # seconds between two looks into the inboxes; 0: none
THREE_AT_NIGHT, EVERY_HOUR = "0 3 * * *", "0 * * * *"


def name(recipe: str) -> str:
    """The name of a recipe's nightly deployment."""
    return f"nightly-{recipe}"


def serve(nightly: str, checks: str) -> None:
    """Registers deployments and automations with the Prefect server and runs what falls due, until it is stopped.

    Raises SightlineError where there is no server to register with: one that lives as long as a run has no schedules.
    """
    environment.prepare()
    if not os.environ.get("PREFECT_API_URL"):
        raise SightlineError("there is no Prefect server to serve from", "run `sightline up`, or set PREFECT_API_URL")
    from prefect import serve as serve_deployments
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    from flows import automations, inbox
    from flows.monitoring import monitoring
    from flows.scoring import scoring
    from flows.training import training

    # A second one by the clock, check or scoring would only wait for the first, and by a clock faster than the work
    # they would pile up: it is not begun; what it would see the next one does.
    one_at_a_time = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
    deployments, recipes = [], recipe_names()
    for recipe in recipes:
        # `paused` is said everywhere: the runner pauses them when it ends, so that nothing piles up meanwhile.
        options = {"parameters": {"recipe": recipe}, "tags": [recipe], "paused": False}
        deployments += [
            training.to_deployment(
                name=name(recipe),
                cron=nightly,
                description=f"Brings {recipe} up to date every night",
                concurrency_limit=one_at_a_time,
                **options,
            ),
            training.to_deployment(
                name=f"retrain-{recipe}", description=f"Trains {recipe} anew, on demand or when asked for", **options
            ),
            monitoring.to_deployment(
                name=f"check-{recipe}",
                cron=checks,
                description=f"Looks for drift in {recipe}'s new footage",
                concurrency_limit=one_at_a_time,
                **options,
            ),
            scoring.to_deployment(
                name=f"score-{recipe}",
                description=f"Has {recipe}'s champion score what it has not seen",
                concurrency_limit=one_at_a_time,
                **options,
            ),
        ]
    take_back([deployment.apply() for deployment in deployments])
    automations.register(automations.of_recipes(recipes))
    inbox.watch(recipes, float(os.environ.get(INBOX_S) or inbox.LOOK_S))
    serve_deployments(*deployments, print_starting_message=False)


def take_back(deployments: list[UUID]) -> None:
    """Has what the process before this one took, and had not begun when it was ended, taken again.

    Such a run sends no heartbeat by whose silence it would be known, and holds its deployment's one place: no later
    check and no later night would begin.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.states import Scheduled

    mine = filters.FlowRunFilterDeploymentId(any_=deployments)
    taken = filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=[StateType.PENDING]))
    with get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=filters.FlowRunFilter(deployment_id=mine, state=taken)):
            message = "the deployments' process ended before it began"
            client.set_flow_run_state(run.id, Scheduled(message=message), force=True)


if __name__ == "__main__":
    times = os.environ.get(NIGHTLY, THREE_AT_NIGHT), os.environ.get(CHECKS, EVERY_HOUR)
    sys.exit(guarded(lambda: serve(*times), label="deployments"))
