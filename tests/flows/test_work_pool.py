"""prefect.yaml: the same deployments for a work pool, deployed and run by a real worker."""

import sys

import pytest
import yaml

from components.core.recipe import recipe_names
from flows.deployments import EVERY_HOUR, THREE_AT_NIGHT
from tests.flows import toy
from tests.flows.test_services import ended_runs

NAMES = {"nightly": "training", "retrain": "training", "check": "monitoring", "score": "scoring"}


def prefect(root, server, *arguments):
    return toy.shell(root, sys.executable, "-m", "prefect", "--no-prompt", *arguments, PREFECT_API_URL=server.api)


def test_it_names_what_up_serves():
    document = yaml.safe_load((toy.PROJECT / "prefect.yaml").read_text())
    found = {one["name"]: one for one in document["deployments"]}
    recipes = recipe_names(toy.PROJECT / "params.yaml")
    assert set(found) == {f"{name}-{recipe}" for name in NAMES for recipe in recipes}
    for name, one in found.items():
        kind, _, recipe = name.partition("-")
        assert one["parameters"] == {"recipe": recipe} and one["tags"] == [recipe]
        assert one["entrypoint"] == f"flows/{NAMES[kind]}.py:{NAMES[kind]}"
        times = [schedule["cron"] for schedule in one.get("schedules", [])]
        assert times == {"nightly": [THREE_AT_NIGHT], "check": [EVERY_HOUR]}.get(kind, [])


@pytest.mark.slow
def test_a_worker_runs_them(root, server):
    """Slow: Prefect's own commands deploy, and a worker of a process pool runs a flow; each takes seconds to start."""
    document = yaml.safe_load((toy.PROJECT / "prefect.yaml").read_text())
    mine = [one for one in document["deployments"] if one["name"].endswith("-sensor")]
    text = yaml.safe_dump(document | {"deployments": mine}).replace("sensor", toy.RECIPE)
    (root / "prefect.yaml").write_text(text)
    for name in ("flows", "components"):
        (root / name).symlink_to(toy.PROJECT / name)
    prefect(root, server, "work-pool", "create", "sightline", "--type", "process")
    prefect(root, server, "deploy", "--all")
    listed = prefect(root, server, "deployment", "ls").stdout
    for name, flow in NAMES.items():
        assert f"{flow}/{name}-toy" in listed
    said = toy.shell(root, sys.executable, "-m", "flows.automations", PREFECT_API_URL=server.api).stdout
    assert "sightline: retrain toy when it is asked for" in said
    prefect(root, server, "deployment", "run", "training/retrain-toy")
    worker = prefect(root, server, "worker", "start", "--pool", "sightline", "--run-once")
    (run,) = ended_runs(server, "retrain-toy")
    assert run["state"]["name"] == "Completed", f"{run['state']}\n{worker.stdout}\n{worker.stderr}"
    assert toy.attempts(root, "join")
