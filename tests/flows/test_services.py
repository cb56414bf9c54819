"""The real services, up and down again, and a schedule that fires."""

import contextlib
import json
import sys
import time
import urllib.request
from uuid import UUID

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Pending

from flows import artifacts, deployments
from flows.events import WANTED, resource
from flows.services import answers, port_is_free
from tests.flows import toy
from tests.flows.conftest import Server

EVERY_TEN_SECONDS = "* * * * * */10"


@pytest.mark.slow
def test_up_a_tick_of_the_clock_what_arrives_what_is_asked_for_status_and_down(root):
    """Slow: it starts the real Prefect and MLflow servers and waits for a schedule and for automations to fire.

    Guards the pins of fastapi and sqlalchemy: newer ones stop the server, or let schedules never fire while all
    looks healthy.
    """
    prefect, mlflow = toy.free_port(), toy.free_port()
    ports = ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    env = {"SIGHTLINE_NIGHTLY": EVERY_TEN_SECONDS, "SIGHTLINE_INBOX_S": "1"}
    (root / "footage").mkdir()
    (root / "footage" / "a.mp4").write_bytes(b"a")
    try:
        up = toy.sightline(root, "up", *ports, **env)
        assert up.returncode == 0, up.stderr
        assert f"export PREFECT_API_URL=http://127.0.0.1:{prefect}/api" in up.stderr
        before = states(root)
        assert {name: row["state"] for name, row in before.items()} == dict.fromkeys(
            ["prefect", "mlflow", "deployments"], "running"
        )
        assert answers(f"http://127.0.0.1:{mlflow}/health")
        with urllib.request.urlopen(f"http://127.0.0.1:{prefect}/ui-settings") as settings:
            assert json.load(settings)["api_url"] == "/api", "the page asks this server, not that of another port"
        assert artifacts.mlflow_run(toy.RECIPE, 1) is None, "no such version"
        page = a_version(f"http://127.0.0.1:{mlflow}")
        assert artifacts.mlflow_run(toy.RECIPE, 1) == page
        server = Server(f"http://127.0.0.1:{prefect}")
        run = an_ended_run(server, "nightly-toy")
        assert run["state"]["name"] == "Completed", run["state"]
        assert "auto-scheduled" in run["tags"] and toy.attempts(root, "join")

        assert an_ended_run(server, "score-toy")["state"]["name"] == "NoChampion", "the footage that arrived"
        assert not ended_runs(server, "retrain-toy")
        code = f"from prefect.events import emit_event; emit_event({WANTED!r}, resource={resource(toy.RECIPE)!r})"
        toy.shell(root, sys.executable, "-c", code, PREFECT_API_URL=server.api)
        assert an_ended_run(server, "retrain-toy")["state"]["name"] == "Completed"

        again = toy.sightline(root, "up", *ports, **env)
        assert again.returncode == 0, again.stderr
        deadline = time.monotonic() + 60
        while (now := states(root)) != before and time.monotonic() < deadline:  # busy, a service may answer late
            time.sleep(1)
        assert now == before, "what runs is left alone"

        reply = toy.sightline(root, "run", toy.RECIPE, "--json")
        assert reply.returncode == 0, reply.stderr
        assert f"http://127.0.0.1:{prefect}" in reply.stderr, "the run uses the server that is up"
    finally:
        down = toy.sightline(root, "down")
    assert down.returncode == 0, down.stderr
    assert {row["state"] for row in states(root).values()} == {"stopped"}
    assert port_is_free(prefect) and port_is_free(mlflow)


def states(root) -> dict[str, dict]:
    reply = toy.sightline(root, "status", "--json")
    assert reply.returncode == 0, reply.stderr
    return {row["service"]: row for row in json.loads(reply.stdout)}


def a_version(url: str) -> str:
    """Registers version 1 of the toy recipe's model; the page of its run."""
    client = MlflowClient(url, url)
    experiment = client.create_experiment(toy.RECIPE)
    run = client.create_run(experiment).info
    client.create_registered_model(toy.RECIPE)
    client.create_model_version(toy.RECIPE, f"{run.artifact_uri}/model", run.run_id)
    return f"{url}/#/experiments/{experiment}/runs/{run.run_id}"


def an_ended_run(server: Server, deployment: str) -> dict:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):  # a server on a busy machine may be slow to answer; the deadline holds
            if runs := ended_runs(server, deployment):
                return runs[0]
        time.sleep(0.5)
    with urllib.request.urlopen(f"{server.api}/deployments/filter", b"{}") as reply:
        raise AssertionError(f"no run of {deployment} ended in 600 s: {json.load(reply)}")


def ended_runs(server: Server, deployment: str) -> list[dict]:
    ended = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}}
    return server.find("flow_runs", flow_runs=ended, deployments={"name": {"any_": [deployment]}})


def test_a_run_that_was_taken_and_never_begun_is_taken_again(server):
    """Else the deployment's one place would be taken for ever by a run whose process was ended in that very second."""
    flow = server.ask("flows/", {"name": "abandoned"})["id"]
    options = {"concurrency_limit": 1, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    deployment = UUID(server.ask("deployments/", {"name": "nightly", "flow_id": flow} | options)["id"])
    with temporary_settings({PREFECT_API_URL: server.api}), get_client(sync_client=True) as client:

        def take() -> tuple[UUID, str]:
            run = client.create_flow_run_from_deployment(deployment).id
            client.set_flow_run_state(run, Pending(name="Submitting"))
            return run, client.read_flow_run(run).state_name

        (lost, first), (_, second) = take(), take()
        assert (first, second) == ("Submitting", "Cancelled")
        deployments.take_back([deployment])
        assert client.read_flow_run(lost).state_name == "Scheduled" and take()[1] == "Submitting"
