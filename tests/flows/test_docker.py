"""Stages as containers on a real Docker engine; skipped where none answers or the base image cannot be had."""

import os
import subprocess
import sys

import docker
import pytest
from docker.errors import DockerException, NotFound

from components.core.errors import MAY_PASS
from flows.graph import read_graph
from flows.needs import needs
from flows.runners import elsewhere, local
from flows.runners.docker import end_stages, specification
from flows.runners.elsewhere import container_name
from flows.runners.local import StageFailed, Stages, Stopped
from tests.flows import toy

BASE = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")


@pytest.fixture(scope="module")
def engine():
    """A client of the engine, which has the image of every group of stages: here a bare Python."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException as error:
        pytest.skip(f"no Docker engine answers: {error}")
    try:
        base = client.images.get(BASE)
    except NotFound:
        try:
            base = client.images.pull(BASE)
        except DockerException as error:
            pytest.skip(f"{BASE} is not here and cannot be pulled: {error}")
    for group in ("spark", "train"):
        base.tag("sightline-test/" + group, "toy")
    yield client
    for group in ("spark", "train"):
        client.images.remove(f"sightline-test/{group}:toy")


@pytest.fixture
def nodes(engine, root, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_IMAGES", "sightline-test")
    monkeypatch.setenv("SIGHTLINE_IMAGE_TAG", "toy")
    return {node.stage: node for node in read_graph(toy.RECIPE)}


def run(node, stages=None, log=print):
    return local.run_stage(node, stages or Stages(), needs(node.stage), runner="docker", log=log)


def gone(engine, stage: str) -> bool:
    try:
        engine.containers.get(container_name(stage))
        return False
    except NotFound:
        return True


def test_stages_run_in_containers_with_the_same_bytes_out(engine, nodes, root):
    lines = []
    for stage in toy.STAGES:
        assert run(nodes[stage], log=lines.append).status == "ran"
        assert gone(engine, f"{stage}@toy")
    assert "frames looks at 1 inputs" in lines
    there = toy.lock(root)
    owner = (root / "data" / "toy" / "join").stat().st_uid
    assert owner == root.stat().st_uid
    toy.dvc(root, "repro", "--force")
    assert toy.lock(root) == there


def test_the_exit_code_and_the_words_are_the_stages(nodes, root):
    raised = toy.failures(root, nodes["ingest"], run, MAY_PASS, 2)
    assert [(type(error), error.exit_code) for error in raised] == [(StageFailed, MAY_PASS), (StageFailed, 2)]
    assert {error.problem for error in raised} == {"ingest@toy: the footage is not there"}


def test_stopping_ends_the_container(engine, nodes, root):
    toy.plan(root, ingest=["sleep 100"])
    assert isinstance(toy.stopped(root, nodes["ingest"], run), Stopped)
    assert gone(engine, "ingest@toy")


def test_what_a_killed_flow_left_is_removed_first(engine, nodes, root):
    left = specification(["python", "-c", "import time; time.sleep(600)"], "ingest@toy", needs("ingest"))
    engine.containers.run(**left, detach=True)
    assert run(nodes["ingest"]).status == "ran"
    assert gone(engine, "ingest@toy")


def test_an_answer_is_apart_from_the_log(nodes, root):
    """A component's figures, whatever is said beside them."""
    says = "import sys; print('aside', file=sys.stderr); print('42')"
    told = {elsewhere.RUNNER: "docker", elsewhere.STAGE: "join@toy", elsewhere.ANSWER: str(root / "answer")}
    command = [sys.executable, "-m", "flows.runners.elsewhere", "-c", says]
    done = subprocess.run(
        command, env=os.environ | told | {"PYTHONPATH": str(toy.PROJECT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (root / "answer").read_text() == "42\n" and done.stdout == "aside\n"


def test_the_stages_of_a_network_are_ended_and_no_others(engine, nodes, root):
    network = engine.networks.create("sightline-test-stages")
    made = {"image": "sightline-test/spark:toy", "command": ["sleep", "60"], "detach": True, "init": True}
    made["labels"] = {"sightline.workspace": str(root), "sightline.stage": "join@toy"}
    other = engine.containers.run(network_mode="none", **made)
    try:
        engine.containers.run(network=network.name, **made)
        assert end_stages(network.name) == ["join@toy"] and end_stages(network.name) == []
        other.reload()
        assert other.status == "running"
    finally:
        other.remove(force=True)
        network.remove()


def test_whoever_runs_a_stage_has_a_name_there(engine, nodes, root):
    """Java, and so Spark, does not start for a user without one."""
    if os.getuid() == 0:
        os.chown(root, 12345, 12345)
    ask = "import os, pwd; one = pwd.getpwuid(os.getuid()); print(one.pw_uid, one.pw_name, one.pw_dir)"
    given = specification(["python", "-c", ask], "ingest@toy", needs("ingest"))
    told = engine.containers.run(**given, remove=True).decode().split()
    assert told == [str(os.getuid() or 12345), "sightline", "/tmp"]


def test_more_memory_than_the_table_gives_is_said(nodes, root):
    (root / "stage.py").write_text("x = b'1' * (3 << 30)\n")
    lines = []
    with pytest.raises(StageFailed) as told:
        run(nodes["ingest"], log=lines.append)
    assert told.value.exit_code == MAY_PASS and "signal 9" in told.value.problem
    assert any("out of memory: flows/stages.yaml gives it 2.5 GB" in line for line in lines)


def test_a_missing_image_is_named(nodes, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_IMAGE_TAG", "none")
    with pytest.raises(StageFailed, match="there is no image sightline-test/spark:none") as told:
        run(nodes["ingest"])
    assert told.value.exit_code == 1 and "SIGHTLINE_IMAGES" in told.value.remedy


def test_no_engine_may_pass(nodes, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(StageFailed, match="Docker engine") as told:
        run(nodes["ingest"])
    assert told.value.exit_code == MAY_PASS


def test_the_container_is_held_to_the_table(root):
    given = specification(["python"], "training@toy", needs("training"))
    assert given["mem_limit"] == 3_000_000_000 and given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges"] and given["image"].endswith("/train:latest")
    assert given["volumes"][str(root)] == {"bind": str(root), "mode": "rw"}
