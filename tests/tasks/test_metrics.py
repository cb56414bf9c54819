"""Metrics at known answers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.tasks.classification.metrics import balanced_log_loss, best_threshold, called_classes, frame_metrics


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
