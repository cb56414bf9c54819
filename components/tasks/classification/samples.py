"""Samples of classification: the vectors of one split's assets, in order, with their labels."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.core import paths, tables
from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.tasks.classification.labels import frame_labels


@dataclass(frozen=True)
class Samples:
    """Frames of several assets. Rows of asset a are `starts[a]:starts[a + 1]`, in pts order.

    vectors (N, D) float32; labels (N,) int64 class index, -1 unlabelled; frame_index, pts (N,) int64.
    """

    asset_ids: list[str]
    starts: np.ndarray
    vectors: np.ndarray
    labels: np.ndarray
    frame_index: np.ndarray
    pts: np.ndarray
    frame_ids: list[str]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, asset: int) -> slice:
        """The rows of the asset at this position."""
        return slice(int(self.starts[asset]), int(self.starts[asset + 1]))


@dataclass(frozen=True)
class Source:
    """Where one split's rows of a table (features or frames) lie, and what labels them. Rows are read when needed.

    `groups`: the shards of one video, or one shard of pictures; in order.
    """

    groups: tuple[tuple[Path, ...], ...]
    asset_ids: frozenset[str]
    annotations: pa.Table
    recipe: Recipe

    def read(self, group: tuple[Path, ...]) -> Samples:
        """The samples of one group of feature shards that belong to the split."""
        table = pa.concat_tables(tables.read_shard(file) for file in group)
        return samples_of(table, self.asset_ids, self.annotations, self.recipe)

    def read_all(self) -> Samples:
        """All samples of the split in memory: for validation and evaluation, not for training."""
        return self.read(tuple(file for group in self.groups for file in group))

    def labels(self, group: tuple[Path, ...]) -> np.ndarray:
        """Class index, (N,) int64, of every row of the group as it is stored; UNLABELLED outside of the split too."""
        table = pa.concat_tables(tables.read_shard(file, ["asset_id", "pts"]) for file in group)
        assets = np.asarray(table["asset_id"].to_pylist(), dtype=object)
        return frame_labels(self.annotations, assets, table["pts"].to_numpy(), self.recipe.task)


def split_source(recipe: Recipe, *splits: str, table: str = "features") -> Source:
    """The rows of `table` of the assets in any of these splits. Raises SightlineError where there are none."""
    catalog = tables.read_table(paths.data(recipe.name, "catalog"), ["asset_id", "status", "split"])
    wanted = {row["asset_id"] for row in catalog.to_pylist() if row["status"] == "ok" and row["split"] in splits}
    annotations = tables.read_table(paths.data(recipe.name, "annotations"))
    annotations = annotations.filter(pa.compute.is_in(annotations["asset_id"], pa.array(sorted(wanted), pa.string())))
    # A video's shards hold that asset alone; shards of pictures hold many and are all looked into.
    groups: dict[str, list[Path]] = {}
    for file in tables.shards(paths.data(recipe.name, table)):
        asset = tables.shard_asset(file)
        if asset in wanted or asset == tables.PICTURES:
            groups.setdefault(file.stem if asset == tables.PICTURES else asset, []).append(file)
    if not wanted or not groups:
        raise SightlineError(
            f"{recipe.name}: no asset with {table} in split {' or '.join(splits)}",
            "see ingest.split in params.yaml and the catalog's column split",
        )
    return Source(tuple(tuple(files) for files in groups.values()), frozenset(wanted), annotations, recipe)


def load_samples(recipe: Recipe, *splits: str) -> Samples:
    """All samples of these splits, in the order of shards and pts. Raises SightlineError where there are none."""
    return split_source(recipe, *splits).read_all()


def samples_of(table: pa.Table, wanted: frozenset[str], annotations: pa.Table, recipe: Recipe) -> Samples:
    """The rows of a features table that belong to the assets `wanted`, in order, with their labels."""
    table = table.filter(pa.compute.is_in(table["asset_id"], pa.array(sorted(wanted), pa.string())))
    table = table.sort_by([("asset_id", "ascending"), ("pts", "ascending")]).combine_chunks()
    assets = np.asarray(table["asset_id"].to_pylist(), dtype=object)
    pts = table["pts"].to_numpy()
    dimension = table.schema.field("vector").type.list_size
    flat = table["vector"].combine_chunks().flatten() if len(table) else pa.array([], pa.float32())
    vectors = flat.to_numpy(zero_copy_only=False).reshape(len(table), dimension).astype(np.float32)
    names, starts = np.unique(assets, return_index=True) if len(table) else ([], np.empty(0, np.int64))
    return Samples(
        asset_ids=[str(name) for name in names],
        starts=np.append(starts, len(table)).astype(np.int64),
        vectors=vectors,
        labels=frame_labels(annotations, assets, pts, recipe.task),
        frame_index=table["frame_index"].to_numpy(),
        pts=pts,
        frame_ids=table["frame_id"].to_pylist(),
    )


def sample_period(recipe: Recipe) -> Fraction | None:
    """Seconds between neighbouring sampled frames (the median over the videos); None where there are no videos."""
    catalog = tables.read_table(
        paths.data(recipe.name, "catalog"), ["asset_id", "kind", "status", "time_base_num", "time_base_den"]
    )
    bases = {
        row["asset_id"]: Fraction(row["time_base_num"], row["time_base_den"])
        for row in catalog.to_pylist()
        if row["kind"] == "video" and row["status"] == "ok"
    }
    spans: dict[str, list[int]] = {}
    for file in tables.shards(paths.data(recipe.name, "features")):
        if (asset := tables.shard_asset(file)) in bases:
            spans.setdefault(asset, []).extend(tables.read_shard(file, ["pts"])["pts"].to_pylist())
    periods = sorted(
        Fraction(max(pts) - min(pts), len(pts) - 1) * bases[asset] for asset, pts in spans.items() if len(pts) > 1
    )
    return periods[len(periods) // 2] if periods else None
