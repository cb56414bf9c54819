"""Metrics at known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn import preprocessing as sk_preprocessing

from components.core.errors import SightlineError
from components.tasks.classification.metrics import (
    balanced_log_loss,
    best_threshold,
    called_classes,
    defined,
    figure_names,
    frame_metrics,
)


def two(scores) -> np.ndarray:
    scores = np.asarray(scores, np.float32)
    return np.stack([1 - scores, scores], 1)


def test_known_figures():
    figures = frame_metrics(np.array([0, 0, 1, 1]), two([0.1, 0.6, 0.4, 0.9]), positive=1)
    assert figures["frame_auc"] == 0.75
    assert (figures["precision"], figures["recall"], figures["f1"], figures["accuracy"]) == (0.5, 0.5, 0.5, 0.5)


def test_one_sided_labels_are_refused():
    with pytest.raises(SightlineError, match="all 3 labelled frames"):
        frame_metrics(np.zeros(3, np.int64), two([0.1, 0.2, 0.3]), positive=1)


def test_balanced_loss_weighs_classes_alike():
    rare = balanced_log_loss(np.array([0] * 99 + [1]), two([0.5] * 99 + [0.25]))
    assert rare == pytest.approx((-np.log(0.5) - np.log(0.25)) / 2, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=2, max_size=40))
def test_best_threshold_is_the_best(pairs):
    labels = np.array([int(truth) for truth, _ in pairs])
    if labels.all() or not labels.any():
        return
    scores = two([score / 20 for _, score in pairs])

    def f1(threshold):
        return frame_metrics(labels, scores, 1, threshold)["f1"]

    chosen = best_threshold(labels, scores, 1)
    assert f1(chosen) == pytest.approx(max(f1(t) for t in np.arange(0, 1.05, 0.025)))
    assert set(called_classes(scores, 1, chosen)) <= {0, 1}


def many(labels, seed=0, classes=4) -> np.ndarray:
    """Probabilities that lean towards the labels."""
    random = np.random.default_rng(seed)
    logits = random.normal(0, 1, (len(labels), classes))
    logits[np.arange(len(labels)), labels] += 1
    exact = np.exp(logits)
    return (exact / exact.sum(1, keepdims=True)).astype(np.float32)


def published_auc(truth, called) -> float:
    """The published digits article's figure: binarised labels and calls, macro."""
    binarizer = sk_preprocessing.LabelBinarizer().fit(truth)
    return sk.roc_auc_score(binarizer.transform(truth), binarizer.transform(called), average="macro")


@pytest.mark.parametrize("positive", [None, 2])
@pytest.mark.parametrize("occurring", [(0, 1, 2, 3), (1, 2, 3), (0, 2)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_many_classes_as_sklearn_has_them(occurring, seed, positive):
    """Also where classes are missing among the labels: means are over those that occur."""
    labels = np.random.default_rng(seed).choice(occurring, 60)
    probabilities = many(labels, seed)
    called, there = probabilities.argmax(1), list(occurring)
    assert set(called) - set(there) or len(there) == 4, "some frames are called a class that does not occur"
    found = frame_metrics(labels, probabilities, positive)
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(1, keepdims=True)
    expected = {
        "accuracy": sk.accuracy_score(labels, called),
        "balanced_accuracy": sk.recall_score(labels, called, labels=there, average="macro"),
        "log_loss": sk.log_loss(labels, exact, labels=range(4)),
        "roc_auc_macro": np.mean([sk.roc_auc_score(labels == c, probabilities[:, c]) for c in there]),
        "roc_auc_binarised": np.mean([sk.roc_auc_score(labels == c, called == c) for c in there]),
    }
    for mean in ("macro", "weighted"):
        for name, figure in (("f1", sk.f1_score), ("precision", sk.precision_score), ("recall", sk.recall_score)):
            expected[f"{name}_{mean}"] = figure(labels, called, labels=there, average=mean, zero_division=0.0)
    if positive is not None:
        expected |= {
            "frame_auc": sk.roc_auc_score(labels == positive, probabilities[:, positive]),
            "average_precision": sk.average_precision_score(labels == positive, probabilities[:, positive]),
            "f1": sk.f1_score(labels == positive, called == positive),
            "precision": sk.precision_score(labels == positive, called == positive),
            "recall": sk.recall_score(labels == positive, called == positive),
        }
    assert found == pytest.approx(expected, rel=1e-5)
    assert tuple(found) == figure_names(4, positive)


def test_the_articles_figure_is_reproduced():
    """With every class among the labels, and with two classes, where the binariser makes one column."""
    labels = np.random.default_rng(1).integers(0, 4, 50)
    probabilities = many(labels, 1)
    found = frame_metrics(labels, probabilities, None)["roc_auc_binarised"]
    assert found == pytest.approx(published_auc(labels, probabilities.argmax(1)))
    labels = labels % 2
    probabilities = many(labels, 2, classes=2)
    found = frame_metrics(labels, probabilities, None)
    assert found["roc_auc_binarised"] == pytest.approx(published_auc(labels, probabilities.argmax(1)))
    assert found["roc_auc_macro"] == pytest.approx(sk.roc_auc_score(labels, probabilities[:, 1]))
    assert "frame_auc" not in found and "f1" not in found


def test_three_classes_by_hand():
    """Calls 0 0 1 / 1 / 2 0 of labels 0 0 0 / 1 / 2 2."""
    probabilities = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]] * 0.8 + 0.1
    found = frame_metrics(np.array([0, 0, 0, 1, 2, 2]), probabilities, None)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["precision_macro"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["recall_macro"] == found["balanced_accuracy"] == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 2 / 3 + 2 / 3) / 3)
    assert found["recall_weighted"] == pytest.approx(found["accuracy"])
    assert found["roc_auc_binarised"] == pytest.approx(((2 / 3 + 2 / 3) + (1 + 4 / 5) + (1 / 2 + 1)) / 6)


def test_equal_probabilities_count_half_in_the_auc():
    probabilities = np.full((6, 3), 1 / 3, np.float32)
    found = frame_metrics(np.array([0, 1, 2, 0, 1, 2]), probabilities, None)
    assert found["roc_auc_macro"] == 0.5


@pytest.mark.parametrize(("labels", "positive"), [([1, 1], None), ([1, 1], 1), ([0, 2], 1), ([], None), ([], 1)])
def test_labels_of_one_side_are_refused_whatever_the_kind(labels, positive):
    labels = np.array(labels, np.int64)
    assert not defined(labels, positive)
    with pytest.raises(SightlineError, match="ingest.split"):
        frame_metrics(labels, many(labels, classes=3), positive)


def test_without_a_positive_class_the_likeliest_is_called():
    scores = two([0.1, 0.5, 0.7])
    assert called_classes(scores, None, None).tolist() == [0, 0, 1]
    assert called_classes(scores, 1, 0.6).tolist() == [0, 0, 1]
    assert called_classes(scores, 0, 0.5).tolist() == [0, 0, 1]
    assert called_classes(scores, 1, 0.05).tolist() == [1, 1, 1]
