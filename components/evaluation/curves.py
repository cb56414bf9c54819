"""Curves, confusion and the figures of each class, out of the held-out assets' scores. Pure."""

from dataclasses import dataclass

import numpy as np
from sklearn import metrics

from components.core.recipe import Task
from components.evaluation.scores import Scored, labelled
from components.tasks.classification.metrics import Calls, confusion


@dataclass(frozen=True)
class Pair:
    """Frames of class `actual` that were called `called`: their number, and that number over all of class `actual`."""

    actual: int
    called: int
    count: int
    share: float


def roc_rows(assets: list[Scored]) -> list[tuple[float, float, float]]:
    """(false positive rate, true positive rate, threshold) from (0, 0, inf) to (1, 1).

    Of the positive class against the rest; without one the micro-average: each frame asks once for every class whether
    it is that class, and all the answers make one curve.
    """
    return _roc(*_answers(assets))


def precision_recall_rows(assets: list[Scored]) -> list[tuple[float, float, float]]:
    """(recall, precision, threshold), recall falling from 1 to 0; at the last, threshold inf, nothing is called.

    Of the positive class or, without one, the micro-average, as `roc_rows`.
    """
    return _precision_recall(*_answers(assets))


def class_roc_rows(assets: list[Scored]) -> dict[int, list[tuple[float, float, float]]]:
    """`roc_rows` of each class against the rest, for the classes of which both sides occur."""
    return {index: _roc(*sides) for index, sides in _against_the_rest(assets).items()}


def class_precision_recall_rows(assets: list[Scored]) -> dict[int, list[tuple[float, float, float]]]:
    """`precision_recall_rows` of each class against the rest, for the classes of which both sides occur."""
    return {index: _precision_recall(*sides) for index, sides in _against_the_rest(assets).items()}


def _answers(assets: list[Scored]) -> tuple[np.ndarray, np.ndarray]:
    """truth and scores, both (N,) or of all classes one after the other, (N * C,)."""
    labels, probabilities, _ = labelled(assets)
    positive = assets[0].positive
    if positive is not None:
        return labels == positive, probabilities[:, positive]
    return (labels[:, None] == np.arange(probabilities.shape[1])).ravel(), probabilities.ravel()


def _against_the_rest(assets: list[Scored]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    labels, probabilities, _ = labelled(assets)
    return {
        int(index): (labels == index, probabilities[:, index]) for index in np.unique(labels) if (labels != index).any()
    }


def _roc(truth: np.ndarray, scores: np.ndarray) -> list[tuple[float, float, float]]:
    return [tuple(map(float, row)) for row in zip(*metrics.roc_curve(truth, scores), strict=True)]


def _precision_recall(truth: np.ndarray, scores: np.ndarray) -> list[tuple[float, float, float]]:
    precision, recall, thresholds = metrics.precision_recall_curve(truth, scores, drop_intermediate=True)
    return [tuple(map(float, row)) for row in zip(recall, precision, np.append(thresholds, np.inf), strict=True)]


def confusion_rows(assets: list[Scored], task: Task) -> list[tuple[str, str]]:
    """(actual, predicted) class names, a row per labelled frame, sorted: the form of DVC's confusion template."""
    labels, _, called = labelled(assets)
    return sorted((task.classes[actual], task.classes[call]) for actual, call in zip(labels, called, strict=True))


def confusion_counts(assets: list[Scored], task: Task) -> np.ndarray:
    """(C, C) int64: labelled frames of class i that were called j."""
    labels, _, called = labelled(assets)
    return confusion(labels, called, len(task.classes))


def confused_pairs(counts: np.ndarray, most: int) -> list[Pair]:
    """The `most` commonest confusions of a confusion matrix, the commonest first, equal ones in the classes' order."""
    pairs = [Pair(i, j, int(n), float(n / counts[i].sum())) for (i, j), n in np.ndenumerate(counts) if i != j and n]
    return sorted(pairs, key=lambda pair: (-pair.count, pair.actual, pair.called))[:most]


def class_rows(assets: list[Scored], task: Task, threshold: float | None) -> list[dict]:
    """A row per class: class, precision, recall, f1, roc_auc (against the rest), frames (labelled so), called.

    The figures of a class without a labelled frame are None, and so is roc_auc where all frames are of one class.
    """
    labels, probabilities, _ = labelled(assets)
    calls = Calls(labels, probabilities, assets[0].positive, threshold)
    figures = {**calls.of_classes, "roc_auc": calls.auc_of_classes()}
    return [
        {
            "class": name,
            **{key: None if np.isnan(values[i]) else float(values[i]) for key, values in figures.items()},
            "frames": int(calls.counts[i].sum()),
            "called": int(calls.counts[:, i].sum()),
        }
        for i, name in enumerate(task.classes)
    ]
