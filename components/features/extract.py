"""One unit of work: the vectors of one frames shard, made by whichever Spark worker it falls to."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from components.core import media, tables
from components.core.recipe import Features
from components.core.workcache import seal
from components.tasks.featurizer import Featurizer, cached_featurizer, featurize, identity

ID_COLUMNS = ["frame_id", "asset_id", "frame_index", "pts"]


def extract(item: dict) -> dict:
    """Writes the feature shard of the frames shard `item["frames"]` to `item["target"]`; returns the rows written.

    The model is loaded once per process. Run again it writes the same bytes.
    """
    params = Features.model_validate(json.loads(item["params"]))
    table = shard_features(cached_featurizer(item["params"]), Path(item["frames"]), params)
    tables.write_shard(item["target"], table, table.schema)
    seal(Path(item["target"]), rows=len(table))
    return {"rows": len(table)}


def shard_features(featurizer: Featurizer, frames: Path, params: Features) -> pa.Table:
    """The features table of one frames shard: each asset's frames, in order, as one sequence."""
    ids = tables.read_shard(frames, ID_COLUMNS)
    pictures = (media.decode_picture(row["jpeg"]) for row in tables.iter_rows(frames, ["jpeg"], params.batch_size))
    assets = ids["asset_id"].to_pylist()
    parts = [np.empty((0, featurizer.dimension), np.float32)]
    for count in _runs(assets):
        sequence = (next(pictures) for _ in range(count))
        parts.append(featurize(featurizer, sequence, params.size, params.batch_size))
    flat = pa.array(np.concatenate(parts).ravel(), pa.float32())
    schema = tables.features_schema(featurizer.dimension).with_metadata(
        identity(params, featurizer.weights_digest) | {"engine": "torch"}
    )
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
    return pa.table([*ids.columns, vectors], schema=schema)


def _runs(values: list[str]) -> list[int]:
    """Lengths of the runs of equal neighbours."""
    edges = [i for i in range(1, len(values)) if values[i] != values[i - 1]]
    bounds = [0, *edges, len(values)] if values else [0]
    return [b - a for a, b in zip(bounds, bounds[1:], strict=False)]
