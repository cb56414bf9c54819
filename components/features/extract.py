"""One unit of work: the vectors of one frames shard, made by whichever Spark worker it falls to."""

from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.core import media, tables
from components.core.errors import SightlineError
from components.core.recipe import Features
from components.core.spark import task_cores
from components.core.tables import PICTURES, shard_asset
from components.core.workcache import seal
from components.features.chunks import ahead, chunks, others
from components.tasks.engines import Engine, Plan, load
from components.tasks.parts import identity

ID_COLUMNS = ["frame_id", "asset_id", "frame_index", "pts"]


def extract(item: dict) -> dict:
    """Writes the feature shard of the frames shard `item["frames"]` to `item["target"]`; returns the rows written.

    `item["before"]` and `item["after"]`: shards of the same video beside it, or None. The engine is loaded once per
    process. Run again it writes the same bytes.
    """
    plan = Plan.parse(item["plan"])
    engine = _engine(item["plan"], task_cores())
    around = [Path(name) if (name := item[side]) else None for side in ("before", "after")]
    table = shard_features(engine, plan, Path(item["frames"]), *around)
    tables.write_shard(item["target"], table, table.schema)
    seal(Path(item["target"]), rows=len(table))
    return {"rows": len(table)}


def shard_features(
    engine: Engine, plan: Plan, frames: Path, before: Path | None = None, after: Path | None = None
) -> pa.Table:
    """The features table of one frames shard: motion is against the frame before of the same asset.

    Where the shard is a part of a video, its first frame's motion is against the last frame of the shard `before`, or
    if there is none and it is the only frame, against the first of the shard `after`.
    """
    ids = tables.read_shard(frames, ID_COLUMNS)
    against = np.arange(len(ids))
    if "motion" in plan.params.parts:
        against = others(ids["asset_id"].to_pylist(), before is not None, after is not None)
    sources = [(frames, None)]
    if against.min(initial=0) < 0:
        sources.insert(0, (before, -1))
    if against.max(initial=0) >= len(ids):
        sources.append((after, 0))
    pictures = chain.from_iterable(_pictures(file, plan.params, row) for file, row in sources)
    parts = [np.empty((0, plan.dimension), np.float32)]
    parts += [
        engine(chunk.pictures, chunk.now, chunk.other)
        for chunk in ahead(chunks(pictures, against, plan.params.batch_size))
    ]
    flat = pa.array(np.concatenate(parts).ravel(), pa.float32())
    notes = identity(plan.params, plan.digest) | {"engine": plan.name}
    schema = tables.features_schema(plan.dimension).with_metadata(notes)
    vectors = pa.FixedSizeListArray.from_arrays(flat, type=schema.field("vector").type)
    return pa.table([*ids.columns, vectors], schema=schema)


def neighbours(shards: list[Path]) -> dict[Path, tuple[Path | None, Path | None]]:
    """For every frames shard the shards of the same video that its first frame's motion may need: (before, after).

    Empty shards are passed over. `after` is named only for a lone frame with nothing before it. Raises SightlineError
    for a shard whose footer cannot be read.
    """
    found: dict[Path, tuple[Path | None, Path | None]] = {}
    rows = {shard: _rows(shard) for shard in shards}
    last: Path | None = None
    for shard in shards:
        alike = last is not None and shard_asset(last) == shard_asset(shard) != PICTURES
        found[shard] = (last if alike else None), None
        if alike and rows[last] == 1 and found[last][0] is None and rows[shard]:
            found[last] = None, shard
        last = shard if rows[shard] else last
    return found


def _rows(shard: Path) -> int:
    try:
        return pq.read_metadata(shard).num_rows
    except (pa.ArrowException, OSError) as error:
        raise SightlineError(f"{shard}: cannot be read: {error}", "remove it and run its stage again") from None


def _pictures(frames: Path, params: Features, row: int | None) -> Iterator[np.ndarray]:
    """The pictures of a shard, scaled to `params.size`: all, or only that of one row."""
    if row is None:
        contents = (found["jpeg"] for found in tables.iter_rows(frames, ["jpeg"], params.batch_size))
    else:
        contents = [tables.read_shard(frames, ["jpeg"])["jpeg"][row].as_py()]
    for content in contents:
        yield media.resize(media.decode_picture(content), *params.size)


@cache
def _engine(plan: str, threads: int) -> Engine:
    return load(Plan.parse(plan), threads)
