"""What the stages before have left: figures, failed checks, scores, and the function that a gate's metric names."""

from functools import partial

import numpy as np
import pyarrow as pa

from components.core.recipe import Task
from components.promotion.compare import Metric, Scores
from components.tasks.classification.metrics import frame_metrics


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


def labelled_scores(predictions: pa.Table, task: Task, threshold: float) -> Scores:
    """The rows of a predictions table whose label is one of the task's classes, as Scores.

    Raises KeyError naming the column where the table has no probability of one of the classes.
    """
    columns = []
    for name in task.classes:
        if f"prob_{name}" not in predictions.column_names:
            raise KeyError(f"prob_{name}")
        columns.append(predictions[f"prob_{name}"].to_numpy())
    index = {name: number for number, name in enumerate(task.classes)}
    labels = np.array([index.get(label, -1) for label in predictions["label"].to_pylist()], dtype=np.int64)
    known = np.flatnonzero(labels >= 0)
    assets, frames = predictions["asset_id"].to_pylist(), predictions["frame_index"].to_pylist()
    keys = [(assets[row], frames[row]) for row in known]
    return Scores(keys, labels[known], np.stack(columns, axis=1)[known].astype(np.float32), threshold)


def gate_metric(name: str, task: Task) -> Metric:
    """The figure `name` of `frame_metrics`, as a function of labels, probabilities and threshold."""
    return partial(_figure, name, task.classes.index(task.positive))


def _figure(name: str, positive: int, labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    truth = labels == positive
    if truth.all() or not truth.any():
        return float("nan")
    return frame_metrics(labels, probabilities, positive, threshold)[name]
