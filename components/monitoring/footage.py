"""What footage looks like, asset by asset: the catalog's figures and the mean of the features' vectors."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from components.core import tables
from components.core.tables import read_table

FIGURES = ("brightness", "contrast", "sharpness", "saturation")


def figures(data: Path, *groups: Collection[str]) -> list[dict[str, np.ndarray]]:
    """Of each group of assets of the tables in `data`, sorted by id: FIGURES, `pixels` (log2 of width x height), each
    (N,) float64, and `embedding` (N, D), the mean of an asset's vectors; not a number where a table has nothing of it.
    """
    wanted = set().union(*groups)
    rows = read_table(data / "catalog", ["asset_id", "width", "height", *FIGURES]).to_pylist()
    known = {row["asset_id"]: row for row in rows if row["asset_id"] in wanted}
    means = embeddings(data / "features", known)
    return [_of_group([known[asset] for asset in sorted(group) if asset in known], means) for group in groups]


def _of_group(rows: list[dict], means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    found = {name: np.array([row[name] for row in rows], np.float64) for name in FIGURES}
    areas = [(row["width"] or 0) * (row["height"] or 0) for row in rows]
    found["pixels"] = np.array([np.log2(area) if area else np.nan for area in areas])
    if means and rows:
        nothing = np.full(len(next(iter(means.values()))), np.nan)
        found["embedding"] = np.stack([means.get(row["asset_id"], nothing) for row in rows])
    return found


def embeddings(table: Path, assets: Collection[str]) -> dict[str, np.ndarray]:
    """asset id -> the mean of its vectors, (D,) float64; one shard in memory at a time."""
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for shard in tables.shards(table):
        rows = tables.read_shard(shard, ["asset_id", "vector"])
        if not len(rows):
            continue
        vectors = rows["vector"].combine_chunks().flatten().to_numpy().reshape(len(rows), -1)
        for asset, vector in zip(rows["asset_id"].to_pylist(), vectors, strict=True):
            if asset in assets:
                sums[asset] = sums.get(asset, 0.0) + vector.astype(np.float64)
                counts[asset] = counts.get(asset, 0) + 1
    return {asset: total / counts[asset] for asset, total in sums.items()}


def mean_scores(table: Path) -> np.ndarray:
    """The mean score of each asset in a table of predictions, (N,) float64."""
    scores: dict[str, list[float]] = {}
    for row in read_table(table, ["asset_id", "score"]).to_pylist():
        scores.setdefault(row["asset_id"], []).append(row["score"])
    return np.array([np.mean(scores[asset]) for asset in sorted(scores)], np.float64)
