"""What the manifests' backends are started by, for real: PostgreSQL's first script, Prefect's and MLflow's commands.

Slow: a database and two servers make their tables, which takes seconds each.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from components.core.files import read_json
from flows.processes import end_family
from flows.services import answers
from tests.flows.toy import free_port
from tests.infra.manifests import KUBERNETES, render, title

TOOLS = ("initdb", "pg_ctl", "psql")
pytestmark = pytest.mark.slow


class Postgres:
    """A server of its own, whose passwords lie in `passwords` as they do in the pods."""

    def __init__(self, root: Path):
        self.root, self.port, self.passwords = root, free_port(), root / "passwords"
        self.passwords.mkdir()
        for name in ("superuser", "mlflow", "prefect"):
            (self.passwords / name).write_text(secrets.token_hex(8))
        self.user = {"user": "nobody", "cwd": "/"} if os.geteuid() == 0 else {}  # it refuses to be root's
        if self.user:
            for path in (root, self.passwords, *self.passwords.iterdir()):
                shutil.chown(path, "nobody")

    def __enter__(self) -> "Postgres":
        data = str(self.root / "data")
        first = ["initdb", "-D", data, "-U", "postgres", "--auth=scram-sha-256", "-N"]
        subprocess.run(
            [*first, f"--pwfile={self.passwords / 'superuser'}"], check=True, capture_output=True, **self.user
        )
        options = f"-p {self.port} -k {self.root} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.control = ["pg_ctl", "-D", data, "-l", str(self.root / "log"), "-w", "-t", "240"]
        subprocess.run([*self.control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, **self.user)
        return self

    def __exit__(self, *_) -> None:
        stop = [*self.control, "-m", "immediate", "stop"]
        subprocess.run(stop, check=True, stdout=subprocess.DEVNULL, **self.user)

    def environment(self, name: str) -> dict[str, str]:
        """For psql, as this role."""
        password = (self.passwords / name).read_text()
        return os.environ | {"PGHOST": str(self.root), "PGPORT": str(self.port), "PGPASSWORD": password}

    def ask(self, role: str, database: str, query: str) -> subprocess.CompletedProcess:
        """What psql says."""
        command = ["psql", "-At", "--username", role, "--dbname", database, "--command", query]
        env = self.environment("superuser" if role == "postgres" else role)
        return subprocess.run(command, env=env, capture_output=True, text=True)


@pytest.fixture(scope="module")
def postgres():
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"PostgreSQL is not on this machine: no {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="sightline-postgres-") as folder, Postgres(Path(folder)) as server:
        script = KUBERNETES / "base" / "postgres-init.sh"
        env = server.environment("superuser") | {"POSTGRES_PASSWORDS": str(server.passwords)}
        reply = subprocess.run(["sh", script], env=env, capture_output=True, text=True)
        assert reply.returncode == 0, reply.stderr
        yield server


@pytest.fixture(scope="module")
def rendered():
    return {title(one): one for one in render(KUBERNETES / "base")}


@pytest.fixture
def started(tmp_path):
    """Starts a container's shell command here, its addresses and paths exchanged, and waits for a URL."""
    running = []

    def start(deployment: dict, exchanged: dict[str, str], url: str, **env: str) -> None:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["command"] == ["sh", "-c"]
        (text,) = container["args"]
        for old, new in exchanged.items():
            assert old in text, f"{old} is not in the command"
            text = text.replace(old, new)
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        told = {one["name"]: one["value"] for one in container.get("env", [])} | {"PATH": path, "HOME": str(tmp_path)}
        log = tmp_path / "log"
        with open(log, "w") as output:
            process = subprocess.Popen(
                ["sh", "-c", text], env=os.environ | told | env, stdout=output, stderr=output, start_new_session=True
            )
        running.append(process)
        deadline = time.monotonic() + 900
        while not answers(url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.3)

    yield start
    for process in running:
        end_family(process.pid, 10)
        process.wait(30)


def test_no_password_is_an_argument(tmp_path):
    """Every list of processes shows those. By a psql that writes down what it is told."""
    for name in ("mlflow", "prefect"):
        (tmp_path / name).write_text("se-cret\n")
    psql = tmp_path / "psql"
    psql.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\n')
    psql.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.defpath}", "POSTGRES_PASSWORDS": str(tmp_path)}
    subprocess.run(["sh", KUBERNETES / "base" / "postgres-init.sh"], env=env, check=True)
    told = (tmp_path / "arguments").read_text()
    assert told.count("--username postgres") == 2 and "se-cret" not in told


def test_each_has_a_database_that_is_nobody_elses(postgres):
    for role, other in (("mlflow", "prefect"), ("prefect", "mlflow")):
        assert postgres.ask(role, role, "create table one (x int); drop table one").returncode == 0
        refused = postgres.ask(role, other, "select 1")
        assert refused.returncode != 0 and "permission denied" in refused.stderr
    assert postgres.ask("postgres", "mlflow", "select 1").stdout == "1\n"


def test_prefects_server_keeps_its_runs_in_postgresql(postgres, rendered, started, tmp_path):
    port = free_port()
    exchanged = {
        "/run/secrets/postgres": str(postgres.passwords), "@postgres:5432": f"@127.0.0.1:{postgres.port}",
        "--host 0.0.0.0 --port 4200": f"--host 127.0.0.1 --port {port}",
    }  # fmt: skip
    url = f"http://127.0.0.1:{port}/api"
    home = {"PREFECT_HOME": str(tmp_path / "prefect"), "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(tmp_path / "ui")}
    started(rendered["Deployment/prefect"], exchanged, f"{url}/health", **home)
    body, headers = b'{"name": "training"}', {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{url}/flows/", body, headers), timeout=60).close()
    assert postgres.ask("prefect", "prefect", "select name from flow").stdout == "training\n"


def test_mlflow_hands_out_artifacts_and_answers_to_its_names_alone(postgres, rendered, started, tmp_path, monkeypatch):
    """Artifacts go through the server to the store: the client has neither its address nor its keys."""
    pytest.importorskip("psycopg2", reason="MLflow reaches PostgreSQL by psycopg2, which is not installed")
    import boto3
    from moto.server import ThreadedMotoServer

    keys = tmp_path / "keys"
    keys.mkdir()
    for name in ("access-key", "secret-key"):
        (keys / name).write_text(secrets.token_hex(8))
    store = ThreadedMotoServer(port=free_port(), verbose=False)
    store.start()
    try:
        where = f"http://127.0.0.1:{store._port}"
        s3 = boto3.client("s3", endpoint_url=where, region_name="us-east-1", aws_access_key_id="x",
                          aws_secret_access_key="x")  # fmt: skip
        s3.create_bucket(Bucket="mlflow")
        port = free_port()
        exchanged = {
            "/run/secrets/postgres": str(postgres.passwords), "/run/secrets/objects": str(keys),
            "@postgres:5432": f"@127.0.0.1:{postgres.port}",
            "--host 0.0.0.0 --port 5000": f"--host 127.0.0.1 --port {port}",
        }  # fmt: skip
        told = rendered["ConfigMap/mlflow"]["data"] | {"MLFLOW_S3_ENDPOINT_URL": where}
        hosts = told.pop("MLFLOW_SERVER_ALLOWED_HOSTS")
        url = f"http://127.0.0.1:{port}"
        env = told | {"MLFLOW_SERVER_ALLOWED_HOSTS": f"{hosts},127.0.0.1:{port}"}
        started(rendered["Deployment/mlflow"], exchanged, f"{url}/health", **env)
        assert _status(url, "mlflow:5000") == 200 and _status(url, "evil.example") == 403

        (tmp_path / "figures.json").write_text('{"auc": 0.875}')
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        from mlflow import MlflowClient

        client = MlflowClient(url)
        run = client.create_run(client.create_experiment("toy")).info
        client.log_artifact(run.run_id, str(tmp_path / "figures.json"))
        names = [one["Key"] for one in s3.list_objects_v2(Bucket="mlflow")["Contents"]]
        assert len(names) == 1 and names[0].startswith("artifacts/") and names[0].endswith("/figures.json")
        got = client.download_artifacts(run.run_id, "figures.json", str(tmp_path / "keys"))
        assert read_json(Path(got), "")["auc"] == 0.875
    finally:
        store.stop()
    assert postgres.ask("mlflow", "mlflow", "select count(*) from runs").stdout == "1\n"


def _status(url: str, host: str) -> int:
    request = urllib.request.Request(f"{url}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": host})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
