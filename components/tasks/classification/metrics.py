"""Metrics of frame classification: of one positive class against the rest, and of many classes of one rank.

With a positive class, every figure without a suffix but accuracy and log_loss is that class's, against all others:

    frame_auc             area under the ROC curve: how often a positive frame is scored above another one
    average_precision     mean of the precision at each positive frame of the ranking
    f1, precision, recall of the calls

Of more than two classes, or without a positive one (C classes; tp, fp, fn of each against the rest):

    precision_macro       mean over the classes of tp / (tp + fp), 0 for a class that is never called
    recall_macro          mean over the classes of tp / (tp + fn)
    f1_macro              mean over the classes of 2 tp / (2 tp + fp + fn)
    *_weighted            the same means, weighted by each class's number of frames
    balanced_accuracy     accuracy where every class weighs the same; equals recall_macro (Brodersen et al. 2010)
    roc_auc_macro         mean over the classes of the area under the ROC curve of its probability against the rest
    roc_auc_binarised     the same mean with the calls, 0 or 1, in the probabilities' place: the mean of recall and
                          specificity. The published digits article reports it as its ROC AUC; it is none, for it
                          ranks nothing, and it is here for comparison only

Always: accuracy, the share of frames called rightly, and log_loss, the mean of -ln of the true class's probability.

Means over classes are over those that occur among the labels. A class without a frame in the test split has no recall
to average, and counting it as 0 would measure the split, not the model; a frame wrongly called so still counts
against its own class. scikit-learn's figures with `labels=numpy.unique(labels)` are the same.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import rankdata
from sklearn import metrics

from components.core.errors import SightlineError

EPSILON = 1e-7
BINARY = ("frame_auc", "average_precision", "f1", "precision", "recall")
COMMON = ("accuracy", "log_loss")
PER_CLASS = ("f1", "precision", "recall")
MANY = (
    *(f"{name}_{mean}" for mean in ("macro", "weighted") for name in PER_CLASS),
    "balanced_accuracy",
    "roc_auc_macro",
    "roc_auc_binarised",
)


@dataclass(frozen=True)
class Calls:
    """Labelled frames, what the model says of them and what it calls them; figures are computed when asked for.

    labels (N,) class indices; probabilities (N, C); positive: a class index or None; threshold: of the positive class.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    positive: int | None
    threshold: float | None

    @cached_property
    def called(self) -> np.ndarray:
        """The class called for each frame, (N,)."""
        return called_classes(self.probabilities, self.positive, self.threshold)

    @cached_property
    def counts(self) -> np.ndarray:
        """(C, C) int64: frames of class i that were called j."""
        return confusion(self.labels, self.called, self.probabilities.shape[1])

    @cached_property
    def occurring(self) -> np.ndarray:
        """Indices of the classes that occur among the labels."""
        return np.flatnonzero(self.counts.sum(1))

    @cached_property
    def of_classes(self) -> dict[str, np.ndarray]:
        """precision, recall, f1, each (C,) float64: 0 where nothing was called so, NaN where nothing is so."""
        right, actual, called = np.diag(self.counts), self.counts.sum(1), self.counts.sum(0)
        missing = np.where(actual > 0, 0.0, np.nan)
        return {
            "precision": right / np.maximum(called, 1) + missing,
            "recall": right / np.maximum(actual, 1) + missing,
            "f1": 2 * right / np.maximum(actual + called, 1) + missing,
        }

    def auc_of_classes(self) -> np.ndarray:
        """Area under the ROC curve of each class's probability against the rest, (C,); NaN where it is undefined.

        From ranks (Mann and Whitney 1947): equal probabilities count half.
        """
        ranks = rankdata(self.probabilities, axis=0)
        found = np.full(self.probabilities.shape[1], np.nan)
        for index in self.occurring:
            own = self.labels == index
            many, rest = int(own.sum()), int((~own).sum())
            if rest:
                found[index] = (ranks[own, index].sum() - many * (many + 1) / 2) / (many * rest)
        return found

    def figure(self, name: str) -> float:
        """The figure `name` of `figure_names`. Raises KeyError where it is none of them."""
        if name in BINARY and self.positive is not None:
            return self._binary(name)
        kind, _, mean = name.rpartition("_")
        if kind in PER_CLASS and mean in ("macro", "weighted"):
            values = self.of_classes[kind][self.occurring]
            return float(np.average(values, weights=self.counts.sum(1)[self.occurring] if mean == "weighted" else None))
        return {
            "accuracy": self._accuracy,
            "log_loss": lambda: float(_losses(self.labels, self.probabilities).mean()),
            "balanced_accuracy": lambda: float(self.of_classes["recall"][self.occurring].mean()),
            "roc_auc_macro": lambda: float(self.auc_of_classes()[self.occurring].mean()),
            "roc_auc_binarised": self._binarised,
        }[name]()

    def _accuracy(self) -> float:
        return float(np.diag(self.counts).sum() / len(self.labels))

    def _binary(self, name: str) -> float:
        truth = self.labels == self.positive
        if name == "frame_auc":
            return float(metrics.roc_auc_score(truth, self.probabilities[:, self.positive]))
        if name == "average_precision":
            return float(metrics.average_precision_score(truth, self.probabilities[:, self.positive]))
        return float(self.of_classes[name][self.positive])

    def _binarised(self) -> float:
        right, actual, called = np.diag(self.counts), self.counts.sum(1), self.counts.sum(0)
        rest = len(self.labels) - actual
        specificity = 1 - (called - right)[self.occurring] / rest[self.occurring]
        return float((self.of_classes["recall"][self.occurring] + specificity).mean() / 2)


def figure_names(classes: int, positive: int | None) -> tuple[str, ...]:
    """The names of the figures that `frame_metrics` gives of so many classes, in its order."""
    many = MANY if classes > 2 or positive is None else ()
    return (*(() if positive is None else BINARY), *COMMON, *many)


def frame_metrics(
    labels: np.ndarray, probabilities: np.ndarray, positive: int | None, threshold: float | None = 0.5
) -> dict[str, float]:
    """Figures of labelled frames by the names of `figure_names`; the module says what they are.

    labels (N,) class indices; probabilities (N, C). What is called is `called_classes`. Raises SightlineError where
    the ranking metrics are undefined because only one side, or without a positive class only one class, occurs.
    """
    if not defined(labels, positive):
        occurring = len(labels) > 0 and (positive is None or labels[0] == positive)
        side = "one class" if positive is None else f"{'' if occurring else 'not '}of the positive class"
        raise SightlineError(
            f"metrics: all {len(labels)} labelled frames are {'of ' if positive is None else ''}{side}",
            "hold out assets that show both; see ingest.split in params.yaml",
        )
    calls = Calls(labels, probabilities, positive, threshold)
    return {name: calls.figure(name) for name in figure_names(probabilities.shape[1], positive)}


def defined(labels: np.ndarray, positive: int | None) -> bool:
    """True where both sides (with a positive class), or two classes (without one), occur among the labels (N,)."""
    sides = labels if positive is None else labels == positive
    return len(sides) > 0 and bool((sides != sides[0]).any())


def called_classes(probabilities: np.ndarray, positive: int | None, threshold: float | None) -> np.ndarray:
    """The class called for each frame, (N,): of two the positive one from `threshold` on; else the likeliest."""
    if probabilities.shape[1] == 2 and positive is not None:
        return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
    return probabilities.argmax(1)


def confusion(labels: np.ndarray, called: np.ndarray, classes: int) -> np.ndarray:
    """(C, C) int64: how many frames of class i, by labels (N,), were called j, by called (N,)."""
    return np.bincount(labels * classes + called, minlength=classes * classes).reshape(classes, classes)


def balanced_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Log loss with every class that occurs given the same weight: what the heads are trained and stopped on."""
    losses = _losses(labels, probabilities)
    return float(np.mean([losses[labels == index].mean() for index in np.unique(labels)]))


def _losses(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """-ln of the true class's probability, (N,) float64."""
    clipped = probabilities.astype(np.float64).clip(EPSILON, 1 - EPSILON)
    return -np.log(clipped[np.arange(len(labels)), labels])


def best_threshold(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> float:
    """The score from which on calling frames positive gives the highest F1: midway between two neighbouring scores."""
    scores = probabilities[:, positive].astype(np.float64)
    precision, recall, thresholds = metrics.precision_recall_curve(labels == positive, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, EPSILON)
    at = int(np.argmax(f1[:-1]))
    below = scores[scores < thresholds[at]]
    return float((thresholds[at] + below.max()) / 2) if len(below) else float(thresholds[at])
