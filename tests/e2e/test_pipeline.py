"""The whole product at a small size: footage to a served champion, through Prefect and through DVC.

Slow, because nothing here is replaced: Spark, Horovod, MLflow, Prefect and DVC each start for real, for nine stages.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import httpx
import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
import yaml
from mlflow import MlflowClient

from components.core.media import encode_jpeg
from tests.e2e.conftest import RECIPE, Workspace, served
from tests.flows.toy import free_port

pytestmark = pytest.mark.slow
STAGES = "ingest frames features validation tuning training evaluation promotion deployment".split()


def test_flow_ends_with_a_champion_and_its_bundle(flowed):
    data = flowed.root / "data" / RECIPE
    decision = json.loads((data / "decision.json").read_text())
    assert decision["promoted"] and decision["model_version"] == 1
    pointer = json.loads((flowed.root / ".sightline" / "deployed" / RECIPE / "champion.json").read_text())
    assert pointer["version"] == 1
    metrics = json.loads((data / "evaluation" / "metrics.json").read_text())
    assert 0 <= metrics["frame_auc"] <= 1
    assert (data / "evaluation" / "report" / "index.html").is_file()
    assert all(f"{stage}@{RECIPE}" in flowed.ran.stdout + flowed.ran.stderr for stage in STAGES)


def test_no_asset_is_on_two_sides(flowed):
    data = flowed.root / "data" / RECIPE
    catalog = pq.read_table(data / "catalog").to_pylist()
    sides = {row["asset_id"]: row["split"] for row in catalog}
    assert len(sides) == len(catalog) == 13
    tested = set(pq.read_table(data / "evaluation" / "predictions")["asset_id"].to_pylist())
    assert tested == {asset for asset, split in sides.items() if split == "test"}


def test_second_run_does_nothing_and_says_so(flowed):
    before = flowed.outputs()
    again = flowed.sightline("run", RECIPE)
    assert "8 stages cached" in again.stdout + again.stderr
    repro = flowed.dvc("repro")
    assert all(f"'{stage}@{RECIPE}' didn't change, skipping" in repro.stdout for stage in STAGES[1:])
    assert flowed.outputs() == before


def test_the_champion_can_be_traced_to_every_source_file(flowed):
    found = json.loads(flowed.sightline("lineage", RECIPE, "--json").stdout)
    lock = yaml.safe_load((flowed.root / "dvc.lock").read_text())["stages"]
    assert found["prefect_flow_run"] == json.loads(flowed.ran.stdout)["flow_run"]
    assert found["stages"]["training"]["outs"] == lock[f"training@{RECIPE}"]["outs"]
    catalog = pq.read_table(flowed.root / "data" / RECIPE / "catalog").to_pylist()
    assert {one["sha256"]: one["split"] for one in found["assets"]} == {row["sha256"]: row["split"] for row in catalog}
    row = pq.read_table(flowed.root / "data" / RECIPE / "evaluation" / "predictions").to_pylist()[7]
    asked = ["--prediction", row["uri"], "--frame", str(row["frame_index"])]
    found = json.loads(flowed.sightline("lineage", RECIPE, *asked, "--json").stdout)
    assert found["source"]["bytes"] == "same" and found["version"] == 1 and len(found["assets"]) == 1
    found = json.loads(flowed.sightline("lineage", RECIPE, "--source", found["source"]["file"], "--json").stdout)
    assert [(one["version"], one["split"]) for one in found["versions"]] == [(1, "test")]


def test_footage_is_scored_in_batch_as_the_evaluation_scored_it(flowed, tmp_path):
    evaluated = pq.read_table(flowed.root / "data" / RECIPE / "evaluation" / "predictions").to_pylist()
    files = sorted({str(flowed.root / row["uri"]) for row in evaluated})
    told = json.loads(flowed.sightline("predict", RECIPE, "-o", str(tmp_path / "out"), "--json", *files).stdout)
    assert told["files"] == 4 and told["quarantined"] == 0 and told["frames"] == len(evaluated)
    scored = pq.read_table(tmp_path / "out" / "predictions").to_pylist()
    now = {(row["asset_id"], row["frame_index"]): row["score"] for row in scored}
    apart = [abs(row["score"] - now[row["asset_id"], row["frame_index"]]) for row in evaluated]
    assert np.mean(apart) < 0.02 and np.max(apart) < 0.2, "the frames table's JPEGs lie between"


def test_a_fresh_clone_that_pulls_serves_the_champion(flowed, tmp_path):
    remote = ["env", f"XDG_DATA_HOME={tmp_path / 'home'}", sys.executable, "-m", "flows.cli"]
    flowed.run(*remote, "push", RECIPE)
    root = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(flowed.root), str(root)], check=True)
    clone = Workspace.at(root)
    assert "version 1 is here to be served" in clone.run(*remote, "pull", RECIPE).stdout
    assert not (root / "data" / RECIPE / "frames").exists(), "only what a service needs was brought"
    with served(clone) as url:
        picture = encode_jpeg(np.zeros((240, 320, 3), np.uint8), 90)
        reply = httpx.post(f"{url}/v1/predict", files={"picture": picture}, timeout=30)
        assert reply.json()["model"]["version"] == 1


def test_metrics_and_plots_are_shown(flowed):
    shown = json.loads(flowed.dvc("metrics", "show", "--json").stdout)
    assert "frame_auc" in json.dumps(shown)
    flowed.dvc("plots", "show", "-o", str(flowed.root / "plots"))
    page = (flowed.root / "plots" / "index.html").read_text()
    assert "ROC, held-out assets" in page and "Confusion matrix" in page


def test_changing_a_training_parameter_redoes_what_follows_only(flowed):
    done = flowed.dvc("exp", "run", "-S", f"recipes.{RECIPE}.training.epochs=3")
    said = done.stdout + done.stderr
    for stage in ("frames", "features", "validation", "tuning"):
        assert f"'{stage}@{RECIPE}' didn't change, skipping" in said
    for stage in ("training", "evaluation", "promotion", "deployment"):
        assert f"Running stage '{stage}@{RECIPE}'" in said
    model = json.loads((flowed.root / "data" / RECIPE / "model" / "model.json").read_text())
    assert model["training"]["epochs"] == 3 and len(model["history"]) == 3


def test_service_follows_the_registrys_champion(flowed):
    """`sightline serve` answers, and serves another version soon after the alias moved in MLflow."""
    flowed.sightline("run", RECIPE, "--set", "training.lr=0.001", "--set", "training.penalty=0.05")
    store = f"sqlite:///{flowed.root / '.sightline' / 'mlflow' / 'mlflow.db'}"
    registry = MlflowClient(store, store)
    versions = sorted(int(version.version) for version in registry.search_model_versions(f"name = '{RECIPE}'"))
    now = int(registry.get_model_version_by_alias(RECIPE, "champion").version)
    assert versions == [1, 2]
    other = 3 - now
    port = free_port()
    command = [sys.executable, "-m", "flows.cli", "serve", RECIPE, "--port", str(port)]
    service = subprocess.Popen(command, cwd=flowed.root, env=flowed.environment, stderr=subprocess.DEVNULL)
    try:
        assert _served(port, now, 180) == now
        registry.set_registered_model_alias(RECIPE, "champion", str(other))
        assert _served(port, other, 120) == other
        flowed.sightline("promote", RECIPE, "--version", str(now), "--override", "a test")
        assert _served(port, now, 120) == now
        flowed.sightline("promote", RECIPE, "--version", str(other), "--override", "a test")
        flowed.sightline("rollback", RECIPE, "--reason", "a test")
        began = time.monotonic()
        assert _served(port, now, 120) == now
        assert time.monotonic() - began < 60, "the service follows by itself, soon"
        moved = json.loads(flowed.sightline("history", RECIPE, "--json").stdout)
        assert [move["by"] for move in moved[-3:]] == ["promote", "promote", "rollback"]
    finally:
        registry.set_registered_model_alias(RECIPE, "champion", str(now))
        service.terminate()
        assert service.wait(timeout=30) == 0
    assert not _left_running(flowed)


def _served(port: int, wanted: int, seconds: float) -> int | None:
    """The version in the service's answer about a picture, once it is `wanted`; else the last one seen."""
    picture = encode_jpeg(np.zeros((240, 320, 3), np.uint8), 90)
    version, deadline = None, time.monotonic() + seconds
    while version != wanted and time.monotonic() < deadline:
        try:
            reply = httpx.post(f"http://127.0.0.1:{port}/v1/predict", files={"picture": picture}, timeout=10)
            version = reply.json().get("model", {}).get("version")
        except httpx.HTTPError:
            version = None
        time.sleep(0.2)
    return version


def test_every_stage_killed_once_and_dvc_alone_give_the_same_bytes(flowed, tmp_path):
    """`dvc repro` in another workspace, each stage killed -9 at a random instant: the flow's bytes."""
    workspace = Workspace(tmp_path / "workspace")
    moments = random.Random(5)
    took = {row["stage"].split("@")[0]: row["seconds"] for row in json.loads(flowed.ran.stdout)["stages"]}
    killed = []
    for stage in STAGES:
        one = ["repro", "--single-item", f"{stage}@{RECIPE}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "dvc", *one], cwd=workspace.root, env=workspace.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        victim = _wait_for(process, f"components.{stage}")
        if victim is not None:
            # What the flow measured holds two seconds of DVC around the stage's own process, and the machine may have
            # been twice as busy then.
            time.sleep(moments.uniform(0.05, 0.2) * max(1.0, took[stage] - 2))
            if victim.is_running():
                victim.kill()
                killed.append(stage)
        process.wait(timeout=300)
        workspace.dvc(*one)
    assert len(killed) >= 7, f"only {killed} were still running when they were to be killed"
    whole = workspace.dvc("repro").stdout
    assert all(f"'{stage}@{RECIPE}' didn't change, skipping" in whole for stage in STAGES[1:])
    assert workspace.outputs() == _outputs_at(flowed, "HEAD")
    assert not _left_running(workspace)


WATCH = f"""
import json
from flows.monitoring import monitoring
state = monitoring("{RECIPE}", return_state=True)
print(json.dumps([state.name, state.message]))
"""


def test_new_footage_is_scored_and_compared_with_what_the_champion_saw(flowed):
    """Last, because it changes the recipe's footage: thirteen clips of another seed, labels with them."""
    champion = json.loads((flowed.root / ".sightline" / "deployed" / RECIPE / "champion.json").read_text())["version"]
    scenes = yaml.safe_load((flowed.root / "params.yaml").read_text())["recipes"][RECIPE]["ingest"]["scenes"]
    flowed.change(ingest={"scenes": scenes | {"seed": 4}})
    done = flowed.run(sys.executable, "-c", WATCH)
    name, said = json.loads(done.stdout.splitlines()[-1])
    assert name in ("Completed", "Drifted"), said
    assert "13 files" in done.stderr
    scored = pq.read_table(flowed.root / ".sightline" / "scores" / RECIPE / "predictions")
    catalog = pq.read_table(flowed.root / "data" / RECIPE / "catalog")
    assert set(scored["asset_id"].to_pylist()) == set(catalog["asset_id"].to_pylist())
    assert set(scored["model_version"].to_pylist()) == {str(champion)}
    found = json.loads(flowed.sightline("drift", RECIPE, "--json").stdout)
    assert (found["reference"], found["current"], found["labelled"]) == (13, 13, 13)
    assert {"brightness", "sharpness", "pixels", "embedding"} <= {test["name"] for test in found["tests"]}
    assert "no footage that the champion has not seen or scored" in flowed.run(sys.executable, "-c", WATCH).stderr


def _wait_for(process: subprocess.Popen, module: str, timeout: float = 300) -> psutil.Process | None:
    """The stage's own process below `process`, once it is there; None if `process` ended first."""
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        for child in _children(process.pid):
            try:
                command = child.cmdline()
            except psutil.Error:
                continue
            if module in command and "-m" in command and not command[0].endswith("sh"):
                return child
        time.sleep(0.02)
    return None


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _outputs_at(workspace: Workspace, revision: str) -> dict[str, str]:
    """The outputs' digests as committed, before later tests changed them."""
    text = subprocess.run(
        ["git", "show", f"{revision}:dvc.lock"], cwd=workspace.root, check=True, capture_output=True, text=True
    ).stdout
    return {out["path"]: out["md5"] for stage in yaml.safe_load(text)["stages"].values() for out in stage["outs"]}


def _left_running(workspace: Workspace) -> list[str]:
    """Command lines of processes that still work in the workspace; ends them, so that a failure leaves none behind."""
    deadline = time.monotonic() + 60
    while True:
        left = []
        for process in psutil.process_iter(["pid"]):
            try:
                if process.pid != os.getpid() and process.cwd() == str(workspace.root):
                    left.append(process)
            except psutil.Error:
                continue
        if not left or time.monotonic() > deadline:
            break
        time.sleep(0.5)
    names = []
    for process in left:
        try:
            names.append(" ".join(process.cmdline()))
            process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    return names
