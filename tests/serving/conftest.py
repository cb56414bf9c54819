"""Real bundles, and the service as a process of its own on a free port."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from components.core.bundle import Pointer, read_bundle, write_pointer
from components.deployment.build import build_bundle
from tests.deployment import detecting, making

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Two bundles, of models that answer differently."""
    root = tmp_path_factory.mktemp("bundles")
    patch = pytest.MonkeyPatch()
    patch.setenv("SIGHTLINE_WORKSPACE", str(root))
    made = {}
    for number in (1, 2):
        recipe = making.write_params(root)
        data = root / "data" / making.RECIPE
        making.write_tables(data)
        making.write_model(data, recipe, number, threshold=0.4)
        made[number] = root / f"bundle-{number}"
        made[number].mkdir()
        build_bundle(recipe, data, made[number], {"frame_auc": 0.875})
    patch.undo()
    return made


@pytest.fixture(scope="session")
def detector_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a detector of red and blue rectangles."""
    recipe, data = detecting.workspace()
    folder = tmp_path_factory.mktemp("detector-bundle")
    build_bundle(recipe, data, folder, {"ap50": 0.875})
    return folder


def publish(deployed: Path, bundle: Path, version: int) -> Pointer:
    """Puts a bundle in its version's place."""
    shutil.copytree(bundle, deployed / f"v{version}")
    return Pointer(version, f"v{version}", read_bundle(bundle).digest)


class Service:
    """A running service: `url`, `process`, `deployed` (the folder it follows)."""

    def __init__(self, workspace: Path, recipe: str = making.RECIPE, *options: str):
        self.deployed = workspace / ".sightline" / "deployed" / recipe
        self.log = workspace / f"{recipe}.txt"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "components.serving", "--recipe", recipe, "--port", "0", *options],
                cwd=ROOT, env=os.environ | {"SIGHTLINE_WORKSPACE": str(workspace)}, stderr=log,
            )  # fmt: skip
        wait_for(lambda: "listening on" in self.log.read_text() or self.process.poll() is not None)
        self.url = self.log.read_text().split("listening on ")[1].split()[0].rstrip('"}')  # also of a line of JSON

    def point(self, pointer: Pointer) -> None:
        write_pointer(self.deployed, pointer)

    def ready(self) -> dict:
        return httpx.get(f"{self.url}/readyz", timeout=30).json()

    def serves(self, version: int) -> bool:
        return self.ready().get("model", {}).get("version") == version

    def end(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Service]]:
    """Starts services in the workspace `tmp_path`, and ends them."""
    services = []

    def begin() -> Service:
        services.append(Service(tmp_path))
        return services[-1]

    yield begin
    for service in services:
        if service.process.poll() is None:
            service.end()


@pytest.fixture(scope="module")
def service(bundles: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of version 1 that all tests of a module may ask."""
    workspace = tmp_path_factory.mktemp("service")
    deployed = workspace / ".sightline" / "deployed" / making.RECIPE
    write_pointer(deployed, publish(deployed, bundles[1], 1))
    running = Service(workspace)
    wait_for(lambda: running.serves(1))
    yield running
    running.end()


@pytest.fixture(scope="module")
def detector(detector_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of a detector that all tests of a module may ask."""
    workspace = tmp_path_factory.mktemp("detector")
    deployed = workspace / ".sightline" / "deployed" / detecting.RECIPE
    write_pointer(deployed, publish(deployed, detector_bundle, 1))
    running = Service(workspace, detecting.RECIPE)
    wait_for(lambda: running.serves(1))
    yield running
    running.end()
