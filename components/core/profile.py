"""The reference profile: what the footage that a model was made from looks like, asset by asset.

lineage/profile.parquet, kept with the model's run beside its lineage: a row of SCHEMA per asset of the catalog. The
schema's metadata says what the embeddings' vectors are made by; vectors made otherwise cannot be compared with them.
"""

import json
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.core import tables, tracking
from components.core.tables import read_table

FILE = "lineage/profile.parquet"
FIGURES = ("brightness", "contrast", "sharpness", "saturation")
PIXELS, EMBEDDING, SCORE, ERROR = "pixels", "embedding", "score", "error"
EMBEDDED = 1000  # assets whose vectors are read: a test looks at no more
VECTORS = b"sightline.vectors"
ENGINE = "engine"  # of the vectors' notes: what ran the network changes them less than the test can see

# `usable`: not quarantined. pixels: log2 of width x height; embedding: the mean of the asset's vectors; score: the mean
# of the model's; error: the mean of 1 - the label's probability.
SCHEMA = pa.schema(
    [("asset_id", pa.string()), ("usable", pa.bool_())]
    + [(name, pa.float64()) for name in (*FIGURES, PIXELS)]
    + [(EMBEDDING, pa.list_(pa.float32())), (SCORE, pa.float64()), (ERROR, pa.float64())]
)


@dataclass(frozen=True)
class Scored:
    """What a model said of one asset: its mean score, and its mean error where frames are labelled, else None."""

    score: float
    error: float | None


def profile(data: Path, assets: Collection[str] | None, scored: dict[str, Scored]) -> pa.Table:
    """The rows of `assets` (None: all) of the catalog in `data`, in the order of their ids."""
    columns = ["asset_id", "status", "width", "height", *FIGURES]
    rows = {row["asset_id"]: row for row in read_table(data / "catalog", columns).to_pylist()}
    chosen = sorted(rows if assets is None else rows.keys() & set(assets))
    # Ids are digests: the first ones are as good as drawn.
    usable = [asset for asset in chosen if rows[asset]["status"] == "ok"][:EMBEDDED]
    means = embeddings(data / "features", set(usable))
    table = pa.Table.from_pylist([_row(rows[asset], means, scored) for asset in chosen], schema=SCHEMA)
    return table.replace_schema_metadata({VECTORS: json.dumps(vectors_identity(data / "features"), sort_keys=True)})


def _row(row: dict, means: dict[str, np.ndarray], scored: dict[str, Scored]) -> dict:
    asset, area = row["asset_id"], (row["width"] or 0) * (row["height"] or 0)
    said = scored.get(asset)
    return {
        "asset_id": asset, "usable": row["status"] == "ok",
        **{name: row[name] for name in FIGURES}, PIXELS: float(np.log2(area)) if area else None,
        EMBEDDING: means.get(asset), SCORE: said and said.score, ERROR: said and said.error,
    }  # fmt: skip


def vectors_identity(features: Path) -> dict[str, str]:
    """What the vectors of a features table are made by, whatever engine ran the network."""
    return {name: value for name, value in tables.metadata(features).items() if name != ENGINE}


def embeddings(table: Path, assets: Collection[str]) -> dict[str, np.ndarray]:
    """asset id -> the mean of its vectors, (D,) float64; one shard in memory at a time."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for shard in tables.shards(table):
        if (of := tables.shard_asset(shard)) != tables.PICTURES and of not in assets:
            continue
        rows = tables.read_shard(shard, ["asset_id", "vector"])
        if not len(rows):
            continue
        vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        for asset, vector in zip(rows["asset_id"].to_pylist(), vectors, strict=True):
            if asset in assets:
                sums[asset] = sums.get(asset, 0.0) + vector.astype(np.float64)
                counts[asset] = counts.get(asset, 0) + 1
    return {asset: total / counts[asset] for asset, total in sums.items()}


def scored(shards: Iterable[Path], classes: Collection[str]) -> dict[str, Scored]:
    """What the shards of a predictions table say of each asset, one of them in memory at a time.

    Rows without a label count for the score alone.
    """
    sums: dict[str, np.ndarray] = {}  # of scores, rows, errors, labelled rows
    for shard in shards:
        rows = tables.read_shard(shard, ["asset_id", "label", "score", *(f"prob_{name}" for name in classes)])
        errors = np.full(len(rows), np.nan)
        labels = np.array(rows["label"].to_pylist(), dtype=object)
        for name in classes:
            at = labels == name
            errors[at] = 1.0 - rows[f"prob_{name}"].to_numpy()[at]
        add(sums, np.array(rows["asset_id"].to_pylist(), dtype=object), rows["score"].to_numpy(), errors)
    return means(sums)


def add(sums: dict[str, np.ndarray], assets: np.ndarray, scores: np.ndarray, errors: np.ndarray) -> None:
    """Adds rows to the sums that `means` divides; assets, scores and errors (nan: not labelled) are (N,)."""
    names, places = np.unique(assets.astype(str), return_inverse=True)
    known = np.isfinite(errors)
    columns = (scores, np.ones(len(scores)), np.where(known, errors, 0.0), known)
    rows = np.stack([np.bincount(places, column, len(names)) for column in columns], axis=1)
    for asset, row in zip(names.tolist(), rows, strict=True):
        sums[asset] = sums.get(asset, 0.0) + row


def means(sums: dict[str, np.ndarray]) -> dict[str, Scored]:
    """The means of what was added."""
    return {
        asset: Scored(float(score / count), float(error / labelled) if labelled else None)
        for asset, (score, count, error, labelled) in sums.items()
    }


def figures(table: pa.Table) -> dict[str, np.ndarray]:
    """What a two-sample test takes, of the usable assets in a profile: FIGURES, pixels, score and error, each (N,)
    float64, and embedding (N, D); not a number where nothing is known."""
    usable = table.filter(table["usable"])
    found = {
        name: usable[name].to_numpy(zero_copy_only=False).astype(np.float64)
        for name in (*FIGURES, PIXELS, SCORE, ERROR)
    }
    vectors = usable[EMBEDDING].to_pylist()
    if length := max((len(vector) for vector in vectors if vector is not None), default=0):
        nothing = np.full(length, np.nan)
        found[EMBEDDING] = np.array([nothing if vector is None else vector for vector in vectors], np.float64)
    return found


def quarantined(table: pa.Table) -> tuple[int, int]:
    """(assets that were quarantined, all) of a profile."""
    usable = pc.sum(table["usable"]).as_py() or 0
    return len(table) - usable, len(table)


def keep(run: str, table: pa.Table) -> None:
    """Logs a profile into the run of its model."""
    folder, _, name = FILE.rpartition("/")
    with tempfile.TemporaryDirectory() as local:
        pq.write_table(table, Path(local) / name)
        tracking.client().log_artifact(run, str(Path(local) / name), folder)


def stored(run: str) -> pa.Table | None:
    """The profile that a run holds, or None."""
    folder = FILE.rpartition("/")[0]
    if FILE not in {entry.path for entry in tracking.client().list_artifacts(run, folder)}:
        return None
    with tempfile.TemporaryDirectory() as local:
        return pq.read_table(tracking.client().download_artifacts(run, FILE, local))
