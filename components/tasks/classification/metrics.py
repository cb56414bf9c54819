"""Metrics of frame classification, by scikit-learn."""

import numpy as np
from sklearn import metrics

from components.core.errors import SightlineError

EPSILON = 1e-7


def frame_metrics(
    labels: np.ndarray, probabilities: np.ndarray, positive: int, threshold: float = 0.5
) -> dict[str, float]:
    """Figures of labelled frames: frame_auc, average_precision, f1, precision, recall, accuracy, log_loss.

    labels (N,) class indices; probabilities (N, C). A frame is called positive from `threshold` on; with more than two
    classes the most probable one is called, and f1, precision and recall are those of the positive class. Raises
    SightlineError where a ranking metric is undefined because only one side occurs.
    """
    truth = labels == positive
    if truth.all() or not truth.any():
        raise SightlineError(
            f"metrics: all {len(truth)} labelled frames are {'' if truth.any() else 'not '}of the positive class",
            "hold out assets that show both; see ingest.split in params.yaml",
        )
    scores = probabilities[:, positive]
    called = called_classes(probabilities, positive, threshold)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(
        truth, called == positive, average="binary", zero_division=0.0
    )
    clipped = probabilities.astype(np.float64).clip(EPSILON, 1 - EPSILON)
    figures = {
        "frame_auc": metrics.roc_auc_score(truth, scores),
        "average_precision": metrics.average_precision_score(truth, scores),
        "f1": f1,
        "precision": precision,
        "recall": recall,
        "accuracy": float(np.mean(called == labels)),
        "log_loss": float(-np.log(clipped[np.arange(len(labels)), labels]).mean()),
    }
    return {name: float(value) for name, value in figures.items()}


def called_classes(probabilities: np.ndarray, positive: int, threshold: float) -> np.ndarray:
    """The class called for each frame, (N,): of two the positive one from `threshold` on, of more the likeliest."""
    if probabilities.shape[1] == 2:
        return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
    return probabilities.argmax(1)


def balanced_log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Log loss with every class that occurs given the same weight: what the heads are trained and stopped on."""
    clipped = probabilities.astype(np.float64).clip(EPSILON, 1 - EPSILON)
    losses = -np.log(clipped[np.arange(len(labels)), labels])
    return float(np.mean([losses[labels == index].mean() for index in np.unique(labels)]))


def best_threshold(labels: np.ndarray, probabilities: np.ndarray, positive: int) -> float:
    """The score from which on calling frames positive gives the highest F1: midway between two neighbouring scores."""
    scores = probabilities[:, positive].astype(np.float64)
    precision, recall, thresholds = metrics.precision_recall_curve(labels == positive, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, EPSILON)
    at = int(np.argmax(f1[:-1]))
    below = scores[scores < thresholds[at]]
    return float((thresholds[at] + below.max()) / 2) if len(below) else float(thresholds[at])
