"""Copies of the project as workspaces of their own, at a small size of the generated footage."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import yaml

from tests.flows.toy import free_port

PROJECT = Path(__file__).resolve().parents[2]
RECIPE = "suspicious"
SMALL = {
    "ingest": {"scenes": {"seed": 3, "train_clips": 6, "val_clips": 3, "test_clips": 4, "seconds": 4.0}},
    "tuning": {"trials": 2},
    "training": {"epochs": 6},
}


class Workspace:
    """A copy of the project's working tree under git, with commands run in it as a user would; one recipe is in it."""

    def __init__(self, root: Path, recipe: str = RECIPE, changes: dict[str, dict] = SMALL):
        self.root, self.recipe = root, recipe
        ignored = shutil.ignore_patterns(
            "__pycache__", ".git", ".venv", ".sightline", "data", ".pytest_cache", "tmp", "cache"
        )
        root.mkdir(parents=True)
        for name in (
            "components",
            "flows",
            ".dvc",
            "dvc.yaml",
            "params.yaml",
            ".dvcignore",
            ".gitignore",
            "pyproject.toml",
        ):
            source = PROJECT / name
            shutil.copytree(source, root / name, ignore=ignored) if source.is_dir() else shutil.copy(
                source, root / name
            )
        self.keep_only()
        self.change(**changes)
        document = yaml.safe_load((root / "params.yaml").read_text())
        gates = document["recipes"][recipe]["promotion"]["gates"]
        self.change(promotion={"gates": gates | {"minimum": 0.1}})
        self.git("init", "-q")
        self.commit("start")

    @classmethod
    def at(cls, root: Path, recipe: str = RECIPE) -> "Workspace":
        """The workspace that is at `root` already."""
        workspace = cls.__new__(cls)
        workspace.root, workspace.recipe = root, recipe
        return workspace

    def keep_only(self) -> None:
        """Takes the other recipes out of params.yaml, but one that this one learns from: `dvc repro` would run all."""
        file = self.root / "params.yaml"
        document = yaml.safe_load(file.read_text())
        recipes = document["recipes"]
        kept = [self.recipe]
        if recipes[self.recipe]["source"] == "explained":
            kept.append(recipes[self.recipe]["ingest"]["explained"]["recipe"])
        document["recipes"] = {name: recipes[name] for name in kept}
        document["explained"] = [name for name in document["explained"] if name in kept]
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def change(self, recipe: str = "", **sections) -> None:
        """Changes keys of the sections of a recipe (default: the workspace's own) in params.yaml."""
        file = self.root / "params.yaml"
        document = yaml.safe_load(file.read_text())
        for section, keys in sections.items():
            document["recipes"][recipe or self.recipe][section] |= keys
        file.write_text(yaml.safe_dump(document, sort_keys=False))

    def git(self, *arguments: str) -> None:
        """Runs git in the workspace."""
        identity = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.root, check=True, capture_output=True)

    def commit(self, message: str) -> None:
        """Commits everything that is not ignored."""
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of commands: this interpreter first on PATH, nothing inherited that names another place."""
        kept = {
            k: v for k, v in os.environ.items() if not k.startswith(("SIGHTLINE_", "PREFECT_", "MLFLOW_", "SPARK_"))
        }
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | {"PATH": path, "PYTHONPATH": str(self.root)}

    def run(self, *command: str, check: bool = True, timeout: float = 2400) -> subprocess.CompletedProcess:
        """Runs a command in the workspace; fails the test with its output where it fails and `check` is set."""
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=timeout
        )
        if check:
            assert done.returncode == 0, (
                f"{command}: exit {done.returncode}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
            )
        return done

    def sightline(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Runs the `sightline` command of this workspace's code."""
        return self.run(sys.executable, "-m", "flows.cli", *arguments, **options)

    def dvc(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        """Runs dvc."""
        return self.run(sys.executable, "-m", "dvc", *arguments, **options)

    def outputs(self) -> dict[str, str]:
        """The digests that dvc.lock holds of every output, by path."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text())["stages"]
        return {out["path"]: out["md5"] for stage in lock.values() for out in stage["outs"]}


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """The URL of `sightline serve` for the workspace's recipe; the service ends with the context, with exit code 0."""
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", workspace.recipe, "--port", str(port)]
    service = subprocess.Popen(command, cwd=workspace.root, env=workspace.environment, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 180
        while not _ready(f"http://127.0.0.1:{port}/readyz"):
            assert service.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        service.terminate()
        assert service.wait(timeout=30) == 0


def _ready(url: str) -> bool:
    try:
        return httpx.get(url).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.fixture(scope="module")
def flowed(tmp_path_factory) -> Workspace:
    """A workspace after one `sightline run`; `ran` holds what it printed."""
    workspace = Workspace(tmp_path_factory.mktemp("flowed") / "workspace")
    workspace.ran = workspace.sightline("run", RECIPE, "--json")
    workspace.commit("ran")
    return workspace
