"""A detector trained by two workers on pictures that all show something: judged by its boxes, and repeatable."""

import os
import subprocess
import sys

import numpy as np
import pytest

from components.core.distributed import launch
from components.core.files import file_sha256, tree_sha256
from components.core.recipe import Training, load_recipe, parse_recipe
from components.tasks.classification.fit import Progress, fit
from components.tasks.detection.metrics import box_metrics, matches
from components.tasks.detection.model import TENSORS, load_detector
from components.training.outcome import needs_validation
from tests.tasks.detection.drawn import RECIPE, TRAINING, all_shown

SPLITS = {"train": 80, "val": 15, "test": 5}
COMMAND = [sys.executable, "-m", "components.training", "--recipe", RECIPE]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(workspace after one training with two workers, what the stage said)."""
    root = all_shown(tmp_path_factory.mktemp("trained") / "workspace", SPLITS)
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root)}
    return root, subprocess.run(COMMAND, check=True, env=environment, capture_output=True, text=True).stdout


def test_it_is_judged_by_its_boxes_and_calls_those_that_give_the_best_f1(trained, monkeypatch):
    root, said = trained
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    model = load_detector(root / "data" / RECIPE / "model")
    history = model.meta["history"]
    assert len(history) == model.meta["best_epoch"] == TRAINING["epochs"]
    names = {"ap50", "ap", "corloc", "mean_iou", "recall50"}
    assert {f"val_{name}" for name in names} <= set(history[-1])
    assert not {"val_frame_auc", "val_accuracy", "val_balanced_log_loss"} & set(history[-1]), "nothing of frames"
    assert f"val_ap50 {history[-1]['val_ap50']:.3f}" in said
    samples = model.samples(load_recipe(RECIPE), "val")
    known = [row for row, truth in enumerate(samples.truths) if truth is not None]
    found = type(samples.found)(*(part[known] for part in samples.found))
    truths = [samples.truths[row] for row in known]
    shown = {f"val_{name}": value for name, value in box_metrics(truths, found, 2).items()}
    assert {name: history[-1][name] for name in shown} == pytest.approx(shown, abs=1e-6)
    assert history[-1]["val_recall50"] > 0.3
    right = matches(truths, found, 2)
    f1 = [right.called(threshold)["box_f1"] for threshold in np.arange(0.05, 1, 0.01)]
    assert right.called(model.meta["threshold"])["box_f1"] >= max(f1) > 0


def test_it_repeats_to_the_byte(trained, tmp_path, monkeypatch):
    """The stage's two workers once more, from the start."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(trained[0]))
    (params,) = trained[0].glob(".sightline/work/training/*/*/params.json")
    (tmp_path / "params.json").write_bytes(params.read_bytes())
    launch(2, "components.training.worker", ["--recipe", RECIPE, "--work", str(tmp_path)])
    assert tree_sha256(tmp_path / "model") == tree_sha256(params.with_name("model"))
    digests = [file_sha256(folder / TENSORS) for folder in (tmp_path / "model", trained[0] / "data" / RECIPE / "model")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize(("patience", "best", "trained"), [(None, 6, 6), (2, 2, 4)])
def test_with_patience_the_epoch_with_the_best_boxes_is_kept(patience, best, trained):
    precisions = iter((0.2, 0.5, 0.5, 0.4, 0.6, 0.1))
    params, seen = Training(head="detector", lr=0.1, penalty=0.0, epochs=6, patience=patience), []
    progress = fit(
        params, Progress(), lambda epoch: 1.0, lambda: {"ap50": next(precisions)}, lambda _, new: seen.append(new)
    )
    assert (progress.best_epoch, progress.epoch) == (best, trained)
    assert seen == ([True] * 6 if patience is None else [True, True, False, False])


def test_a_detector_that_is_refitted_has_a_threshold_to_find_whatever_its_classes():
    body = {"task": {"kind": "detection", "classes": ["background", "red", "blue"]}, "source": "x"}
    body |= {"features": {"parts": ["mean"]}, "training": TRAINING | {"refit": True}}
    recipe = parse_recipe("r", body)
    assert needs_validation(recipe, recipe.training)
