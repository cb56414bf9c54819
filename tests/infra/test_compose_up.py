"""`sightline up --compose` for real: containers of docker/compose.yaml train a champion, keep it and serve it.

`make containers` runs this. Slow: nine stages run as containers, twice. Others' images are stand-ins with the same
programs (standins/Dockerfile): SeaweedFS is the version that compose names, PostgreSQL, Prometheus and its push gateway
are Debian's, MLflow is the project's. Grafana cannot be had so: its container does nothing.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import docker
import httpx
import numpy as np
import pytest
from docker.errors import DockerException, ImageNotFound

from components.core.errors import SightlineError
from components.core.files import value_sha256
from components.core.media import encode_jpeg
from flows import compose, services
from flows.runners.elsewhere import image
from tests.containers import ASKED, absent, asked
from tests.e2e.conftest import PROJECT, RECIPE, SMALL, Workspace

sys.path.insert(0, str(PROJECT / "docker"))

import build  # noqa: E402

pytestmark = pytest.mark.slow
OWNER = 10001  # not root, to whom nothing would be refused
NEVER = {"SIGHTLINE_NIGHTLY": "0 0 29 2 *", "SIGHTLINE_CHECKS": "0 0 29 2 *"}  # what runs is what a test asks for
SETTINGS = ("SIGHTLINE_IMAGES", "SIGHTLINE_IMAGE_TAG")
STANDINS = ("postgres", "objects", "mlflow", "prometheus", "pushgateway", "grafana")
TAG = uuid.uuid4().hex[:8]
URLS = {name: f"http://127.0.0.1:{port}" for name, port in compose.URLS["full"].items()}
# The keys in the bucket, asked for with the credentials that MLflow's container has.
KEYS = """
import os, pathlib, boto3
known = {"aws_access_key_id": "access-key", "aws_secret_access_key": "secret-key"}
known = {name: pathlib.Path("/run/secrets", file).read_text() for name, file in known.items()}
store = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"], **known)
for page in store.get_paginator("list_objects_v2").paginate(Bucket="mlflow"):
    print(*(one["Key"] for one in page.get("Contents", [])), sep="\\n")
"""


def standin(name: str) -> str:
    """The image that stands in for a service's own."""
    return f"sightline-standin/{name}:{TAG}"


@pytest.fixture(scope="module")
def engine():
    """A client of the engine, which has the project's images and the stand-ins; these go with the tests."""
    if not asked():
        pytest.skip(f"{ASKED} is not set; `make containers` sets it")
    if os.geteuid() != 0:
        pytest.skip("only root can give the workspace to the containers' user")
    try:
        compose.program()
        client = docker.from_env(timeout=600)
        for group in ("spark", "train", "serve", "flows"):
            client.images.get(image(group))
    except (DockerException, SightlineError) as error:
        absent(f"no compose, no engine, or no images (`make images`): {error}")
    if taken := [port for port in compose.URLS["full"].values() if not services.port_is_free(port)]:
        absent(f"the services' ports are taken: {taken}")
    env = os.environ | {"DOCKER_BUILDKIT": "1"}
    command = [build.find_docker(env), "build", "--file", str(Path(__file__).parent / "standins" / "Dockerfile")]
    command += ["--build-arg", f"TRAIN_IMAGE={image('train')}"]
    if base := env.get("PYTHON_IMAGE"):
        command += ["--build-arg", f"PYTHON_IMAGE={base}"]
    if not client.networks.list(names=["bridge"]):
        command += ["--network", "host"]
    try:
        with build.secret_file(build.index_secret(env)) as secret:
            command += ["--secret", f"id=index,src={secret}"] if secret else []
            for name in STANDINS:
                told = [*command, "--target", name, "--tag", standin(name), str(PROJECT)]
                done = subprocess.run(told, env=env, capture_output=True, text=True, timeout=1800)
                assert done.returncode == 0, done.stderr[-3000:]
        yield client
    finally:
        for name in STANDINS:
            with suppress(ImageNotFound):
                client.images.remove(standin(name), force=True)


class Machine(Workspace):
    """A workspace that is not root's, and its containers."""

    def __init__(self, root: Path, engine: docker.DockerClient):
        super().__init__(root)
        self.engine = engine
        self.project = f"sightline-{value_sha256([str(root)])[:8]}"
        for path in (root, *root.rglob("*")):
            os.chown(path, OWNER, OWNER, follow_symlinks=False)

    def compose(self, *arguments: str) -> None:
        """`sightline ... --compose` of the checkout for this workspace."""
        told = NEVER | {f"SIGHTLINE_{name.upper()}_IMAGE": standin(name) for name in STANDINS}
        told |= {name: os.environ[name] for name in SETTINGS if name in os.environ}
        told |= {"SIGHTLINE_WORKSPACE": str(self.root), "SIGHTLINE_CACHE": str(self.root.parent / "cache")}
        words = [f"{name}={value}" for name, value in (told | {"PYTHONPATH": str(PROJECT)}).items()]
        self.run("env", "-C", str(PROJECT), *words, sys.executable, "-m", "flows.cli", *arguments, "--compose")

    def found(self) -> list:
        """The project's containers, stopped ones and those of stages too, and its networks."""
        mine = {"label": f"com.docker.compose.project={self.project}"}
        stages = {"label": f"sightline.workspace={self.root}"}
        listed = [self.engine.containers.list(all=True, filters=labels) for labels in (mine, stages)]
        return [*listed[0], *listed[1], *self.engine.networks.list(filters=mine)]

    def asked(self, deployment: str) -> str:
        """The id of a run of this deployment, asked for as anybody would."""
        found = until(lambda: answer(f"{URLS['prefect']}/api/deployments/name/{deployment}-{RECIPE}"), 120)
        place = f"{URLS['prefect']}/api/deployments/{found['id']}/create_flow_run"
        return httpx.post(place, json={}, timeout=60).raise_for_status().json()["id"]

    def ended(self, run: str) -> dict:
        """How a flow run ended, once it has."""
        return until(lambda: (found := answer(f"{URLS['prefect']}/api/flow_runs/{run}"))["end_time"] and found, 1800)

    def champion(self) -> dict:
        """The registry's champion."""
        place = f"{URLS['mlflow']}/api/2.0/mlflow/registered-models/alias?name={RECIPE}&alias=champion"
        return answer(place)["model_version"]

    def stored(self, run: str) -> set[str]:
        """The names of a run's artifacts in the object store."""
        (mlflow,) = self.engine.containers.list(filters={"name": f"{self.project}-mlflow"})
        status, said = mlflow.exec_run(["python", "-c", KEYS])
        assert status == 0, said.decode()
        return {key.partition(f"/{run}/artifacts/")[2] for key in said.decode().split() if f"/{run}/" in key}

    def seen_by_the_service(self) -> list[str]:
        """What the service's container has of `.sightline`."""
        (serving,) = self.engine.containers.list(filters={"name": f"{self.project}-serving"})
        status, said = serving.exec_run(["ls", "-A", "/workspace/.sightline"])
        assert status == 0, said.decode()
        return said.decode().split()

    def serves(self, version: str) -> bool:
        """Whether the model service scores a picture by this version."""
        picture = encode_jpeg(np.random.default_rng(5).integers(0, 255, (240, 320, 3), np.uint8), 90)
        reply = httpx.post(f"{URLS['serving']}/v1/predict", files={"picture": ("a.jpg", picture, "image/jpeg")}).json()
        return reply.get("model", {}).get("version") == int(version) and 0 <= reply["results"][0]["score"] <= 1

    def scraped(self, metric: str, label: str) -> list[tuple[str, str]]:
        """What Prometheus has of a metric: a label's value, and its own, of each."""
        found = answer(f"{URLS['prometheus']}/api/v1/query?query={metric}")["data"]["result"]
        return [(one["metric"][label], one["value"][1]) for one in found]

    def unwell(self) -> dict[str, str]:
        """Containers that do not run, or were started again since `up`."""
        states = [one.attrs for one in self.found() if "State" in one.attrs]
        assert len(states) >= 7
        return {one["Name"]: one["State"] for one in states if one["RestartCount"] or not one["State"]["Running"]}


def answer(url: str) -> dict:
    """The JSON at a URL."""
    return httpx.get(url, timeout=60).raise_for_status().json()


def until(question: Callable[[], object], seconds: float) -> object:
    """The first answer that is neither nothing nor an HTTP error; fails where none comes in time."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if said := question():
                return said
        except httpx.HTTPError as error:
            said = error
        assert time.monotonic() < deadline, said
        time.sleep(1)


@pytest.fixture(scope="module")
def machine(engine, tmp_path_factory):
    """A workspace with the small profile's containers; none is left at the end, however the tests went."""
    machine = Machine(tmp_path_factory.mktemp("up") / "workspace", engine)
    try:
        machine.compose("up")
        yield machine
    finally:
        for one in machine.found():
            one.remove(**({"force": True} if "State" in one.attrs else {}))


@pytest.fixture(scope="module")
def first(machine) -> tuple[dict, dict]:
    """The first run of the deployment, and the champion that it made, in the small profile."""
    return machine.ended(machine.asked("training/retrain")), machine.champion()


def test_the_small_profile_trains_a_champion_and_serves_it(machine, first):
    run, champion = first
    assert run["state"]["message"].startswith("9 stages ran, 0 stages cached")
    assert {"model/model.json", "evaluation/metrics.json"} <= machine.stored(champion["run_id"])
    assert not (machine.root / ".sightline" / "mlflow").exists(), "MLflow's store is not the workspace's own"
    until(lambda: machine.serves(champion["version"]), 60)  # the follower looks every two seconds
    assert machine.seen_by_the_service() == ["deployed"], "passwords and databases are none of its business"
    assert machine.unwell() == {}


def test_the_full_profile_goes_on_where_the_small_one_ended(machine, first):
    """With new footage, whose stages do their work on the Spark cluster; a run is going on when all is stopped."""
    run, champion = first
    machine.compose("down")
    assert machine.found() == []
    machine.compose("up", "--profile", "full")
    assert machine.ended(run["id"])["state"] == run["state"] and machine.champion() == champion
    kept = f"{URLS['mlflow']}/get-artifact?path=evaluation/metrics.json&run_uuid={champion['run_id']}"
    assert "frame_auc" in answer(kept)
    until(lambda: machine.serves(champion["version"]), 60)

    machine.change(ingest={"scenes": SMALL["ingest"]["scenes"] | {"seed": 4}})
    for deployment in ("monitoring/check", "training/retrain"):
        state = machine.ended(machine.asked(deployment))["state"]
        assert state["type"] == "COMPLETED", state
    done = {one["name"]: one["state"] for one in answer(f"{URLS['spark']}/json/")["completedapps"]}
    assert done == dict.fromkeys([f"sightline-{one}" for one in ("ingest", "frames", "features", "tuning")], "FINISHED")
    until(lambda: machine.serves(machine.champion()["version"]), 60)
    assert dict(machine.scraped("up", "job")) == {"serving": "1", "drift": "1", "prometheus": "1"}
    assert until(lambda: machine.scraped("sightline_drift_checked_seconds", "recipe"), 60)[0][0] == RECIPE
    assert machine.unwell() == {}

    machine.asked("training/retrain")
    stages = {"label": f"sightline.workspace={machine.root}"}
    until(lambda: machine.engine.containers.list(filters=stages), 120)
    machine.compose("down")
    assert machine.found() == []
