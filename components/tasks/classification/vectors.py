"""Vectors of some assets by a backbone of the model's own, straight from the frames table."""

import numpy as np
import pyarrow as pa
import torch

from components.core import media, paths, tables
from components.core.files import file_sha256
from components.core.progress import progress
from components.core.recipe import Features, Recipe
from components.core.workcache import seal, sealed, work_key, work_path
from components.tasks import backbones, featurizer
from components.tasks.classification.samples import Samples, Source, samples_of, split_source

COLUMNS = ["frame_id", "asset_id", "frame_index", "pts"]
ROWS = 64  # encoded pictures in memory at a time


def vector_samples(recipe: Recipe, features: Features, *splits: str) -> Samples:
    """The samples of these splits, their vectors by `features.weights`, which is a file.

    Made in this process and kept in the work cache by the digests of weights and frames. Meant for a held-out split:
    the features stage makes a whole table's on Spark.
    """
    source = split_source(recipe, *splits, table="frames")
    files = [file for group in source.groups for file in group]
    weights = file_sha256(paths.resolve(features.weights))
    shape = features.model_dump(mode="json", exclude={"weights", "batch_size"})
    asked = [weights, shape, sorted(source.asset_ids), [file_sha256(file) for file in files], media.ENGINE]
    entry = work_path("vectors", work_key(weights, asked, featurizer, backbones, media))
    if sealed(entry) is None:
        table = _made(source, features, f"vectors@{recipe.name}")
        tables.write_shard(entry, table, table.schema)
        seal(entry, rows=len(table))
    return samples_of(tables.read_shard(entry), source.asset_ids, source.annotations, recipe)


def _made(source: Source, features: Features, label: str) -> pa.Table:
    """The features table of the source's assets, in the order of its frames."""
    files = [file for group in source.groups for file in group]
    wanted = pa.array(sorted(source.asset_ids), pa.string())
    ids = pa.concat_tables(tables.read_shard(file, COLUMNS) for file in files)
    ids = ids.filter(pa.compute.is_in(ids["asset_id"], wanted))
    network, held, parts = featurizer.build_featurizer(features), [], []
    with progress(label, len(ids), "frames") as ticker, torch.inference_mode():

        def flush() -> None:
            parts.append(network(torch.from_numpy(np.stack(held))[:, None])[:, 0].numpy())
            ticker.advance(len(held))
            held.clear()

        for file in files:
            for row in tables.iter_rows(file, ["asset_id", "jpeg"], ROWS):
                if row["asset_id"] in source.asset_ids:
                    # Each picture a sequence of its own: without motion no vector depends on the frame before it.
                    held.append(media.resize(media.decode_picture(row["jpeg"]), *features.size))
                if len(held) == features.batch_size:
                    flush()
        if held:
            flush()
    flat = np.concatenate(parts) if parts else np.empty((0, network.dimension), np.float32)
    schema = tables.features_schema(network.dimension)
    column = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), type=schema.field("vector").type)
    return pa.table([*ids.columns, column], schema=schema)
