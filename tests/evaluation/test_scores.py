"""Metrics, curves and rows, against scikit-learn and exact arithmetic."""

from fractions import Fraction

import numpy as np
import pytest
from sklearn import metrics as sk

from components.core.errors import SightlineError
from components.core.recipe import Task
from components.core.tables import predictions_schema, write_shard
from components.evaluation import curves, scores
from components.tasks.classification.samples import Samples

TASK = Task(classes=("normal", "suspicious"), positive="suspicious")
THREE = Task(classes=("rest", "fight", "fall"), positive="fight")
BASE = Fraction(1, 90000)


def made(task=TASK, seed=0, sizes=(40, 25, 60), threshold=0.4, labels=None):
    """Assets of random scores and labels, a fifth of them unlabelled; and the same, flat."""
    rng = np.random.default_rng(seed)
    total, ids = sum(sizes), [f"asset{i}" for i in range(len(sizes))]
    truth = rng.integers(0, len(task.classes), total) if labels is None else np.asarray(labels)
    if labels is None:
        truth[rng.random(total) < 0.2] = -1
    probabilities = rng.dirichlet(np.ones(len(task.classes)), total).astype(np.float32)
    index = np.concatenate([np.arange(size) * 3 for size in sizes])
    pts = 126000 + index * 3003
    frame_ids = [f"{asset}-{i:08d}" for asset, size in zip(ids, sizes, strict=True) for i in range(size)]
    starts = np.cumsum([0, *sizes])
    samples = Samples(ids, starts, np.zeros((total, 1), np.float32), truth, index, pts, frame_ids)
    catalog = [
        {"asset_id": asset, "name": f"{asset}.mpg", "uri": f"clips/{asset}.mpg", "sha256": asset, "kind": "video",
         "status": "ok", "time_base_num": 1, "time_base_den": 90000, "first_pts": 126000,
         "last_pts": 126000 + 3003 * 3 * size}
        for asset, size in zip(ids, sizes, strict=True)
    ]  # fmt: skip
    catalog.append({**catalog[0], "name": "copy.mpg", "uri": "clips/copy.mpg", "status": "duplicate"})
    return scores.scored_assets(samples, probabilities, catalog, task, threshold), truth, probabilities


def _summing_to_one(probabilities):
    exact = probabilities.astype(np.float64)
    return exact / exact.sum(1, keepdims=True)


@pytest.mark.parametrize("task", [TASK, THREE], ids=["two classes", "three classes"])
@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_sklearn_on_the_labelled_frames(task, seed):
    assets, labels, probabilities = made(task, seed)
    found, keep, positive = scores.test_metrics(assets, 0.4), labels >= 0, task.classes.index(task.positive)
    truth, score = labels[keep] == positive, probabilities[keep, positive]
    two = len(task.classes) == 2
    call = score >= np.float32(0.4) if two else probabilities[keep].argmax(1) == positive
    expected = {
        "frame_auc": sk.roc_auc_score(truth, score),
        "average_precision": sk.average_precision_score(truth, score),
        "f1": sk.f1_score(truth, call),
        "precision": sk.precision_score(truth, call),
        "recall": sk.recall_score(truth, call),
        "log_loss": sk.log_loss(labels[keep], _summing_to_one(probabilities[keep])),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    tn, fp, fn, tp = sk.confusion_matrix(truth, call).ravel().tolist()
    counts = ("true_negatives", "false_positives", "false_negatives", "true_positives")
    assert [found[name] for name in counts] == [tn, fp, fn, tp]
    assert (found["assets"], found["frames"], found["labelled_frames"]) == (3, 125, int(keep.sum()))
    rows = curves.confusion_rows(assets, task)
    assert rows.count((task.positive, task.positive)) == tp and len(rows) == keep.sum() and rows == sorted(rows)
    assert found["accuracy"] == pytest.approx(np.mean([actual == called for actual, called in rows]))


def test_the_curves_hold_the_figures():
    assets, labels, probabilities = made()
    found = scores.test_metrics(assets, 0.4)
    roc = np.array(curves.roc_rows(assets))
    assert sk.auc(roc[:, 0], roc[:, 1]) == pytest.approx(found["frame_auc"])
    assert roc[0].tolist() == [0, 0, np.inf] and roc[-1, :2].tolist() == [1, 1]
    curve = np.array(curves.precision_recall_rows(assets))
    assert curve[-1].tolist() == [0, 1, np.inf] and curve[0, 0] == 1
    assert np.all(np.diff(curve[:, 0]) <= 0) and np.all(np.diff(curve[:, 2]) > 0)
    recall, precision, threshold = curve[len(curve) // 2]
    keep = labels >= 0
    call = probabilities[keep, 1] >= threshold
    assert precision == pytest.approx(sk.precision_score(labels[keep] == 1, call))
    assert recall == pytest.approx(sk.recall_score(labels[keep] == 1, call))


def test_one_side_only_is_refused_with_the_remedy():
    assets, *_ = made(labels=[0] * 125)
    with pytest.raises(SightlineError, match="ingest.split"):
        scores.test_metrics(assets, 0.4)


def test_rows_of_videos():
    assets, labels, probabilities = made(labels=[0, 1] * 20 + [0] * 25 + [-1] * 30 + [0] * 10 + [1] * 20)
    rows = {row["asset_id"]: row for row in scores.video_rows(assets)}
    assert rows["asset0"]["frame_auc"] == pytest.approx(sk.roc_auc_score(labels[:40], probabilities[:40, 1]))
    assert rows["asset1"]["frame_auc"] is None and rows["asset1"]["average_precision"] is None
    assert (rows["asset2"]["labelled"], rows["asset2"]["positives"]) == (30, 20)
    top = int(probabilities[:40, 1].argmax())
    assert rows["asset0"]["top_score"] == probabilities[top, 1]
    assert rows["asset0"]["top_time_s"] == float(top * 9009 * Fraction(1, 90000))
    tops = [row["top_score"] for row in scores.video_rows(assets)]
    assert tops == sorted(tops, reverse=True)


def test_prediction_rows_fit_the_schema_and_count_time_from_the_first_frame_exactly(tmp_path):
    assets, labels, probabilities = made()
    rows = scores.prediction_rows(assets, TASK, "0123456789ab")
    write_shard(tmp_path / "p.parquet", rows, predictions_schema(TASK.classes))
    assert [(row["asset_id"], row["pts"]) for row in rows] == sorted((row["asset_id"], row["pts"]) for row in rows)
    for row, label, row_probabilities in zip(rows, labels, probabilities, strict=True):
        assert row["timestamp_s"] == float((row["pts"] - 126000) * BASE)
        assert row["label"] == (None if label < 0 else TASK.classes[label])
        assert row["score"] == row["prob_suspicious"] == row_probabilities[1]
        assert row["prediction"] == ("suspicious" if row["score"] >= np.float32(0.4) else "normal")
        assert row["uri"] == f"clips/{row['asset_id']}.mpg", "not that of the copy"


def test_stretches_run_to_the_next_frame():
    assets, *_ = made(sizes=(6,), labels=[1, 1, 0, -1, 1, 1])
    step = float(3 * 3003 * BASE)
    expected = [(0.0, 2 * step), (4 * step, 6 * step)]
    assert np.allclose(scores.marked_stretches(assets[0]), expected)
    assets, *_ = made(sizes=(3,), labels=[0, -1, 0])
    assert scores.marked_stretches(assets[0]) == []
