"""Promotion against a real MLflow store."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.core import tracking
from components.core.errors import SightlineError
from components.core.files import file_sha256
from components.core.recipe import Recipe
from components.promotion import __main__ as stage
from components.promotion import registry
from tests.deployment import making
from tests.promotion.conftest import enter

ROOT = Path(__file__).parents[2]


def make(root: Path, seed: int, skill: float, **gates) -> tuple[Recipe, Path, str]:
    """What the stages before leave: (recipe, data folder, model digest)."""
    recipe = making.write_params(root, gates)
    data = root / "data" / making.RECIPE
    digest = making.write_model(data, recipe, seed)
    making.write_evaluation(data, skill, seed)
    making.write_lineage(root, data)
    return recipe, data, digest


def run_stage(root: Path, seed: int, skill: float, **gates) -> dict:
    recipe, data, _ = make(root, seed, skill, **gates)
    stage.main(recipe)
    return making.read(data / "decision.json")


def state(name: str = making.RECIPE) -> dict:
    """What the registry says: versions with their digest, decision and whether it is settled; aliases."""
    client = tracking.client()
    versions = {
        int(version.version): (
            version.tags[tracking.MODEL_DIGEST],
            version.tags[registry.DECISION],
            registry.SETTLED in version.tags,
        )
        for version in client.search_model_versions(f"name = '{name}'")
    }
    return {"versions": versions, "aliases": dict(client.get_registered_model(name).aliases)}


def test_the_life_of_a_registry(root, capsys):
    first = run_stage(root, 1, 1.0)
    assert first["promoted"] and first["champion"] is None and first["model_version"] == 1
    assert first["model_digest"] == file_sha256(root / "data/toy/model/head.safetensors")
    assert {key: int(value) for key, value in state()["aliases"].items()} == {"champion": 1, "challenger": 1}
    assert "version 1: promoted to champion" in capsys.readouterr().out

    worse = run_stage(root, 2, 0.4)
    assert not worse["promoted"] and worse["model_version"] == 2
    assert worse["champion"]["version"] == 1 and worse["champion"]["frames"] == 200
    assert worse["difference"]["mean"] < 0
    assert {key: int(value) for key, value in state()["aliases"].items()} == {"champion": 1, "challenger": 2}
    assert "version 2: refused" in capsys.readouterr().out

    better = run_stage(root, 3, 2.0)
    assert better["promoted"] and better["difference"]["low"] > 0
    assert {key: int(value) for key, value in state()["aliases"].items()} == {"champion": 3, "challenger": 3}


def test_the_version_holds_the_model_and_leads_to_its_run(root, tmp_path):
    run_stage(root, 1, 1.0)
    version = tracking.version_by_alias("toy", "champion")
    assert (
        tracking.client().get_run(version.run_id).data.tags[tracking.MODEL_DIGEST]
        == version.tags[tracking.MODEL_DIGEST]
    )
    local = tracking.mlflow.artifacts.download_artifacts(version.source, dst_path=str(tmp_path / "copy"))
    assert file_sha256(Path(local) / "head.safetensors") == version.tags[tracking.MODEL_DIGEST]


def test_the_training_run_is_used_where_it_is_there(root):
    recipe, data, digest = make(root, 1, 1.0)
    with tracking.run(recipe, "training", model_digest=digest) as run:
        tracking.mlflow.log_artifacts(str(data / "model"), "model")
    stage.main(recipe)
    assert tracking.version_by_alias("toy", "champion").run_id == run
    assert registry.evidence(tracking.version_by_alias("toy", "champion"))[0].num_rows == 200


def test_a_model_that_was_changed_in_the_store_is_not_registered(root):
    recipe, data, digest = make(root, 1, 1.0)
    with tracking.run(recipe, "training", model_digest=digest):
        tracking.mlflow.log_artifacts(str(data / "model"), "model")
        tracking.mlflow.log_artifacts(str(data / "evaluation" / "predictions"), "evaluation/predictions")
    (stored,) = (root / ".sightline/mlflow/artifacts").rglob("head.safetensors")
    stored.write_bytes(stored.read_bytes() + b"x")
    with pytest.raises(SightlineError, match="is not the model that was trained"):
        stage.main(recipe)
    assert tracking.version_by_alias("toy", "champion") is None


def test_again_is_the_same_decision_and_no_second_version(root):
    first = run_stage(root, 1, 1.0)
    before = state()
    assert run_stage(root, 1, 1.0) == first
    run_stage(root, 2, 0.4)
    refused = (root / "data/toy/decision.json").read_bytes()
    after = state()
    run_stage(root, 2, 0.4)
    assert (root / "data/toy/decision.json").read_bytes() == refused
    assert state() == after and len(after["versions"]) == 2
    assert before["versions"][1] == after["versions"][1]


def test_the_decision_file_names_nothing_of_this_store(root, tmp_path):
    run_stage(root, 1, 1.0)
    text = (root / "data/toy/decision.json").read_text()
    version = tracking.version_by_alias("toy", "champion")
    assert version.run_id not in text and str(root) not in text


def test_a_rollback_by_hand_is_left_alone(root, capsys):
    run_stage(root, 1, 1.0)
    run_stage(root, 2, 2.0)
    tracking.client().set_registered_model_alias("toy", "champion", "1")
    assert run_stage(root, 2, 2.0)["promoted"]
    assert int(tracking.version_by_alias("toy", "champion").version) == 1
    assert "moved to version 1 after this promotion" in capsys.readouterr().out


def test_other_gates_are_a_new_decision(root):
    assert run_stage(root, 1, 1.0)["promoted"]
    stricter = run_stage(root, 1, 1.0, minimum=0.999)
    assert not stricter["promoted"] and stricter["model_version"] == 1
    assert len(state()["versions"]) == 1
    assert int(tracking.version_by_alias("toy", "champion").version) == 1  # nobody is better: it stays


def test_a_champion_without_predictions_is_named(root):
    run_stage(root, 1, 1.0)
    shutil.rmtree(root / ".sightline/mlflow/artifacts")
    refused = run_stage(root, 2, 2.0)
    assert not refused["promoted"]
    assert "cannot be compared with champion version 1: its run does not hold" in refused["reasons"][0]


def test_failed_validation_is_refused(root):
    recipe, data, _ = make(root, 1, 2.0)
    (data / "validation.json").write_text(
        json.dumps({"success": False, "suites": {"frames": {"failed": [{"says": "pts grow"}]}}})
    )
    stage.main(recipe)
    decision = making.read(data / "decision.json")
    assert not decision["promoted"] and decision["reasons"][0] == "the data check `frames: pts grow` failed"
    assert tracking.version_by_alias("toy", "champion") is None


def test_a_missing_evaluation_names_file_and_remedy(root):
    recipe, data, _ = make(root, 1, 1.0)
    (data / "evaluation/metrics.json").unlink()
    with pytest.raises(SightlineError, match=r"(?s)metrics\.json.*run the evaluation stage"):
        stage.main(recipe)


def test_a_store_that_does_not_answer_is_no_empty_store(root, monkeypatch):
    """Otherwise any model above the minimum would take the place of a champion that could not be seen."""
    recipe, data, _ = make(root, 1, 1.0)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(SightlineError, match="MLflow at http://127.0.0.1:9"):
        stage.main(recipe)
    assert not (data / "decision.json").exists()


def children(order: dict) -> list:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)  # MLflow sets it to the store used last
    done = subprocess.run(
        [sys.executable, "-m", "tests.promotion.killed", json.dumps(order)],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("OUTCOME ")]
    assert lines, done.stdout + done.stderr
    return json.loads(lines[0].removeprefix("OUTCOME "))


# How many writes there are, and after how many of them to kill: without a run in the store, the second has all kinds.
WRITES = {"first": (10, (1, 2, 4, 6, 10)), "second": (13, range(14))}


@pytest.mark.slow
def test_killed_after_any_write_and_run_again(root, monkeypatch):
    """Between any two writes, of a first model and of one that meets a champion: one version, one decision.

    Slow because each point takes two promotions in processes of their own: one that is killed and one that mends it.
    """
    origins, order = {}, []
    for name, (_, points) in WRITES.items():
        origin = origins[name] = root / name
        enter(origin, monkeypatch)
        making.give_store(origin)
        if name == "second":
            run_stage(origin, 1, 0.5)
            (origin / "data/toy/decision.json").unlink()
        recipe, data, digest = make(origin, 7, 2.0)
        if name == "first":
            registry.training_run(recipe, digest, data / "model", data / "evaluation" / "predictions")
        for count in points:
            shutil.copytree(origin, root / f"{name}-{count}")
            order.append([str(root / f"{name}-{count}"), count])
    shutil.copytree(origins["first"], root / "warm")
    outcome = children({"warm": str(root / "warm"), "killed": order})

    for name, (writes, points) in WRITES.items():
        enter(origins[name], monkeypatch)
        stage.main(make(origins[name], 7, 2.0)[0])
        expected = state(), (origins[name] / "data/toy/decision.json").read_bytes()
        for count in points:
            copy = root / f"{name}-{count}"
            first, again = outcome[order.index([str(copy), count])]
            assert again == 0
            assert first == (-signal.SIGKILL if count < writes else 0), f"{name}: WRITES no longer counts all of them"
            enter(copy, monkeypatch)
            assert (state(), (copy / "data/toy/decision.json").read_bytes()) == expected, copy.name
        assert all(settled for *_, settled in expected[0]["versions"].values())
        assert len(expected[0]["versions"]) == (1 if name == "first" else 2)


def test_promotions_at_the_same_time(root):
    recipe, data, _ = make(root, 1, 1.0)
    together = []
    for seed in (1, 2, 3, 1):
        folder = root / f"data-{len(together)}"
        making.write_model(folder, recipe, seed)
        making.write_evaluation(folder, 1.0, seed)
        making.write_lineage(root, folder)  # dvc.lock names the last one's model: only of that is there no gap
        together.append([str(root), str(folder)])
    assert children({"together": together}) == [0, 0, 0, 0]
    found = state()
    assert sorted(found["versions"]) == [1, 2, 3]
    assert len({digest for digest, *_ in found["versions"].values()}) == 3
    champion = found["versions"][int(found["aliases"]["champion"])]
    assert json.loads(champion[1])["decision"]["promoted"]
