"""Back-ups that reach beyond the machine: a registry in PostgreSQL behind an MLflow server, archives in S3."""

import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import file_sha256
from components.promotion import compare
from flows import backup, databases, restore
from flows.processes import end_family
from flows.services import answers
from tests.deployment import making
from tests.flows.test_backup import champion, enter, promoted
from tests.flows.toy import free_port
from tests.serving.conftest import wait_for

TOOLS = ("initdb", "pg_ctl", "pg_dump", "pg_restore", "psql")
USER = "sightline"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server of its own, without a database's name. Where we are root, it is nobody's: it
    refuses to be root's, and its folder must not be below one that is root's alone, as those of pytest are."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"PostgreSQL is not on this machine: no {', '.join(missing)}")
    pytest.importorskip("psycopg2", reason="MLflow reaches PostgreSQL by psycopg2, which is not installed")
    with tempfile.TemporaryDirectory(prefix="sightline-postgresql-") as folder:
        yield from serving(Path(folder))


def serving(root: Path) -> Iterator[str]:
    as_user = {}
    if os.geteuid() == 0:
        as_user = {"user": "nobody", "cwd": "/"}
        shutil.chown(root, "nobody")
    port, data = free_port(), root / "data"
    initdb = ["initdb", "-D", str(data), "-U", USER, "--auth=scram-sha-256", f"--pwfile={root / 'password'}", "-N"]
    (root / "password").write_text("se/cret\n")
    (root / "password").chmod(0o644)
    subprocess.run(initdb, check=True, capture_output=True, **as_user)
    options = f"-p {port} -k {root} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = ["pg_ctl", "-D", str(data), "-l", str(root / "log"), "-w", "-t", "120"]
    subprocess.run([*control, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, **as_user)
    try:
        yield f"postgresql://{USER}:se%2Fcret@127.0.0.1:{port}"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], check=True, stdout=subprocess.DEVNULL, **as_user)


class Tracking:
    """An MLflow server with its runs in a database and its artifacts in the current workspace."""

    def __init__(self, database: str):
        self.url = f"http://127.0.0.1:{(port := free_port())}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
        command += ["--workers", "1", "--backend-store-uri", database]
        command += ["--artifacts-destination", paths.state("mlflow", "artifacts").as_uri()]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        paths.state("mlflow").mkdir(parents=True, exist_ok=True)
        with open(paths.state("mlflow.txt"), "ab") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | quiet, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: answers(f"{self.url}/health") or self.process.poll() is not None, 300)
        assert self.process.poll() is None, paths.state("mlflow.txt").read_text()[-3000:]

    def __enter__(self) -> str:
        return self.url

    def __exit__(self, *_) -> None:
        end_family(self.process.pid, 10)
        self.process.wait(30)


@pytest.mark.slow
def test_a_registry_in_postgresql(server, tmp_path, monkeypatch):
    """Slow: it starts real servers, PostgreSQL and, twice, MLflow, whose database and promotion take their time."""
    root = tmp_path / "cameras"
    root.mkdir()
    enter(root, monkeypatch)
    monkeypatch.setattr(compare, "RESAMPLES", 50)
    database = f"{server}/mlflow"
    own = databases.PostgreSQL.of(database)
    assert "se" not in own.url.split("://")[1] and own.password == "se/cret" and own.is_empty()
    own._ask(own._on("postgres"), 'create database :"name"')
    assert own.is_empty()

    with Tracking(database) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        promoted(root)
        said = champion()
        with pytest.raises(UsageError, match="name that: --registry"):
            backup.back_up(str(tmp_path / "a.tar"), None, False, print)
        taken = backup.back_up(str(tmp_path / "a.tar"), database, False, print)
        assert taken.champions == {"toy": 1} and not any("artifacts" in one for one in taken.left_out)
        with pytest.raises(UsageError, match="has a registry"):
            restore.restore(taken.archive, database, False, print)
        with pytest.raises(SightlineError, match="being accessed by other users"):
            restore.restore(taken.archive, database, True, print)  # put in place all but the database
        with pytest.raises(SightlineError, match="a restore was cut off"):
            backup.back_up(str(tmp_path / "b.tar"), database, False, print)
    with pytest.raises(UsageError, match="(?s)/mlflow: is still to be put in place.*as before"):
        restore.restore("whatever", f"{server}/other", False, print)
    finished = restore.restore("whatever", database, False, print)
    assert len(own._ask(own._on("postgres"), "select 1 from pg_database where datname like 'mlflow_replaced_%'")) == 1
    assert finished.champions == {"toy": 1}

    shutil.rmtree(root / ".sightline")
    with pytest.raises(UsageError, match="has tables"):
        restore.restore(taken.archive, database, False, print)
    own._ask(own._on("postgres"), 'drop database :"name"')
    with pytest.raises(UsageError, match="the archive's registry is of kind postgresql"):
        monkeypatch.delenv("MLFLOW_TRACKING_URI")
        restore.restore(taken.archive, None, False, print)
    restore.restore(taken.archive, database, False, print)
    with Tracking(database) as url:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
        assert champion() == said


def test_a_name_that_the_server_would_cut_off_is_refused(server, tmp_path):
    """Else the restored database has another name than it is looked for by, and nothing would take its place."""
    for length, refused in ((32, True), (31, False)):
        own = databases.PostgreSQL.of(f"{server}/{'n' * length}")
        if refused:
            with pytest.raises(UsageError, match="longer than 31 bytes"):
                own.stage(tmp_path / "dump", {})
            continue
        own._ask(own._on("postgres"), 'create database :"name"')
        own.dump(tmp_path / "dump")
        own.stage(tmp_path / "dump", {})
        aside = f"{own.name}_replaced_20261130T010000_000000"
        own.switch(aside)
        assert own._exists(aside) and own._exists(own.name) and not own._exists(own.name + databases.RESTORING)


def test_without_client_tools_it_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SightlineError, match=r"(?s)pg_dump: not on this machine.*postgresql-client"):
        databases.PostgreSQL.of("postgresql://u@h/n").dump(tmp_path / "x")


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a bucket of an S3 server of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1", "NO_PROXY": "*", "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/moto-api/") or process.poll() is not None, 120)
        urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{port}/kept", method="PUT")).close()
        yield "s3://kept/sightline"
    finally:
        process.kill()
        process.wait()


def test_an_archive_in_s3(bucket, tmp_path, monkeypatch):
    root = tmp_path / "cameras"
    making.write_params(root)
    enter(root, monkeypatch)
    making.give_store(root)
    before = file_sha256(root / "params.yaml")
    taken = backup.back_up(bucket, None, False, print)
    assert taken.archive.startswith(f"{bucket}/sightline-cameras-") and not list(root.glob(".sightline.*"))
    assert restore.verify(taken.archive)["registry"] == "workspace"
    with pytest.raises(SightlineError, match="is there already"):
        backup.back_up(taken.archive, None, False, print)
    shutil.rmtree(root / ".sightline")
    (root / "params.yaml").unlink()
    restore.restore(taken.archive, None, False, print)
    assert paths.state("mlflow", "mlflow.db").is_file() and file_sha256(root / "params.yaml") == before
    with pytest.raises(SightlineError, match=r"(?s)s3://none/a\.tar.*see that it can be reached"):
        backup.back_up("s3://none/a.tar", None, False, print)
