"""Toy workspaces, and one real Prefect server for all tests of this folder."""

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from flows.processes import end_family
from flows.services import answers
from tests.flows import toy


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy workspace to copy."""
    return toy.make(tmp_path_factory.mktemp("template") / "toy")


@pytest.fixture
def root(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A toy workspace, the current one for the test."""
    folder = Path(shutil.copytree(template, tmp_path / "toy"))
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(folder))
    monkeypatch.chdir(folder)
    return folder


ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")


class Server:
    """A Prefect server that a test asks about runs."""

    def __init__(self, url: str):
        self.api = f"{url}/api"

    def find(self, what: str, **body) -> list[dict]:
        """What the server holds: flow_runs, task_runs, artifacts ..."""
        return self.ask(f"{what}/filter", body)

    def ask(self, path: str, body: dict):
        """The server's answer to a POST."""
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(f"{self.api}/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as reply:
            return json.load(reply)

    def task_states(self, flow_run: str) -> dict[str, str]:
        """Task run name -> state name of a flow run."""
        deadline = time.monotonic() + 60
        while True:  # the server writes them down a moment after it has heard of them
            runs = self.find("task_runs", task_runs={"flow_run_id": {"any_": [flow_run]}})
            ended = [(run["state"] or {}).get("type") in ENDED for run in runs]
            if (runs and all(ended)) or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        return {run["name"].partition("@")[0]: run["state"]["name"] for run in runs}

    def logs(self, flow_run: str) -> str:
        """Everything that a flow run and its tasks logged."""
        found = self.find("logs", logs={"flow_run_id": {"any_": [flow_run]}}, sort="TIMESTAMP_ASC")
        return "\n".join(line["message"] for line in found)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory):
    """The server, on a free port, with a database of its own."""
    home = tmp_path_factory.mktemp("prefect")
    url = f"http://127.0.0.1:{(port := toy.free_port())}"
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    env = toy.environment(home, PREFECT_HOME=str(home), PREFECT_SERVER_ANALYTICS_ENABLED="false")
    log = home / "server.log"
    with open(log, "w") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + 300
        while not answers(f"{url}/api/health"):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield Server(url)
    finally:
        end_family(process.pid, 10)
        process.wait()
