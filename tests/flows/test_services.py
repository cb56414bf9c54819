"""The real services, up and down again, and a schedule that fires."""

import json
import time
import urllib.request

import pytest

from flows.services import answers, port_is_free
from tests.flows import toy
from tests.flows.conftest import Server

EVERY_FIVE_SECONDS = "* * * * * */5"


@pytest.mark.slow
def test_up_a_tick_of_the_clock_status_and_down(root):
    """Slow: it starts the real Prefect and MLflow servers and waits for a schedule to fire.

    Guards the pins of fastapi and sqlalchemy: newer ones stop the server, or let schedules never fire while all
    looks healthy.
    """
    prefect, mlflow = toy.free_port(), toy.free_port()
    ports = ["--prefect-port", str(prefect), "--mlflow-port", str(mlflow)]
    env = {"SIGHTLINE_NIGHTLY": EVERY_FIVE_SECONDS}
    try:
        up = toy.sightline(root, "up", *ports, **env)
        assert up.returncode == 0, up.stderr
        assert f"export PREFECT_API_URL=http://127.0.0.1:{prefect}/api" in up.stderr
        before = states(root)
        assert {name: row["state"] for name, row in before.items()} == dict.fromkeys(
            ["prefect", "mlflow", "deployments"], "running"
        )
        assert answers(f"http://127.0.0.1:{mlflow}/health")
        run = a_scheduled_run(Server(f"http://127.0.0.1:{prefect}"))
        assert run["state"]["name"] == "Completed", run["state"]
        assert "auto-scheduled" in run["tags"] and toy.attempts(root, "join")

        again = toy.sightline(root, "up", *ports, **env)
        assert again.returncode == 0, again.stderr
        assert states(root) == before, "what runs is left alone"

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


def a_scheduled_run(server: Server) -> dict:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        runs = server.find("flow_runs", flow_runs={"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}})
        if runs:
            return runs[0]
        time.sleep(0.5)
    with urllib.request.urlopen(f"{server.api}/deployments/name/training/nightly-toy") as reply:
        raise AssertionError(f"no scheduled run in 90 s: {json.load(reply)}")
