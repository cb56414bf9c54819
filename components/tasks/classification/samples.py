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
    """Where one split's samples lie: its feature shards in order, and what labels them. Rows are read when needed."""

    files: tuple[Path, ...]
    asset_ids: frozenset[str]
    annotations: pa.Table
    recipe: Recipe

    def read(self, file: Path) -> Samples:
        """The samples of one shard that belong to the split."""
        return _samples(tables.read_shard(file), self.asset_ids, self.annotations, self.recipe)

    def read_all(self) -> Samples:
        """All samples of the split in memory: for validation and evaluation, not for training."""
        table = pa.concat_tables(tables.read_shard(file) for file in self.files)
        return _samples(table, self.asset_ids, self.annotations, self.recipe)


def split_source(recipe: Recipe, *splits: str) -> Source:
    """The source of the assets in any of these splits. Raises SightlineError where there are none with features."""
    catalog = tables.read_table(paths.data(recipe.name, "catalog"), ["asset_id", "status", "split"])
    wanted = {row["asset_id"] for row in catalog.to_pylist() if row["status"] == "ok" and row["split"] in splits}
    annotations = tables.read_table(paths.data(recipe.name, "annotations"))
    annotations = annotations.filter(pa.compute.is_in(annotations["asset_id"], pa.array(sorted(wanted), pa.string())))
    # A shard named after an asset holds that asset alone; shards of pictures hold many and are all looked into.
    files = [
        file
        for file in tables.shards(paths.data(recipe.name, "features"))
        if file.stem in wanted or file.stem.startswith("pictures-")
    ]
    if not wanted or not files:
        raise SightlineError(
            f"{recipe.name}: no asset with features in split {' or '.join(splits)}",
            "see ingest.split in params.yaml and the catalog's column split",
        )
    return Source(tuple(files), frozenset(wanted), annotations, recipe)


def load_samples(recipe: Recipe, *splits: str) -> Samples:
    """All samples of these splits, in the order of shards and pts. Raises SightlineError where there are none."""
    return split_source(recipe, *splits).read_all()


def _samples(table: pa.Table, wanted: frozenset[str], annotations: pa.Table, recipe: Recipe) -> Samples:
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
    periods = []
    for file in tables.shards(paths.data(recipe.name, "features")):
        if file.stem in bases:
            pts = tables.read_shard(file, ["pts"])["pts"].to_numpy()
            if len(pts) > 1:
                periods.append(Fraction(int(pts[-1] - pts[0]), len(pts) - 1) * bases[file.stem])
    return sorted(periods)[len(periods) // 2] if periods else None
