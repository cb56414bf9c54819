"""What the scores of the held-out assets say: predictions, metrics, a row per asset. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

import numpy as np
import pyarrow as pa
from sklearn import metrics

from components.core.recipe import Task
from components.core.tables import predictions_schema
from components.evaluation.boxes import FrameBoxes, box_figures, box_matches, box_precision
from components.evaluation.slices import asset_slices, near_duplicates, slice_metrics
from components.evaluation.tracks import FrameTracks, frame_tracks
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.metrics import COMMON, MANY, Calls, called_classes, defined, frame_metrics
from components.tasks.classification.samples import Samples


@dataclass(frozen=True)
class Scored:
    """One asset's sampled frames in pts order. All arrays have N rows; `labels` are class indices or UNLABELLED.

    probabilities (N, C) float32; called (N,) class indices; positive: the positive class's index, or None; boxes: of a
    detector; tracks: of one that has a tracker; slices: the asset's part of each of `slices.DIMENSIONS`.
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
    positive: int | None
    boxes: FrameBoxes | None = None
    tracks: FrameTracks | None = None
    slices: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def scores(self) -> np.ndarray:
        """Probability of the positive class, or without one of the class called; (N,) float32."""
        if self.positive is None:
            return self.probabilities[np.arange(len(self.called)), self.called]
        return self.probabilities[:, self.positive]

    @cached_property
    def wrong(self) -> np.ndarray:
        """(N,) bool: labelled, and called another class."""
        return (self.labels != UNLABELLED) & (self.called != self.labels)

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
    samples: Samples, probabilities: np.ndarray, catalog: Iterable[dict], task: Task, threshold: float | None
) -> list[Scored]:
    """The samples asset by asset, in the order of asset ids, with what the catalog says of each."""
    rows = {row["asset_id"]: row for row in catalog if row["status"] == "ok"}
    positive = task.positive_index
    called = called_classes(probabilities, positive, threshold)
    tracks, found = frame_tracks(samples), []
    for index, asset in enumerate(samples.asset_ids):
        at, row = samples.rows(index), rows[asset]
        found.append(
            Scored(
                asset, row["name"], row["uri"], row["sha256"], row["kind"],
                Fraction(row["time_base_num"] or 1, row["time_base_den"] or 1),
                row["first_pts"] or 0, row["last_pts"] or 0, samples.frame_ids[at], samples.frame_index[at],
                samples.pts[at], samples.labels[at], probabilities[at], called[at], positive,
                FrameBoxes.of(samples, at), tracks[index], asset_slices(row),
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
            "model_version": model_version, **asset.slices, **(asset.boxes.columns(i) if asset.boxes else {}),
            **(asset.tracks.columns(i) if asset.tracks else {}),
            **{f"prob_{name}": float(value) for name, value in zip(task.classes, asset.probabilities[i], strict=True)},
        }
        for asset in assets
        for i in range(len(asset.pts))
    ]  # fmt: skip


def schema(assets: list[Scored], task: Task) -> pa.Schema:
    """The predictions table's schema: with what there is of these assets."""
    return predictions_schema(task.classes, assets[0].boxes is not None, assets[0].tracks is not None)


def _name(task: Task, label: int) -> str | None:
    return None if label == UNLABELLED else task.classes[label]


def labelled(assets: Sequence[Scored]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """labels (N,), probabilities (N, C), called (N,) of the labelled frames."""
    kept = [(asset, asset.labels != UNLABELLED) for asset in assets]
    parts = [(asset.labels[keep], asset.probabilities[keep], asset.called[keep]) for asset, keep in kept]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def measured(assets: list[Scored], catalog: list[dict], threshold: float | None) -> dict:
    """What metrics.json holds: `test_metrics`, `near_duplicates_in_train`, and where there are any, `slices`."""
    usable = [row for row in catalog if row["status"] == "ok"]
    here = {asset.asset_id for asset in assets}
    test = [row for row in usable if row["asset_id"] in here]
    train = [row for row in usable if row["split"] == "train"]
    slices = slice_metrics(assets, threshold)
    return {
        **test_metrics(assets, threshold),
        **box_figures(assets, threshold),
        "near_duplicates_in_train": near_duplicates(test, train),
        **({"slices": slices} if slices else {}),
    }


def test_metrics(assets: list[Scored], threshold: float | None) -> dict[str, float | int]:
    """`frame_metrics` of the labelled frames at this threshold, and counts: frames, assets, true and false calls.

    Without a positive class there are no true and false calls; where there are figures over classes, `classes` is the
    number of those that occur. Where the labels are of one side only, a detector whose true boxes are known has those
    of the figures that do not rank, COMMON; else SightlineError is raised.
    """
    labels, probabilities, called = labelled(assets)
    positive = assets[0].positive
    if len(labels) and not defined(labels, positive) and box_matches(assets) is not None:
        calls = Calls(labels, probabilities, positive, threshold)
        figures: dict[str, float | int] = {name: calls.figure(name) for name in COMMON}
    else:
        figures = dict(frame_metrics(labels, probabilities, positive, threshold))
    if MANY[0] in figures:
        figures["classes"] = len(np.unique(labels))
    if threshold is not None:
        figures["threshold"] = float(threshold)
    figures |= {
        "assets": len(assets),
        "frames": sum(len(asset.pts) for asset in assets),
        "labelled_frames": len(labels),
    }
    if positive is None:
        return figures
    truth, call = labels == positive, called == positive
    return figures | {
        "true_positives": int(np.sum(truth & call)),
        "false_positives": int(np.sum(~truth & call)),
        "true_negatives": int(np.sum(~truth & ~call)),
        "false_negatives": int(np.sum(truth & ~call)),
    }


test_metrics.__test__ = False  # pytest: not a test


def video_rows(assets: list[Scored]) -> list[dict]:
    """A row per asset with name, frames, labelled, and:

    with a positive class, the highest score first: positives, frame_auc and average_precision (None where the labels
    are of one side), top_score and top_time_s; without one, those with the most wrong calls first: wrong, accuracy
    (None where nothing is labelled), and score, the mean probability of what was called. Of a detector also ap50 (None
    without a true box).
    """
    if assets[0].positive is None:
        return sorted(map(_called_row, assets), key=lambda row: (-row["wrong"], -row["score"], row["name"]))
    return [_ranked_row(asset) for asset in sorted(assets, key=lambda asset: (-asset.scores.max(), asset.name))]


def _asset_row(asset: Scored) -> dict:
    known = int((asset.labels != UNLABELLED).sum())
    row = {"asset_id": asset.asset_id, "name": asset.name, "frames": len(asset.pts), "labelled": known}
    return row | ({} if asset.boxes is None else {"ap50": box_precision([asset])})


def _called_row(asset: Scored) -> dict:
    row, wrong = _asset_row(asset), int(asset.wrong.sum())
    accuracy = 1 - wrong / row["labelled"] if row["labelled"] else None
    return row | {"wrong": wrong, "accuracy": accuracy, "score": float(asset.scores.mean(dtype=np.float64))}


def _ranked_row(asset: Scored) -> dict:
    keep = asset.labels != UNLABELLED
    truth, scores = asset.labels[keep] == asset.positive, asset.scores[keep]
    both, top = bool(truth.any() and not truth.all()), int(np.argmax(asset.scores))
    return _asset_row(asset) | {
        "positives": int(truth.sum()),
        "frame_auc": float(metrics.roc_auc_score(truth, scores)) if both else None,
        "average_precision": float(metrics.average_precision_score(truth, scores)) if both else None,
        "top_score": float(asset.scores[top]),
        "top_time_s": float(asset.seconds[top]),
    }


def marked_stretches(asset: Scored) -> list[tuple[float, float]]:
    """Stretches labelled positive, or without a positive class called wrongly, as (begin, end) seconds: from a run's
    first frame to the frame after its last."""
    marked = asset.wrong if asset.positive is None else asset.labels == asset.positive
    edges = np.flatnonzero(np.diff(np.concatenate([[False], marked, [False]])))
    end = max(asset.duration, float(asset.seconds[-1]))
    times = np.append(asset.seconds, end)
    return [(float(times[begin]), float(times[stop])) for begin, stop in edges.reshape(-1, 2)]
