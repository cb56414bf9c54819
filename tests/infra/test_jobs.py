"""infra/kubernetes/jobs: what runs in the operators' pods."""

import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

from flows.runners.elsewhere import image
from tests.containers import absent
from tests.infra.manifests import KUBERNETES, ROOT

SPARK = KUBERNETES / "jobs" / "spark"
COUNTS = """
from components.core.spark import spark_session

with spark_session("counts") as session:
    print("counted", session.sparkContext.parallelize(range(7), 2).count(), session.conf.get("spark.sightline.told"))
"""


def entrypoint(*arguments: str, **env: str) -> subprocess.CompletedProcess:
    """Runs the pods' entrypoint as the operator does."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), **env}
    command = ["sh", SPARK / "entrypoint.sh", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)


def test_the_driver_is_a_session_with_the_operators_properties(tmp_path):
    """By the real spark-submit, as Spark starts a driver in its pod, with a local master in the cluster's place."""
    (tmp_path / "counts.py").write_text(COUNTS)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "properties").write_text("spark.sightline.told=by-the-operator\nspark.app.name=counts\n")
    arguments = ["--properties-file", str(tmp_path / "properties"), "--class", "org.apache.spark.deploy.PythonRunner"]
    env = {"SPARK_DRIVER_BIND_ADDRESS": "127.0.0.1", "SPARK_MASTER": "local[2]", "SIGHTLINE_WORKSPACE": str(tmp_path)}
    reply = entrypoint("driver", *arguments, f"local://{tmp_path}/counts.py", **env)
    assert reply.returncode == 0, reply.stderr
    assert "counted 7 by-the-operator" in reply.stdout


def test_the_executor_is_sparks_own_backend(tmp_path):
    """It starts, and says that the driver that it was told of is not there."""
    env = {
        "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@127.0.0.1:9", "SPARK_EXECUTOR_ID": "1",
        "SPARK_EXECUTOR_CORES": "1", "SPARK_EXECUTOR_MEMORY": "256m", "SPARK_APPLICATION_ID": "spark-1",
        "SPARK_EXECUTOR_POD_IP": "127.0.0.1", "SPARK_EXECUTOR_POD_NAME": "one", "SPARK_RESOURCE_PROFILE_ID": "0",
        "SPARK_JAVA_OPT_0": "-Dspark.rpc.askTimeout=5s", "SPARK_JAVA_OPT_1": "-Dsightline.with=two words",
        "SPARK_LOCAL_IP": "127.0.0.1",
    }  # fmt: skip
    reply = entrypoint("executor", **env)
    assert reply.returncode != 0
    assert "Failed to connect to /127.0.0.1:9" in reply.stdout + reply.stderr


def test_any_other_role_is_refused():
    reply = entrypoint("history")
    assert reply.returncode == 2 and "neither driver nor executor" in reply.stderr


@pytest.mark.parametrize("stage", ["frames", "explain"])
def test_a_stage_is_run_by_its_name(stage):
    """`explain` has a module `select`, which must not stand in for Python's own."""
    reply = subprocess.run(
        [sys.executable, SPARK / "stage.py", stage, "--help"],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert reply.returncode == 0 and f"components.{stage}" in reply.stdout, reply.stderr


ALLREDUCE = """
import pathlib, socket, sys
import horovod.torch as hvd
import torch

hvd.init()
total = hvd.allreduce(torch.tensor([hvd.rank() + 1.0]), op=hvd.Sum).item()
pathlib.Path(sys.argv[1], str(hvd.rank())).write_text(f"{socket.gethostname()} {hvd.size()} {total}")
hvd.shutdown()
"""
LAUNCH = "from components.core.distributed import launch; launch(2, 'worker', ['/workspace'])"


@pytest.mark.slow
def test_horovods_workers_are_started_over_ssh_in_other_pods(tmp_path):
    """Slow: builds the image with ssh. A launcher and two workers in containers with a pod's rights, that is none; keys
    and hostfile as the MPI operator mounts them."""
    if os.geteuid() != 0 or not shutil.which("ssh-keygen"):
        pytest.skip("needs root, to give the workspace to the pods' user, and ssh-keygen")
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
    root, keys = tmp_path / "workspace", tmp_path / "keys"
    root.mkdir()
    keys.mkdir(mode=0o755)
    shutil.copytree(ROOT / "components", root / "components", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(KUBERNETES / "jobs" / "mpi", root / "infra" / "kubernetes" / "jobs" / "mpi")
    (root / "worker.py").write_text(ALLREDUCE)
    for path in (root, *root.rglob("*")):
        os.chown(path, 10001, 10001)
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", keys / "id_rsa"], check=True)
    shutil.copy(keys / "id_rsa.pub", keys / "authorized_keys")
    for path in keys.iterdir():
        path.chmod(0o644)  # of a secret, which is root's
    (tmp_path / "hostfile").write_text("worker-0 slots=1\nworker-1 slots=1\n")
    network = engine.networks.create(f"sightline-test-{uuid.uuid4().hex[:8]}")
    options = {
        "network": network.name, "user": "10001:10001", "read_only": True, "cap_drop": ["ALL"], "detach": True,
        "security_opt": ["no-new-privileges"], "tmpfs": {"/tmp": "exec,mode=1777"}, "working_dir": "/workspace",
        "environment": {
            "HOME": "/tmp", "SIGHTLINE_HOSTFILE": "/etc/mpi/hostfile", "SIGHTLINE_SSH_PORT": "2222",
            "SIGHTLINE_SSH_KEY": "/etc/sightline-ssh/id_rsa", "SIGHTLINE_WORKSPACE": "/workspace",
        },
        "volumes": {
            str(root): {"bind": "/workspace"}, str(keys): {"bind": "/etc/sightline-ssh", "mode": "ro"},
            str(tmp_path / "hostfile"): {"bind": "/etc/mpi/hostfile", "mode": "ro"},
        },
    }  # fmt: skip
    listens = ["sh", "/workspace/infra/kubernetes/jobs/mpi/sshd.sh"]
    prefix, pods = uuid.uuid4().hex[:8], []
    try:
        for number in (0, 1):
            pods.append(engine.containers.create(ours.id, listens, hostname=f"worker-{number}", **_plain(options)))
            network.disconnect(pods[-1])
            network.connect(pods[-1], aliases=[f"worker-{number}"])
            pods[-1].start()
        deadline = time.monotonic() + 120
        while any(b"Server listening" not in pod.logs() for pod in pods):
            assert time.monotonic() < deadline, [pod.logs() for pod in pods]
            time.sleep(0.2)
        pods.append(engine.containers.run(ours.id, ["python", "-c", LAUNCH], name=f"launcher-{prefix}", **options))
        status = pods[-1].wait(timeout=400)["StatusCode"]
        assert status == 0, pods[-1].logs().decode()[-3000:]
    finally:
        for pod in pods:
            pod.remove(force=True)
        network.remove()
        engine.images.remove(tag)  # and no other name of the same
    assert [(root / rank).read_text() for rank in ("0", "1")] == ["worker-0 2 3.0", "worker-1 2 3.0"]


def _plain(options: dict) -> dict:
    return {name: value for name, value in options.items() if name != "detach"}
