"""What promotion reads: figures by name, scores, slices."""

import numpy as np
import pyarrow as pa
import pytest

from components.core.errors import UsageError
from components.core.recipe import Task
from components.core.tables import predictions_schema
from components.promotion.compare import Scores, pair, paired_bootstrap
from components.promotion.inputs import asset_slices, gate_metric, labelled_scores, numbers
from components.tasks.classification.metrics import figure_names, frame_metrics

TWO = Task(classes=("normal", "suspicious"), positive="suspicious")
RANKLESS = Task(classes=("a", "b", "c"))
POSITIVE = Task(classes=("a", "b", "c"), positive="b")


def answers(task: Task, seed: int, skill: float = 1.0) -> Scores:
    """40 assets of three frames; the greater `skill`, the better."""
    random, classes = np.random.default_rng(seed), len(task.classes)
    keys = [(f"{asset:02d}", frame) for asset in range(40) for frame in range(3)]
    labels = np.array([int(asset) % classes for asset, _ in keys])
    logits = random.normal(0, 1, (len(keys), classes))
    logits[np.arange(len(keys)), labels] += skill
    exact = np.exp(logits)
    probabilities = (exact / exact.sum(1, keepdims=True)).astype(np.float32)
    return Scores(keys, labels, probabilities, None if task.positive is None else 0.5)


@pytest.mark.parametrize("task", [TWO, RANKLESS, POSITIVE], ids=["two", "without positive", "three and positive"])
def test_every_figure_of_evaluation_can_be_a_gate(task):
    scores = answers(task, 1)
    expected = frame_metrics(scores.labels, scores.probabilities, task.positive_index, scores.threshold)
    names = figure_names(len(task.classes), task.positive_index)
    found = {name: gate_metric(name, task)(scores.labels, scores.probabilities, scores.threshold) for name in names}
    assert found == expected


@pytest.mark.parametrize(
    ("task", "name"),
    [(RANKLESS, "accuracy"), (RANKLESS, "f1_macro"), (RANKLESS, "roc_auc_macro"), (RANKLESS, "log_loss"),
     (POSITIVE, "average_precision"), (TWO, "frame_auc")],
)  # fmt: skip
def test_two_models_are_compared_by_any_of_them(task, name, monkeypatch):
    monkeypatch.setattr("components.promotion.compare.RESAMPLES", 60)
    better, worse = answers(task, 1, 2.5), answers(task, 2, 0.3)
    found = paired_bootstrap(pair(better, worse), gate_metric(name, task), 0.95)
    assert found.low <= found.mean <= found.high
    assert found.high < 0 if name == "log_loss" else found.low > 0


def test_a_figure_is_undefined_on_one_side():
    for task, labels in ((TWO, [1, 1]), (RANKLESS, [2, 2]), (POSITIVE, [0, 2])):
        probabilities = np.full((2, len(task.classes)), 0.5, np.float32)
        assert np.isnan(gate_metric("accuracy", task)(np.array(labels), probabilities, 0.5))


@pytest.mark.parametrize(
    ("task", "name", "meant"),
    [(RANKLESS, "f1_marco", "f1_macro"), (RANKLESS, "frame_auc", "roc_auc"), (TWO, "acuracy", "accuracy"),
     (TWO, "assets", "known")],
)  # fmt: skip
def test_a_metric_that_the_task_has_not_is_refused_with_the_nearest(task, name, meant):
    with pytest.raises(UsageError) as refused:
        gate_metric(name, task)
    assert name in refused.value.problem and meant in refused.value.remedy


def test_scores_and_slices_of_a_table():
    rows = [
        {"uri": "x", "asset_id": asset, "frame_index": 0, "pts": 0, "timestamp_s": 0.0, "label": label,
         "prediction": "a", "score": 0.5, "model_version": "x", "site": site, "light": "day", "prob_a": 0.5,
         "prob_b": 0.25, "prob_c": 0.25}
        for asset, label, site in (("1", "a", "x"), ("2", None, "x"), ("3", "c", None))
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, predictions_schema(RANKLESS.classes))
    scores = labelled_scores(table, RANKLESS, None)
    assert scores.keys == [("1", 0), ("3", 0)] and scores.labels.tolist() == [0, 2] and scores.threshold is None
    assert scores.of_assets({"3"}).labels.tolist() == [2]
    assert asset_slices(table) == {("site", "x"): {"1", "2"}, ("light", "day"): {"1", "2", "3"}}


def test_slices_are_no_single_figures():
    assert numbers({"accuracy": 0.5, "assets": 3, "slices": {"site": {}}, "ok": True}) == {"accuracy": 0.5, "assets": 3}
