"""Curves, the confusion matrix and the table of classes, against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn import metrics as sk

from components.core.recipe import Task
from components.evaluation import curves
from tests.evaluation.pages import made_content
from tests.evaluation.test_scores import THREE, made

RANKLESS = Task(classes=("rest", "fight", "fall"))


def test_without_a_positive_class_the_curves_are_the_micro_average():
    assets, labels, probabilities = made(RANKLESS)
    keep = labels >= 0
    truth, scores = np.eye(3)[labels[keep]], probabilities[keep]
    roc = np.array(curves.roc_rows(assets))
    assert sk.auc(roc[:, 0], roc[:, 1]) == pytest.approx(sk.roc_auc_score(truth, scores, average="micro"))
    recall, precision, _ = np.array(curves.precision_recall_rows(assets)).T
    area = -np.sum(np.diff(recall) * precision[:-1])
    assert area == pytest.approx(sk.average_precision_score(truth, scores, average="micro"), abs=0.01)


def test_a_curve_of_each_class_against_the_rest():
    assets, labels, probabilities = made(RANKLESS)
    keep, found = labels >= 0, curves.class_roc_rows(assets)
    assert set(found) == set(curves.class_precision_recall_rows(assets)) == {0, 1, 2}
    for index, rows in found.items():
        area = sk.auc([row[0] for row in rows], [row[1] for row in rows])
        assert area == pytest.approx(sk.roc_auc_score(labels[keep] == index, probabilities[keep, index]))


@pytest.mark.parametrize("task", [THREE, RANKLESS], ids=["positive", "none"])
def test_the_table_of_classes_is_sklearns_report(task):
    assets, labels, probabilities = made(task)
    keep = labels >= 0
    called = probabilities[keep].argmax(1)
    report = sk.classification_report(labels[keep], called, target_names=task.classes, output_dict=True)
    for index, row in enumerate(curves.class_rows(assets, task, 0.4)):
        expected = report[row["class"]]
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            (expected["precision"], expected["recall"], expected["f1-score"])
        )
        assert (row["frames"], row["called"]) == (expected["support"], int((called == index).sum()))
        assert row["roc_auc"] == pytest.approx(sk.roc_auc_score(labels[keep] == index, probabilities[keep, index]))


def test_a_class_without_frames_has_no_figures():
    assets, *_ = made(RANKLESS, labels=[0, 2] * 20 + [0] * 25 + [2] * 60)
    row = curves.class_rows(assets, RANKLESS, None)[1]
    assert row["frames"] == 0 and row["called"] > 0
    assert row["precision"] is row["recall"] is row["f1"] is row["roc_auc"] is None


def test_confusions_commonest_first():
    counts = np.array([[5, 2, 0], [3, 0, 2], [0, 0, 0]])
    found = curves.confused_pairs(counts, 2)
    assert [(pair.actual, pair.called, pair.count, pair.share) for pair in found] == [(1, 0, 3, 0.6), (0, 1, 2, 2 / 7)]
    assert len(curves.confused_pairs(counts, 9)) == 3


def test_the_matrix_counts_the_rows_of_the_table():
    content = made_content("abc")
    rows = curves.confusion_rows(content.assets, content.recipe.task)
    expected = sk.confusion_matrix([row[0] for row in rows], [row[1] for row in rows], labels=list("abc"))
    assert content.counts.tolist() == expected.tolist()
