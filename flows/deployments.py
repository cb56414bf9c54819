"""Deployments as code, served by this process: of each recipe the nightly training, the hourly check, retraining.

`sightline up` starts it; on demand: `prefect deployment run training/retrain-RECIPE`. SIGHTLINE_NIGHTLY and
SIGHTLINE_CHECKS name other times than 3:00 UTC and every full hour.
"""

import os
import sys

from components.core.errors import SightlineError
from components.core.recipe import recipe_names
from components.core.stage import guarded
from flows import environment

NIGHTLY, CHECKS = "SIGHTLINE_NIGHTLY", "SIGHTLINE_CHECKS"  # cron expressions, in UTC
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

    from flows import automations
    from flows.monitoring import monitoring, retrain_when_wanted
    from flows.training import training

    deployments, automatic = [], [automations.silent_runs_crashed()]
    for recipe in recipe_names():
        # `paused` is said everywhere: the runner pauses them when it ends, so that nothing piles up meanwhile.
        options = {"parameters": {"recipe": recipe}, "tags": [recipe], "paused": False}
        retraining = training.to_deployment(
            name=f"retrain-{recipe}",
            description=f"Trains {recipe} anew, on demand or when drift asks for it",
            **options,
        )
        automatic.append(retrain_when_wanted(recipe, retraining.apply()))
        deployments += [
            retraining,
            training.to_deployment(
                name=name(recipe), cron=nightly, description=f"Brings {recipe} up to date every night", **options
            ),
            monitoring.to_deployment(
                name=f"check-{recipe}", cron=checks, description=f"Looks for drift in {recipe}'s new footage", **options
            ),
        ]
    automations.register(automatic)
    serve_deployments(*deployments, print_starting_message=False)


if __name__ == "__main__":
    times = os.environ.get(NIGHTLY, THREE_AT_NIGHT), os.environ.get(CHECKS, EVERY_HOUR)
    sys.exit(guarded(lambda: serve(*times), label="deployments"))
