"""What the stages before have left: figures, failed checks, scores, and the function that a gate's metric names."""

from functools import partial

import numpy as np
import pyarrow as pa

from components.core.errors import UsageError
from components.core.recipe import Task, nearest
from components.promotion import boxes, tracks
from components.promotion.compare import Metric, Scores
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.metrics import Calls, defined, figure_names

SLICES = ("site", "light", "camera")  # columns of the predictions table


def numbers(metrics: dict) -> dict[str, float]:
    """The single figures among an evaluation's metrics."""
    return {
        name: float(value)
        for name, value in sorted(metrics.items())
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }


def failed_checks(validation: dict) -> list[str]:
    """What failed in the validation stage's report, in its words; a report that does not claim success has failed."""
    failed = [
        f"{name}: {one.get('says', one.get('expectation', 'an expectation'))}"
        for name, suite in sorted(validation.get("suites", {}).items())
        for one in suite.get("failed", [])
    ]
    return failed or ([] if validation.get("success") is True else ["the validation as a whole"])


def judged_scores(predictions: pa.Table, task: Task, threshold: float | None, metric: str) -> Scores:
    """`labelled_scores`, or where `metric` is one of boxes, those with the boxes; where it is one of tracks, all of the
    frames of which it is known what they show, with the tracks. Raises KeyError as they do."""
    if metric in tracks.METRICS:
        return tracks.with_tracks(_scores(predictions, task, threshold), predictions, task.classes)
    scores = labelled_scores(predictions, task, threshold)
    return boxes.with_boxes(scores, predictions, len(task.classes)) if metric in boxes.METRICS else scores


def labelled_scores(predictions: pa.Table, task: Task, threshold: float | None) -> Scores:
    """The rows of a predictions table whose label is one of the task's classes, as Scores.

    Raises KeyError naming the column where the table has no probability of one of the classes.
    """
    scores = _scores(predictions, task, threshold)
    return scores.at(np.flatnonzero(scores.labels != UNLABELLED))


def _scores(predictions: pa.Table, task: Task, threshold: float | None) -> Scores:
    columns = []
    for name in task.classes:
        if f"prob_{name}" not in predictions.column_names:
            raise KeyError(f"prob_{name}")
        columns.append(predictions[f"prob_{name}"].to_numpy())
    index = {name: number for number, name in enumerate(task.classes)}
    labels = np.array([index.get(label, UNLABELLED) for label in predictions["label"].to_pylist()], dtype=np.int64)
    keys = list(zip(predictions["asset_id"].to_pylist(), predictions["frame_index"].to_pylist(), strict=True))
    return Scores(keys, labels, np.stack(columns, axis=1).astype(np.float32), threshold)


def asset_slices(predictions: pa.Table) -> dict[tuple[str, str], set[str]]:
    """The assets of each slice (dimension, name) that a predictions table tells of."""
    found: dict[tuple[str, str], set[str]] = {}
    assets = predictions["asset_id"].to_pylist()
    for dimension in SLICES:
        for asset, name in zip(assets, predictions[dimension].to_pylist(), strict=True):
            if name is not None:
                found.setdefault((dimension, name), set()).add(asset)
    return found


def gate_metric(name: str, task: Task) -> Metric:
    """The figure `name` of `frame_metrics`, as a function of labels, probabilities and threshold; of boxes and tracks,
    of what their scores show.

    It is NaN where the labels are of one side only, and where there is nothing to be found or followed. Raises
    UsageError where the task has no such figure.
    """
    names = figure_names(len(task.classes), task.positive_index)
    if task.kind == "detection":
        if name in boxes.METRICS:
            return boxes.ap50
        if task.tracks and name in tracks.METRICS:
            return partial(tracks.figure, name)
        names = (*(tracks.METRICS if task.tracks else ()), *boxes.METRICS, *names)
    if name not in names:
        raise UsageError(f"promotion.gates.metric: no metric {name!r} of this task", nearest(name, list(names)))
    return partial(_figure, name, task.positive_index)


def _figure(
    name: str, positive: int | None, labels: np.ndarray, probabilities: np.ndarray, threshold: float | None
) -> float:
    if not defined(labels, positive):
        return float("nan")
    return Calls(labels, probabilities, positive, threshold).figure(name)
