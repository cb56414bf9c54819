"""Labels of frames out of annotation rows."""

import numpy as np
import pyarrow as pa

from components.core.recipe import Task

UNLABELLED = -1


def frame_labels(annotations: pa.Table, asset_ids: np.ndarray, pts: np.ndarray, task: Task) -> np.ndarray:
    """Class index, (N,) int64, of the frames at `pts` of `asset_ids` (both (N,)); UNLABELLED where no row covers one.

    Frame labels are annotation rows without a box and without a track; of a detection task boxes are, too: a frame with
    a fox in it is one of a fox. Where rows of several classes cover a frame, the positive class wins; of a detection
    task any class wins over the background; among the others, the last row.
    """
    kept = pa.compute.is_in(annotations["asset_id"], pa.array(np.unique(asset_ids).tolist(), pa.string()))
    kept = pa.compute.and_(kept, pa.compute.greater(annotations["weight"], 0))  # others are to be ignored
    if task.kind == "classification":
        kept = pa.compute.and_(kept, annotations["x"].is_null())
        kept = pa.compute.and_(kept, annotations["track_id"].is_null())
    whole = annotations.filter(kept)
    index = {name: i for i, name in enumerate(task.classes)}
    labels = np.full(len(pts), UNLABELLED, np.int64)
    rows_of: dict[str, np.ndarray] = {}
    for asset in np.unique(asset_ids):
        rows_of[asset] = np.flatnonzero(asset_ids == asset)
    # What is written last wins: the positive class, and the background of a detection task never.
    background = task.classes[0] if task.kind == "detection" else None
    rows = sorted(whole.to_pylist(), key=lambda row: (row["class"] == task.positive, row["class"] != background))
    for row in rows:
        at = rows_of.get(row["asset_id"])
        if at is not None and row["class"] in index:
            covered = (pts[at] >= row["first_pts"]) & (pts[at] <= row["last_pts"])
            labels[at[covered]] = index[row["class"]]
    return labels
