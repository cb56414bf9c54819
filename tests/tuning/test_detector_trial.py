"""Trials of detectors: judged by boxes or, where the task tracks, by tracks; searched by Hyperopt on Spark."""

import json
import math
import subprocess
import sys

import pytest

from components.core.recipe import load_recipe
from components.tuning import find
from components.tuning.find import search_key
from components.tuning.trial import run_trial
from tests.evaluation.moving import Walk, write_tables
from tests.tasks.detection.drawn import RECIPE as DRAWN
from tests.tasks.detection.drawn import TRAINING, all_shown

WALKS = (
    Walk("a.mp4", 18, (0, 1, 2), split="train"),
    Walk("b.mp4", 18, (1, 3), split="train"),
    Walk("c.mp4", 12, (0, 2), split="val"),
)
TRACKING = {
    "head": "detector", "workers": 2, "patience": None, "batch_size": "tuned", "lr": "tuned", "penalty": 0.0,
    "detector": {
        "model": "fairmot", "identity_weight": "tuned", "box_weight": "tuned", "precision": "float32", "max_boxes": 6,
    },
}  # fmt: skip
SPACE = {
    "lr": {"low": 0.001, "high": 0.01, "log": True},
    "batch_size": {"low": 2, "high": 6},
    "detector.identity_weight": {"low": 0.05, "high": 1.0, "log": True},
    "detector.box_weight": {"low": 0.5, "high": 2.0},
}
TUNING = {"trials": 2, "parallelism": 2, "startup_trials": 2, "epochs": 1, "space": SPACE}
POINT = {"lr": 0.004, "batch_size": 3.6, "detector.identity_weight": 0.2, "detector.box_weight": 1.5}


@pytest.fixture
def walking(tmp_path, monkeypatch):
    """(recipe, folder of its data) of a workspace with a few short walks."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path / "workspace"))
    return write_tables(tmp_path / "workspace", WALKS, training=TRACKING, tuning=TUNING)


def test_a_tracker_is_tried_by_its_tracks(walking):
    recipe, _ = walking
    tried = [run_trial(recipe, POINT | changed) for changed in ({}, {}, {"lr": 0.001})]
    assert tried[0] == tried[1] and tried[0]["metrics"] != tried[2]["metrics"]
    metrics = tried[0]["metrics"]
    assert tried[0]["loss"] == pytest.approx(1 - (metrics["val_mota"] + metrics["val_idf1"]) / 2)
    assert {"val_ap50", "val_hota", "train_loss"} <= set(metrics)


def test_one_that_diverges_is_the_worst_and_ends_nothing(walking):
    recipe, _ = walking
    found = run_trial(recipe, POINT | {"lr": 1e20})
    assert found["loss"] == math.inf
    assert find._finite(found)["loss"] == find.WORST and json.dumps(find._finite(found), allow_nan=False)


def test_a_detector_is_tried_by_its_boxes(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path / "workspace"))
    training = TRAINING | {"lr": "tuned", "detector": TRAINING["detector"] | {"backbone_rate": "tuned"}}
    space = {"lr": SPACE["lr"], "detector.backbone_rate": {"low": 0.1, "high": 1.0}}
    all_shown(tmp_path / "workspace", {"train": 12, "val": 4}, training=training, tuning=TUNING | {"space": space})
    recipe = load_recipe(DRAWN)
    assert recipe.training.tuned_names() == ["detector.backbone_rate", "lr"]
    found = run_trial(recipe, {"lr": 0.006, "detector.backbone_rate": 0.5})
    assert found["status"] == "ok" and found["loss"] == pytest.approx(1 - found["metrics"]["val_ap50"])


def test_what_a_trial_depends_on_is_another_search(walking):
    recipe, _ = walking
    keys = [search_key(recipe)]
    for section, changed in (("detector", {"embedding": 32}), ("tracker", {"min_hits": 1})):
        training = recipe.training.model_copy(
            update={section: getattr(recipe.training, section).model_copy(update=changed)}
        )
        keys.append(search_key(recipe.model_copy(update={"training": training})))
    assert len(set(keys)) == 3


def test_the_stage_searches_and_training_takes_what_it_found(walking):
    """Slow: Spark's workers import torch."""
    from components.training.__main__ import resolved

    recipe, data = walking
    done = subprocess.run([sys.executable, "-m", "components.tuning", "--recipe", recipe.name], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads((data / "tuning.json").read_text())
    assert len(found["trials"]) == 2 and set(found["best"]) == set(SPACE)
    params = resolved(recipe)
    assert params.lr == found["best"]["lr"] and params.batch_size == round(found["best"]["batch_size"])
    assert params.detector.identity_weight == found["best"]["detector.identity_weight"]
    assert params.detector.model == "fairmot" and params.tracker == recipe.training.tracker
