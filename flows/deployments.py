"""Deployments as code: each recipe's training flow every night, served by this process.

`sightline up` starts it; on demand: `prefect deployment run training/nightly-RECIPE`. SIGHTLINE_NIGHTLY names another
time than 3:00 UTC.
"""

import os
import sys

from components.core.errors import SightlineError
from components.core.recipe import recipe_names
from components.core.stage import guarded
from flows import environment

NIGHTLY = "SIGHTLINE_NIGHTLY"  # a cron expression, in UTC
THREE_AT_NIGHT = "0 3 * * *"


def name(recipe: str) -> str:
    """The name of a recipe's nightly deployment."""
    return f"nightly-{recipe}"


def serve(cron: str) -> None:
    """Registers a deployment per recipe with the Prefect server and runs what falls due, until it is stopped.

    Raises SightlineError where there is no server to register with: one that lives as long as a run has no schedules.
    """
    environment.prepare()
    if not os.environ.get("PREFECT_API_URL"):
        raise SightlineError("there is no Prefect server to serve from", "run `sightline up`, or set PREFECT_API_URL")
    from prefect import serve as serve_deployments

    from flows import automations
    from flows.training import training

    automations.register([automations.silent_runs_crashed()])
    deployments = [
        training.to_deployment(
            name=name(recipe),
            cron=cron,
            parameters={"recipe": recipe},
            tags=[recipe],
            description=f"Brings {recipe} up to date every night",
            paused=False,  # the runner pauses them when it ends, so that nothing piles up meanwhile
        )
        for recipe in recipe_names()
    ]
    serve_deployments(*deployments, print_starting_message=False)


if __name__ == "__main__":
    sys.exit(guarded(lambda: serve(os.environ.get(NIGHTLY, THREE_AT_NIGHT)), label="deployments"))
