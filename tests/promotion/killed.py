"""Run as a script by the tests: promotions that are killed with SIGKILL, or that run at the same time.

One process imports everything and forks a child for each promotion, because MLflow takes seconds to import.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

from components.core.recipe import load_recipe
from components.promotion import __main__ as stage
from components.promotion import compare, registry
from components.promotion.promote import promote
from tests.deployment.making import RECIPE

WRITES = [
    (MlflowClient, "create_run"),
    (registry.mlflow, "log_artifacts"),
    (MlflowClient, "log_artifact"),
    (MlflowClient, "set_registered_model_tag"),
    (MlflowClient, "create_registered_model"),
    (MlflowClient, "create_model_version"),
    (MlflowClient, "set_registered_model_alias"),
    (MlflowClient, "set_model_version_tag"),
    (stage, "atomic_json"),
]


def kill_after(count: int) -> None:
    """Lets this process be killed as soon as it has written `count` times; counts what it wrote in `writes`."""
    done = 0

    def wrapped(write: Callable) -> Callable:
        def counted(*args, **kwargs):
            nonlocal done
            if done >= count:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1
            return write(*args, **kwargs)

        return counted

    for owner, name in WRITES:
        setattr(owner, name, wrapped(getattr(owner, name)))


def in_child(action: Callable[[], None]) -> int:
    """Forks; the child does the action and ends. Returns its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            sys.stdout.flush()
            os._exit(status)
    return pid


def promotion(root: str, writes: int | None) -> None:
    """The stage's own main in a workspace, killed after so many writes."""
    os.environ["SIGHTLINE_WORKSPACE"] = root
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it to the store used last
    os.chdir(root)
    if writes is not None:
        kill_after(writes)
    stage.main(load_recipe(RECIPE))


def one_of_many(root: str, data: str) -> None:
    """A promotion of the model in `data`, as the stage makes it."""
    os.environ["SIGHTLINE_WORKSPACE"] = root
    os.chdir(root)
    recipe = load_recipe(RECIPE)
    with registry.locked(recipe.registered_name):
        promote(recipe, Path(data))


def main() -> None:
    compare.RESAMPLES = 50
    order = json.loads(sys.argv[1])
    if "warm" in order:
        promotion(order["warm"], None)  # what MLflow imports at its first use is then imported for all children
    outcome = []
    for root, writes in order.get("killed", []):
        first = os.waitstatus_to_exitcode(os.waitpid(in_child(lambda r=root, w=writes: promotion(r, w)), 0)[1])
        again = os.waitstatus_to_exitcode(os.waitpid(in_child(lambda r=root: promotion(r, None)), 0)[1])
        outcome.append([first, again])
    children = [in_child(lambda r=root, d=data: one_of_many(r, d)) for root, data in order.get("together", [])]
    outcome += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    print("OUTCOME " + json.dumps(outcome), flush=True)


if __name__ == "__main__":
    main()
