"""What the scores of the held-out assets say: predictions, metrics, curves, confusion, a row per video. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from sklearn import metrics

from components.core.recipe import Task
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.metrics import called_classes, frame_metrics
from components.tasks.classification.samples import Samples


@dataclass(frozen=True)
class Scored:
    """One asset's sampled frames in pts order. All arrays have N rows; `labels` are class indices or UNLABELLED.

    probabilities (N, C) float32; called (N,) class indices; scores: the positive class's column.
    """

    asset_id: str
    name: str
    uri: str
    sha256: str
    kind: str
    time_base: Fraction
    first_pts: int
    last_pts: int
    frame_ids: list[str]
    frame_index: np.ndarray
    pts: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    called: np.ndarray
    positive: int

    @property
    def scores(self) -> np.ndarray:
        """Probability of the positive class, (N,) float32."""
        return self.probabilities[:, self.positive]

    @cached_property
    def seconds(self) -> np.ndarray:
        """Time since the asset's first frame, (N,) float64: what a player shows. Exact quotients, each rounded once."""
        base = self.time_base
        return np.array([int(pts - self.first_pts) * base.numerator / base.denominator for pts in self.pts])

    @property
    def duration(self) -> float:
        """Seconds from the asset's first to its last frame."""
        return float((max(self.last_pts, int(self.pts[-1])) - self.first_pts) * self.time_base)


def scored_assets(
    samples: Samples, probabilities: np.ndarray, catalog: Iterable[dict], task: Task, threshold: float
) -> list[Scored]:
    """The samples asset by asset, in the order of asset ids, with what the catalog says of each."""
    rows = {row["asset_id"]: row for row in catalog if row["status"] == "ok"}
    positive = task.classes.index(task.positive)
    called = called_classes(probabilities, positive, threshold)
    found = []
    for index, asset in enumerate(samples.asset_ids):
        at, row = samples.rows(index), rows[asset]
        found.append(
            Scored(
                asset, row["name"], row["uri"], row["sha256"], row["kind"],
                Fraction(row["time_base_num"] or 1, row["time_base_den"] or 1),
                row["first_pts"] or 0, row["last_pts"] or 0, samples.frame_ids[at], samples.frame_index[at],
                samples.pts[at], samples.labels[at], probabilities[at], called[at], positive,
            )
        )  # fmt: skip
    return sorted(found, key=lambda asset: asset.asset_id)


def prediction_rows(assets: list[Scored], task: Task, model_version: str) -> list[dict]:
    """Rows of `core.tables.predictions_schema`, sorted by (asset_id, pts)."""
    return [
        {
            "uri": asset.uri, "asset_id": asset.asset_id, "frame_index": int(asset.frame_index[i]),
            "pts": int(asset.pts[i]), "timestamp_s": float(asset.seconds[i]), "label": _name(task, asset.labels[i]),
            "prediction": task.classes[asset.called[i]], "score": float(asset.scores[i]),
            "model_version": model_version,
            **{f"prob_{name}": float(value) for name, value in zip(task.classes, asset.probabilities[i], strict=True)},
        }
        for asset in assets
        for i in range(len(asset.pts))
    ]  # fmt: skip


def _name(task: Task, label: int) -> str | None:
    return None if label == UNLABELLED else task.classes[label]


def _labelled(assets: list[Scored]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """labels (N,), probabilities (N, C), called (N,) of the labelled frames."""
    kept = [(asset, asset.labels != UNLABELLED) for asset in assets]
    parts = [(asset.labels[keep], asset.probabilities[keep], asset.called[keep]) for asset, keep in kept]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def test_metrics(assets: list[Scored], threshold: float) -> dict[str, float | int]:
    """`frame_metrics` of the labelled frames at this threshold, and counts: frames, assets, true and false calls.

    Raises SightlineError where no or every labelled frame is of the positive class.
    """
    labels, probabilities, called = _labelled(assets)
    positive = assets[0].positive
    truth, call = labels == positive, called == positive
    return {
        **frame_metrics(labels, probabilities, positive, threshold),
        "threshold": float(threshold),
        "assets": len(assets),
        "frames": sum(len(asset.pts) for asset in assets),
        "labelled_frames": len(labels),
        "true_positives": int(np.sum(truth & call)),
        "false_positives": int(np.sum(~truth & call)),
        "true_negatives": int(np.sum(~truth & ~call)),
        "false_negatives": int(np.sum(truth & ~call)),
    }


test_metrics.__test__ = False  # pytest: not a test


def roc_rows(assets: list[Scored]) -> list[tuple[float, float, float]]:
    """(false positive rate, true positive rate, threshold) from (0, 0, inf) to (1, 1)."""
    labels, probabilities, _ = _labelled(assets)
    truth, scores = labels == assets[0].positive, probabilities[:, assets[0].positive]
    return [tuple(map(float, row)) for row in zip(*metrics.roc_curve(truth, scores), strict=True)]


def precision_recall_rows(assets: list[Scored]) -> list[tuple[float, float, float]]:
    """(recall, precision, threshold), recall falling from 1 to 0; at the last, threshold inf, nothing is called."""
    labels, probabilities, _ = _labelled(assets)
    truth, scores = labels == assets[0].positive, probabilities[:, assets[0].positive]
    precision, recall, thresholds = metrics.precision_recall_curve(truth, scores, drop_intermediate=True)
    return [tuple(map(float, row)) for row in zip(recall, precision, np.append(thresholds, np.inf), strict=True)]


def confusion_rows(assets: list[Scored], task: Task) -> list[tuple[str, str]]:
    """(actual, predicted) class names, a row per labelled frame, sorted: the form of DVC's confusion template."""
    labels, _, called = _labelled(assets)
    return sorted((task.classes[actual], task.classes[call]) for actual, call in zip(labels, called, strict=True))


def video_rows(assets: list[Scored]) -> list[dict]:
    """A row per asset, the highest score first: name, counts, frame_auc and average_precision (None where the labels
    are of one side), top_score and top_time_s."""
    return [_video_row(asset) for asset in sorted(assets, key=lambda asset: (-asset.scores.max(), asset.name))]


def _video_row(asset: Scored) -> dict:
    keep = asset.labels != UNLABELLED
    truth, scores = asset.labels[keep] == asset.positive, asset.scores[keep]
    both, top = bool(truth.any() and not truth.all()), int(np.argmax(asset.scores))
    return {
        "asset_id": asset.asset_id,
        "name": asset.name,
        "frames": len(asset.pts),
        "labelled": int(keep.sum()),
        "positives": int(truth.sum()),
        "frame_auc": float(metrics.roc_auc_score(truth, scores)) if both else None,
        "average_precision": float(metrics.average_precision_score(truth, scores)) if both else None,
        "top_score": float(asset.scores[top]),
        "top_time_s": float(asset.seconds[top]),
    }


def positive_stretches(asset: Scored) -> list[tuple[float, float]]:
    """Stretches labelled positive, as (begin, end) seconds: from a run's first frame to the frame after its last."""
    truth = np.concatenate([[False], asset.labels == asset.positive, [False]])
    edges = np.flatnonzero(np.diff(truth))
    end = max(asset.duration, float(asset.seconds[-1]))
    times = np.append(asset.seconds, end)
    return [(float(times[begin]), float(times[stop])) for begin, stop in edges.reshape(-1, 2)]
