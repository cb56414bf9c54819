"""Horovod across containers that have addresses of their own: the same model, and a host that is killed,
stopped or cut off.

Slow, as a module: an image with ssh is built, every training starts Python, torch and ssh on two hosts, and a host that
says nothing must be waited for before it counts as lost.
"""

import json
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
import torch
from docker.errors import DockerException
from docker.models.containers import Container
from docker.models.networks import Network
from safetensors import safe_open
from safetensors.torch import load_file

from components.core.files import tree_sha256
from flows.runners.elsewhere import image
from tests.containers import absent
from tests.infra.manifests import KUBERNETES, ROOT
from tests.training import steps
from tests.workspaces import RECIPE, make_workspace

pytestmark = pytest.mark.slow
USER = 10001  # of the images
SILENT_S = 45  # a host that says nothing for so long is lost; a worker that comes back has as long to start
EPOCHS = 150  # enough for a host that comes back to be there for the last ones
ELASTIC = {"epochs": EPOCHS, "patience": None, "batch_size": 1, "min_workers": 1}  # many steps to an epoch
TIMED_OUT = "Horovod background loop uncaught exception"  # what a worker says of another that is silent
STAGE = ("-m", "components.training", "--recipe", RECIPE)
RANK = "cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | grep '^HOROVOD_RANK='"


class Cluster:
    """Two containers that serve ssh, by the names worker-0 and worker-1, and launchers beside them.

    All see `root` as /workspace: the code, and one workspace of Sightline's for each training.
    """

    def __init__(self, engine: docker.DockerClient, ours: str, network: Network, folder: Path):
        self.engine, self.image, self.network = engine, ours, network
        self.root, self.launchers = folder / "root", []
        self.options = {
            "network": network.name, "user": f"{USER}:{USER}", "read_only": True, "cap_drop": ["ALL"],
            "security_opt": ["no-new-privileges"], "tmpfs": {"/tmp": "exec,mode=1777"}, "working_dir": "/workspace",
            "environment": {
                "HOME": "/tmp", "PYTHONPATH": "/workspace", "SIGHTLINE_SSH_PORT": "2222",
                "SIGHTLINE_SSH_KEY": "/etc/sightline-ssh/id_rsa",
                "MLFLOW_TRACKING_URI": "sqlite:////workspace/mlflow.db",
            },
            "volumes": {
                str(self.root): {"bind": "/workspace"},
                str(folder / "keys"): {"bind": "/etc/sightline-ssh", "mode": "ro"},
            },
        }  # fmt: skip
        self.workers = [self._worker(f"worker-{number}") for number in (0, 1)]

    def _worker(self, name: str) -> Container:
        listens = ["sh", "/workspace/infra/kubernetes/jobs/mpi/sshd.sh"]
        pod = self.engine.containers.create(self.image, listens, hostname=name, **self.options)
        self.network.disconnect(pod)
        self.network.connect(pod, aliases=[name])
        return pod

    def whole(self) -> None:
        """Both workers' ssh serves."""
        ask = ["sh", "-c", "ssh-keyscan -p 2222 localhost 2>/dev/null | grep -q ssh-"]
        for pod in self.workers:
            pod.start()
        until(lambda: all(pod.exec_run(ask)[0] == 0 for pod in self.workers), 120, lambda: "ssh does not serve")

    def training(self, root: Path, *python: str, across: bool = True) -> Container:
        """Starts the training stage of the workspace `root` in a launcher of its own, which it returns; or `python`."""
        give(root)
        env = {"SIGHTLINE_WORKSPACE": f"/workspace/{root.name}", "SIGHTLINE_SILENT_S": str(SILENT_S)}
        env |= {"SIGHTLINE_HOSTFILE": "/workspace/hostfile"} if across else {}
        options = self.options | {"environment": self.options["environment"] | env}
        command = ["python", *(python or STAGE)]
        self.launchers.append(self.engine.containers.run(self.image, command, detach=True, **options))
        return self.launchers[-1]

    def of_rank(self, rank: int) -> Container | None:
        """The container whose worker has this rank, once it has started."""
        told = {pod.exec_run(["sh", "-c", RANK])[1].decode().split("\n")[0]: pod for pod in self.workers}
        return told.get(f"HOROVOD_RANK={rank}")

    def close(self) -> None:
        for pod in (*self.launchers, *self.workers):
            pod.remove(force=True)


def until(true: Callable[[], object], seconds: float, said: Callable[[], str]) -> None:
    """Waits for `true`; fails with what `said` gives."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


def give(root: Path) -> None:
    """Gives a folder to the images' user."""
    for path in (root, *root.rglob("*")):
        os.chown(path, USER, USER)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[Cluster]:
    if os.geteuid() != 0 or not shutil.which("ssh-keygen"):
        pytest.skip("needs root, to give the workspace to the containers' user, and ssh-keygen")
    tag = f"sightline-test/ssh:{uuid.uuid4().hex[:8]}"
    try:
        engine = docker.from_env()
        engine.images.get(image("train"))
        ours, _ = engine.images.build(
            path=str(KUBERNETES / "jobs" / "mpi"), buildargs={"TRAIN_IMAGE": image("train")}, network_mode="host",
            tag=tag, rm=True,
        )  # fmt: skip
    except DockerException as error:
        absent(f"no engine, no image {image('train')}, or ssh cannot be had: {error}")
    folder = tmp_path_factory.mktemp("across")
    root, keys = folder / "root", folder / "keys"
    shutil.copytree(ROOT / "components", root / "components", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("__init__.py", "workspaces.py", "training/steps.py"):
        (root / "tests" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / name, root / "tests" / name)
    shutil.copytree(KUBERNETES / "jobs" / "mpi", root / "infra" / "kubernetes" / "jobs" / "mpi")
    (root / "hostfile").write_text("worker-0 slots=1\nworker-1 slots=1\n")
    give(root)
    keys.mkdir(mode=0o755)
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", keys / "id_rsa"], check=True)
    shutil.copy(keys / "id_rsa.pub", keys / "authorized_keys")
    for path in keys.iterdir():
        path.chmod(0o644)  # of a secret, which is root's
    network = engine.networks.create(f"sightline-test-{uuid.uuid4().hex[:8]}")
    made = None
    try:
        made = Cluster(engine, ours.id, network, folder)
        yield made
    finally:
        if made:
            made.close()
        network.remove()
        engine.images.remove(tag)  # and no other name of the same


def progress(root: Path) -> list[dict]:
    """The history of what the checkpoint has."""
    file = next(root.glob(".sightline/work/training/*/*/checkpoint.safetensors"), None)
    if file is None:
        return []
    with safe_open(file, "pt") as opened:
        return json.loads(opened.metadata()["progress"])["history"]


def ended(launcher: Container) -> None:
    """Waits for the launcher, which must have done its work."""
    status = launcher.wait(timeout=900)["StatusCode"]
    assert status == 0, launcher.logs().decode()[-5000:]


def test_two_containers_train_the_model_of_one_machine(cluster):
    """The same bytes: which worker learns from what, and the order of sums, are those of two processes side by side."""
    cluster.whole()
    models = []
    for name, across in (("across", True), ("beside", False)):
        root = make_workspace(cluster.root / name, workers=2)
        ended(cluster.training(root, across=across))
        models.append(root / "data" / RECIPE / "model")
    assert tree_sha256(models[0]) == tree_sha256(models[1])


def test_two_containers_make_the_steps_of_one_process(cluster, monkeypatch):
    """Within the tolerance that tests/training/test_training.py has for two processes of one machine."""
    cluster.whole()
    root = make_workspace(cluster.root / "steps")
    launched = f"launch({steps.RANKS}, {steps.__name__!r}, ['/workspace/steps/two.safetensors'])"
    ended(cluster.training(root, "-c", f"from components.core.distributed import launch; {launched}"))
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    one, two = steps.of_one_process(), load_file(root / "two.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in two.items():
        torch.testing.assert_close(tensor, one[name], rtol=1e-5, atol=1e-6, msg=name)


def test_the_other_goes_on_without_a_host_that_is_killed(cluster):
    counts = trained_in_spite_of(cluster, Container.kill)
    assert counts == sorted(counts, reverse=True) and counts[-1] == 1, counts


def test_a_host_that_is_stopped_and_goes_on_is_taken_back(cluster):
    """Its old worker is ended, so that there are not two of them."""
    counts = trained_in_spite_of(cluster, Container.pause, Container.unpause)
    assert counts[-1] == 2, counts


def test_a_host_that_is_cut_off_and_comes_back_is_taken_back(cluster):
    """Its network interface has another name then."""

    def connect(pod: Container) -> None:
        cluster.network.connect(pod, aliases=[pod.attrs["Config"]["Hostname"]])

    counts = trained_in_spite_of(cluster, cluster.network.disconnect, connect)
    assert counts[-1] == 2, counts


def trained_in_spite_of(
    cluster: Cluster, lose: Callable[[Container], None], give_back: Callable[[Container], None] | None = None
) -> list[int]:
    """How many workers trained each of the epochs, all of which are there.

    Rank 0, which the launcher talks to and which writes the checkpoints, was lost after the first epochs, and given
    back once the other had waited for it in vain.
    """
    cluster.whole()
    root = make_workspace(cluster.root / lose.__name__, **ELASTIC)
    launcher = cluster.training(root)

    def log() -> str:
        return launcher.logs().decode()

    def seen(true: Callable[[], object], seconds: float) -> None:
        until(lambda: launcher.reload() or launcher.status != "running" or true(), seconds, log)
        assert launcher.status == "running", log()

    seen(lambda: cluster.of_rank(0), 300)
    victim = cluster.of_rank(0)
    seen(lambda: len(progress(root)) > 2, 300)
    lose(victim)
    if give_back:
        try:
            seen(lambda: TIMED_OUT in log(), 300)
        finally:
            give_back(victim)
    ended(launcher)
    history = json.loads((root / "data" / RECIPE / "model" / "model.json").read_text())["history"]
    assert "resumed after epoch" in log()
    assert [figures["epoch"] for figures in history] == list(range(1, EPOCHS + 1))
    counts = [figures["workers"] for figures in history]
    assert counts[0] == 2 and 1 in counts, counts
    return counts
