"""The tables as the suites look at them: keys, figures and derived columns, one pandas row per row of the table.

Pure functions of Arrow tables. Neither JPEG bytes nor whole feature tables are held: pictures are never read, and
feature vectors become three numbers each, a shard at a time.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
import pyarrow as pa

from components.core.recipe import Task
from components.tasks.classification.labels import UNLABELLED, frame_labels

OK, QUARANTINED, DUPLICATE = "ok", "quarantined", "duplicate"
SPLITS = ("train", "val", "test")
CATALOG_COLUMNS = ["asset_id", "name", "kind", "status", "reason", "split", "width", "height", "frame_count"]
BOX = ["x", "y", "w", "h"]
ANNOTATION_COLUMNS = ["asset_id", "first_pts", "last_pts", "class", *BOX, "track_id", "weight"]
FRAME_COLUMNS = ["frame_id", "asset_id", "frame_index", "pts", "width", "height", "brightness"]
FEATURE_COLUMNS = ["frame_id", "asset_id", "vector"]


def catalog_view(catalog: pa.Table, frames: pa.Table) -> pd.DataFrame:
    """The catalog with: quarantined and ok (0 or 1), ok_asset and ok_split (null where it is not usable), splits (how
    many the asset is in), frames (how many were sampled)."""
    view = catalog.select(CATALOG_COLUMNS).to_pandas()
    sampled = frames["asset_id"].to_pandas().value_counts()
    view["quarantined"] = (view["status"] == QUARANTINED).astype(int)
    view["ok"] = (view["status"] == OK).astype(int)
    view["ok_asset"] = view["asset_id"].where(view["ok"] == 1)
    view["ok_split"] = view["split"].where(view["ok"] == 1)
    view["splits"] = view.groupby("asset_id")["split"].transform("nunique")
    view["frames"] = view["asset_id"].map(sampled).fillna(0).astype(int)
    return view


def annotations_view(annotations: pa.Table, accepted: int, refused: int, catalog: pa.Table) -> pd.DataFrame:
    """The annotations with: known_asset (0 or 1), frame_class, box (0 or 1), span (last - first pts), refused_share.

    frame_class: the class where the row labels whole frames, null where it is a box or a track. box: 0 where a box has
    no area or lacks a side. refused_share: that of the labels that ingest could not place, the same in every row;
    `accepted` and `refused` are their numbers.
    """
    view = annotations.select(ANNOTATION_COLUMNS).to_pandas()
    view["frame_class"] = view["class"].where(view["x"].isna() & view["track_id"].isna())
    sides = view[BOX].notna()
    view["box"] = (~sides.any(axis=1) | (sides.all(axis=1) & (view["w"] > 0) & (view["h"] > 0))).astype(int)
    view["known_asset"] = view["asset_id"].isin(_ok_assets(catalog)).astype(int)
    view["span"] = view["last_pts"] - view["first_pts"]
    view["refused_share"] = refused / max(1, refused + accepted)
    return view


def frames_view(frames: pa.Table, annotations: pa.Table, catalog: pa.Table, task: Task) -> pd.DataFrame:
    """The frames with: split, label, known_asset and labelled (0 or 1), pts_step and index_step, a column per split and
    class.

    label: the class that training and evaluation see, null where there is none. Steps are those within an asset, null
    in its first row; `train:normal` and the like are 1 where the frame is of that split and class, or of a detection
    task, whose frames may show several classes, shows that class.
    """
    view = frames.select(FRAME_COLUMNS).to_pandas()
    ok = _ok_assets(catalog)
    rows = zip(catalog["asset_id"].to_pylist(), catalog["split"].to_pylist(), strict=True)
    view["split"] = view["asset_id"].map({asset: split for asset, split in rows if asset in ok and split is not None})
    labels = frame_labels(annotations, view["asset_id"].to_numpy(), view["pts"].to_numpy(), task)
    view["label"] = [None if label == UNLABELLED else task.classes[label] for label in labels]
    view["known_asset"] = view["asset_id"].isin(ok).astype(int)
    view["labelled"] = view["label"].notna().astype(int)
    for step, column in (("pts_step", "pts"), ("index_step", "frame_index")):
        view[step] = view.groupby("asset_id", sort=False)[column].diff()
    shown = _shown(view, annotations, task) if task.kind == "detection" else None
    for split in SPLITS:
        for kind, name in enumerate(task.classes):
            of_class = (view["label"] == name) if shown is None else shown[:, kind]
            view[f"{split}:{name}"] = ((view["split"] == split) & of_class).astype(int)
    return view


def _shown(frames: pd.DataFrame, annotations: pa.Table, task: Task) -> np.ndarray:
    """(N, C) bool: whether a row of that class, of a box or of a frame as a whole, covers the frame and counts."""
    shown, index = np.zeros((len(frames), len(task.classes)), bool), {name: i for i, name in enumerate(task.classes)}
    columns = ["asset_id", "first_pts", "last_pts", "class", "weight"]
    spans = {asset: part for asset, part in annotations.select(columns).to_pandas().groupby("asset_id")}
    for asset, rows in frames.reset_index().groupby("asset_id"):
        if asset not in spans:
            continue
        rows = rows.sort_values("pts")
        part = spans[asset][spans[asset]["class"].isin(task.classes) & (spans[asset]["weight"] > 0)]
        begin = np.searchsorted(rows["pts"], part["first_pts"], "left")
        end = np.searchsorted(rows["pts"], part["last_pts"], "right")
        places = rows["index"].to_numpy()
        for first, last, name in zip(begin, end, part["class"], strict=True):
            shown[places[first:last], index[name]] = True
    return shown


def features_view(shards: Iterable[pa.Table], frames: pa.Table) -> pd.DataFrame:
    """One row per vector: frame_id, known_frame (0 or 1), dimension, finite (0 or 1), norm, and distance.

    `distance` is that to the table's first vector (null where the dimensions differ): 0 throughout where all are equal.
    """
    parts, first = [], None
    for shard in shards:
        vectors = _matrix(shard["vector"])
        first = vectors[0] if first is None and len(vectors) else first
        part = pd.DataFrame({"frame_id": shard["frame_id"].to_pylist(), "asset_id": shard["asset_id"].to_pylist()})
        part["dimension"] = vectors.shape[1]
        part["finite"] = np.isfinite(vectors).all(axis=1).astype(int)
        part["norm"] = np.linalg.norm(vectors, axis=1)
        same = first is not None and vectors.shape[1] == len(first)
        part["distance"] = np.linalg.norm(vectors - first, axis=1) if same else np.nan
        parts.append(part)
    columns = ["frame_id", "asset_id", "dimension", "finite", "norm", "distance"]
    view = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    view["known_frame"] = view["frame_id"].isin(set(frames["frame_id"].to_pylist())).astype(int)
    return view


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """(N, D) float64 of a fixed-size list column. Double: the sum of squares of large float32 values overflows."""
    chunks = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([np.empty(0), *chunks]).reshape(-1, column.type.list_size).astype(np.float64)


def _ok_assets(catalog: pa.Table) -> set[str]:
    rows = zip(catalog["asset_id"].to_pylist(), catalog["status"].to_pylist(), strict=True)
    return {asset for asset, status in rows if status == OK}
