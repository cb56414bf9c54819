"""The tables between the stages: schemas, declared once, and Parquet reading and writing.

A table is a folder of Parquet shards. Rows are in the order of the shards' names; writing the same rows gives the
same bytes. What cannot be a row of a table is a row of `QUARANTINE`, never a silent loss.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from components.core.errors import SightlineError
from components.core.files import atomic_path

ROW_GROUP = 512
LIGHT = 8  # times as many rows in a group of a long shard without pictures: a writer remembers something of each
ROW_GROUP_BYTES = 32 << 20  # of pictures held in memory by a writer
SHARD_ROWS = 50_000
ASSET_ID_DIGITS = 16
MODEL = b"sightline.model"  # in the metadata of a shard of scores: the tag of the model that made it
PICTURES = "pictures"  # what the names of shards of pictures begin with


def _schema(*fields: tuple) -> pa.Schema:
    return pa.schema([pa.field(name, kind, nullable=bool(rest)) for name, kind, *rest in fields])


NULL = True
i32, i64, f32, f64, text = pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.string()

# One row per picture or video. `name` is the path below the source's folder; `pts` fields count `time_base` ticks.
# `orientation` is the EXIF value as stored (sizes are those of the upright picture); `near_group` names the first asset
# of a group of near-duplicates; a video may be decoded in parts that begin at the key frames `segment_pts`, whose
# numbers are `segment_index` (null: only as a whole).
CATALOG = _schema(
    ("asset_id", text), ("uri", text), ("name", text), ("kind", text), ("status", text), ("reason", text, NULL),
    ("sha256", text), ("bytes", i64), ("codec", text, NULL), ("width", i32, NULL), ("height", i32, NULL),
    ("frame_count", i64, NULL), ("first_pts", i64, NULL), ("last_pts", i64, NULL),
    ("time_base_num", i64, NULL), ("time_base_den", i64, NULL), ("rate_num", i64, NULL), ("rate_den", i64, NULL),
    ("captured_at", text, NULL), ("exif", text, NULL),
    ("camera_make", text, NULL), ("camera_model", text, NULL), ("lens", text, NULL), ("exposure_s", f64, NULL),
    ("f_number", f64, NULL), ("iso", i64, NULL), ("focal_length_mm", f64, NULL), ("orientation", i32, NULL),
    ("latitude", f64, NULL), ("longitude", f64, NULL), ("altitude_m", f64, NULL), ("site", text, NULL),
    ("brightness", f32, NULL), ("contrast", f32, NULL), ("sharpness", f32, NULL), ("saturation", f32, NULL),
    ("perceptual_hash", i64, NULL), ("near_group", text, NULL),
    ("segment_pts", pa.list_(i64), NULL), ("segment_index", pa.list_(i64), NULL), ("split", text, NULL),
)  # fmt: skip

# Frame labels, intervals, boxes and tracks: the same row with more or fewer columns filled. Boxes in source pixels.
ANNOTATIONS = _schema(
    ("asset_id", text), ("first_pts", i64), ("last_pts", i64), ("class", text),
    ("x", f32, NULL), ("y", f32, NULL), ("w", f32, NULL), ("h", f32, NULL), ("track_id", i64, NULL),
    ("source", text), ("weight", f32),
)  # fmt: skip

# One row per sampled frame. `frame_index` counts the source's frames from 0; `jpeg` holds the encoded picture.
FRAMES = _schema(
    ("frame_id", text), ("asset_id", text), ("frame_index", i64), ("pts", i64),
    ("time_base_num", i64), ("time_base_den", i64), ("width", i32), ("height", i32), ("jpeg", pa.binary()),
    ("brightness", f32), ("contrast", f32), ("sharpness", f32), ("perceptual_hash", pa.int64()),
)  # fmt: skip

# Scores. `site`, `light` and `camera`: the slices that the asset belongs to. `prob_<class>` columns are appended by
# `predictions_schema`.
PREDICTIONS = _schema(
    ("uri", text), ("asset_id", text), ("frame_index", i64), ("pts", i64), ("timestamp_s", pa.float64()),
    ("label", text, NULL), ("prediction", text), ("score", f32), ("model_version", text),
    ("site", text, NULL), ("light", text, NULL), ("camera", text, NULL),
)  # fmt: skip

# What the predictions table tells of tracks besides: see `predictions_schema`.
TRACKED = _schema(
    ("sequence", text), ("place", i64), ("tracked", pa.list_(f32)), ("tracked_ids", pa.list_(i64)),
    ("marked", pa.list_(f32), NULL), ("marked_ids", pa.list_(i64), NULL),
)  # fmt: skip

# Boxes that a detector found in scored frames, in source pixels: `x` is the left side, `y` the top.
DETECTIONS = _schema(
    ("uri", text), ("asset_id", text), ("frame_index", i64), ("pts", i64), ("timestamp_s", f64), ("class", text),
    ("score", f32), ("x", f32), ("y", f32), ("w", f32), ("h", f32), ("model_version", text),
)  # fmt: skip

# The same of what was followed: a row for every track that a frame shows. `track_id` counts from 1 in every asset.
TRACKS = _schema(
    ("uri", text), ("asset_id", text), ("frame_index", i64), ("pts", i64), ("timestamp_s", f64), ("track_id", i64),
    ("class", text), ("score", f32), ("x", f32), ("y", f32), ("w", f32), ("h", f32), ("model_version", text),
)  # fmt: skip

# Explained frames. `probability`: of the class, by the model; `fit`: of LIME's linear models, weighted R², mean over
# the segmentations; `heat`: a grey PNG of the weights' sum, scaled so that its highest value is 255.
EXPLANATIONS = _schema(
    ("frame_id", text), ("asset_id", text), ("frame_index", i64), ("pts", i64), ("split", text), ("class", text),
    ("probability", f32), ("fit", f32), ("heat", pa.binary()),
)  # fmt: skip

# What the model service was asked and answered: a row per sampled picture; a shard holds those of one model. `place`:
# in its request, from 0 on; `source`: who sent it and, of a frame, of which session, as a digest that only tells the
# sources of one process apart; `width`, `height` and the statistics: of the upright picture as it was sent, like the
# catalog's; `boxes`: how many the answer had (null: the model finds none); `jpeg`: the picture, its longer side 640 at
# most (null: pictures are not kept).
CAPTURED = _schema(
    ("time", pa.timestamp("us", "UTC")), ("request_id", text), ("route", text), ("place", i32), ("source", text),
    ("recipe", text), ("version", i64), ("model", text), ("width", i32), ("height", i32),
    ("brightness", f32), ("contrast", f32), ("sharpness", f32), ("saturation", f32),
    ("prediction", text), ("score", f32), ("probabilities", pa.map_(text, f32)), ("boxes", i32, NULL),
    ("jpeg", pa.binary(), NULL),
)  # fmt: skip

# What was refused: a file or a line of a file, and why.
QUARANTINE = _schema(("uri", text), ("line", i64, NULL), ("sha256", text, NULL), ("reason", text))


def asset_id(sha256: str) -> str:
    """What the file with these bytes is called in every table: the first digits of their digest."""
    return sha256[:ASSET_ID_DIGITS]


def features_schema(dimension: int) -> pa.Schema:
    """Schema of the features table: one vector of `dimension` float32 per frame."""
    return _schema(
        ("frame_id", text), ("asset_id", text), ("frame_index", i64), ("pts", i64),
        ("vector", pa.list_(pa.field("element", f32, nullable=False), dimension)),
    )  # fmt: skip


def predictions_schema(classes: Iterable[str], boxes: bool = False, tracks: bool = False) -> pa.Schema:
    """Schema of the predictions table for these classes.

    With `boxes` also of what a detector found, `found`, six numbers a box: left, top, right, bottom in shares of the
    frame's sides, class index, score; and of what is known to be there, `truth`, the first five (null: not known).
    With `tracks` also of what a tracker made of it: the name of the frame's `sequence` and its `place` there, from 0 on
    in order of time; `tracked`, numbers as in `found`, and the identities of these boxes, `tracked_ids`; `marked`, all
    that is annotated, with the weight in the score's place, and its `marked_ids`, -1 for none (both null: not known).
    """
    schema = PREDICTIONS
    for name in classes:
        schema = schema.append(pa.field(f"prob_{name}", f32, nullable=False))
    if boxes:
        schema = schema.append(pa.field("found", pa.list_(f32), nullable=False))
        schema = schema.append(pa.field("truth", pa.list_(f32)))
    for field in TRACKED if tracks else ():
        schema = schema.append(field)
    return schema


def write_shard(path: str | Path, rows: pa.Table | list[dict], schema: pa.Schema) -> None:
    """Writes one shard, whole or not at all. Raises SightlineError where the rows do not fit the schema."""
    table = _fitted(path, rows, schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, row_group_size=ROW_GROUP, **_options(schema))


def write_table(folder: str | Path, rows: list[dict], schema: pa.Schema) -> None:
    """Writes a whole table as shards of at most SHARD_ROWS rows (one at least) and removes shards it had before."""
    folder = Path(folder)
    written = set()
    for number, first in enumerate(range(0, max(len(rows), 1), SHARD_ROWS)):
        path = folder / f"part-{number:05d}.parquet"
        write_shard(path, rows[first : first + SHARD_ROWS], schema)
        written.add(path)
    for path in set(shards(folder)) - written:
        path.unlink()


@contextmanager
def shard_writer(path: str | Path, schema: pa.Schema) -> Iterator[Callable[[dict], None]]:
    """Yields `add(row)` for a shard that is written as it grows: memory stays flat whatever its length.

    The shard appears whole on leaving, or not at all; the same rows give the same bytes.
    """
    held: list[dict] = []
    heavy = [field.name for field in schema if pa.types.is_binary(field.type)]
    group = ROW_GROUP if heavy else ROW_GROUP * LIGHT
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **_options(schema)) as writer:

        def flush() -> None:
            writer.write_table(_fitted(path, held, schema), row_group_size=group)
            held.clear()

        size = 0

        def add(row: dict) -> None:
            nonlocal size
            held.append(row)
            size += sum(len(row.get(name) or b"") for name in heavy)
            if len(held) == group or size >= ROW_GROUP_BYTES:
                flush()
                size = 0

        yield add
        if held:
            flush()


def _fitted(path: str | Path, rows: pa.Table | list[dict], schema: pa.Schema) -> pa.Table:
    try:
        table = rows.cast(schema) if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
        for field in schema:
            if not field.nullable and table[field.name].null_count:
                raise ValueError(f"column {field.name} has nulls")
    except (pa.ArrowException, ValueError, TypeError) as error:
        raise SightlineError(
            f"{path}: rows do not fit the table's schema: {error}", "see components/core/tables.py"
        ) from None
    return table


def _options(schema: pa.Schema) -> dict[str, Any]:
    """Parquet options. Pictures and vectors repeat nothing: dictionaries and statistics of them only cost."""
    plain = [field.name for field in schema if not (pa.types.is_binary(field.type) or pa.types.is_nested(field.type))]
    return {
        "compression": "zstd",
        "use_dictionary": plain,
        "write_statistics": plain,
        "write_page_checksum": True,
    }


def shards(folder: str | Path) -> list[Path]:
    """The shards of a table, in order. Raises SightlineError where the table is not there."""
    folder = Path(folder)
    if not folder.is_dir():
        raise SightlineError(f"{folder}: the table is not there", "run the stage that writes it, or `dvc repro`")
    return sorted(path for path in folder.glob("*.parquet") if not path.name.startswith("."))


def shard_asset(path: str | Path) -> str:
    """The asset whose frames a shard of frames or features holds; PICTURES for a group of pictures.

    A video's shard is named ASSET_ID, or ASSET_ID-00000, ASSET_ID-00001 ... where it is decoded in segments.
    """
    return Path(path).stem.partition("-")[0]


def read_table(folder: str | Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of a table, in the order of its shards. An empty table raises SightlineError."""
    files = shards(folder)
    if not files:
        raise SightlineError(f"{folder}: the table has no shards", "see what the stage before it printed")
    return pa.concat_tables(read_shard(path, columns) for path in files)


def read_shard(path: str | Path, columns: list[str] | None = None) -> pa.Table:
    """The rows of one shard. Raises SightlineError naming the file where it is damaged."""
    try:
        return pq.read_table(path, columns=columns, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise SightlineError(f"{path}: cannot be read: {error}", "remove it and run its stage again") from None


def read_rows(path: str | Path, rows: Sequence[int], columns: list[str] | None = None) -> pa.Table:
    """These rows of one shard, in this order; only the row groups that hold them are read.

    Raises SightlineError naming the file where it is damaged.
    """
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            starts = [sum(sizes[:group]) for group in range(len(sizes))]
            needed = sorted({bisect_right(starts, row) - 1 for row in rows})
            table, place, first = file.read_row_groups(needed, columns), {}, 0
            for group in needed:
                place |= {starts[group] + at: first + at for at in range(sizes[group])}
                first += sizes[group]
    except (pa.ArrowException, OSError) as error:
        raise SightlineError(f"{path}: cannot be read: {error}", "remove it and run its stage again") from None
    return table.take([place[row] for row in rows])


def metadata(folder: str | Path) -> dict[str, str]:
    """What the writer noted in the schema of a table's first shard, such as the features' weights digest."""
    notes = pq.read_schema(shards(folder)[0]).metadata or {}
    return {key.decode(): value.decode() for key, value in notes.items()}


def scored_by(shard: Path) -> str | None:
    """The tag of the model that made a shard of scores; None where it is not there, damaged, or does not say."""
    try:
        tag = (pq.read_schema(shard).metadata or {}).get(MODEL)
    except (OSError, pa.ArrowInvalid):
        return None
    return tag.decode() if tag else None


def iter_rows(path: str | Path, columns: list[str] | None = None, batch_rows: int = ROW_GROUP) -> Iterator[dict]:
    """The rows of one shard as dicts, a batch in memory at a time."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=batch_rows, columns=columns):
            yield from batch.to_pylist()
