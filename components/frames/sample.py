"""Decodes a unit and writes its shard. Runs on Spark's workers."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from components.core import media, paths
from components.core.errors import SightlineError
from components.core.files import file_sha256
from components.core.media import Frame, MediaError, TimeSampler
from components.core.recipe import Frames
from components.core.segments import Segment, read_segment
from components.core.tables import FRAMES, shard_writer
from components.core.workcache import seal, sealed


def sample_unit(item: dict) -> dict:
    """Writes and seals the shard `item["entry"]` of the unit `item` with the parameters `item["params"]`.

    Returns {"rows": frames written}, or {"problem", "remedy"} where an asset is no longer what the catalog says.
    """
    entry, params = Path(item["entry"]), Frames(**item["params"])
    if facts := sealed(entry):  # this task has run before: a lost worker's tasks are repeated
        return facts
    segment = item["segment"] and Segment(**item["segment"])
    rows = 0
    try:
        with shard_writer(entry, FRAMES) as add:
            for asset in item["assets"]:
                for row in asset_rows(asset, item["kind"], segment, params):
                    add(row)
                    rows += 1
    except SightlineError as error:
        return {"problem": error.problem, "remedy": error.remedy}
    seal(entry, rows=rows)
    return {"rows": rows}


def asset_rows(asset: dict, kind: str, segment: Segment | None, params: Frames) -> Iterator[dict]:
    """Rows of the frames table for one asset or a video's segment, in order of pts.

    Raises SightlineError where the file has changed, or changes while it is read.
    """
    path = paths.resolve(asset["uri"])
    seen = check_unchanged(path, asset)
    try:
        for frame in frames_of(path, kind, segment, params.fps):
            yield row(asset, frame, params)
    except MediaError as error:
        raise changed(path, f"it can no longer be decoded: {error}") from None
    if _stamp(path) != seen:
        raise changed(path, "it was written to while it was read")


def frames_of(path: Path, kind: str, segment: Segment | None, fps: Fraction | None) -> Iterator[Frame]:
    """The frames to keep: of a video those that TimeSampler chooses at `fps`; a picture is one frame with pts 0."""
    if kind == "picture":
        return iter([Frame(0, 0, media.read_picture(path))])
    if segment is not None:
        return read_segment(path, segment, fps)
    return media.read_frames(path, TimeSampler(fps))


def row(asset: dict, frame: Frame, params: Frames) -> dict:
    """One row of the frames table. Statistics and hash are those of the picture as it was scaled, before the JPEG."""
    rgb = media.fit(frame.rgb, params.max_side)
    brightness, contrast, sharpness = media.statistics(rgb)
    return {
        "frame_id": f"{asset['asset_id']}-{frame.index:08d}",
        "asset_id": asset["asset_id"],
        "frame_index": frame.index,
        "pts": frame.pts,
        "time_base_num": asset["time_base_num"],
        "time_base_den": asset["time_base_den"],
        "width": rgb.shape[1],
        "height": rgb.shape[0],
        "jpeg": media.encode_jpeg(rgb, params.jpeg_quality),
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": sharpness,
        "perceptual_hash": media.perceptual_hash(rgb),
    }


def check_file(item: dict) -> dict:
    """Reads the file of the asset `item` for all the units that need it: {"stamp"}, or {"problem", "remedy"}."""
    try:
        return {"stamp": check_unchanged(paths.resolve(item["uri"]), item)}
    except SightlineError as error:
        return {"problem": error.problem, "remedy": error.remedy}


def check_unchanged(path: Path, asset: dict) -> list[int]:
    """The file's size and time of change, its bytes being those that the catalog names; else raises SightlineError.

    Its bytes are not read where `asset["stamp"]` says that they were, at that size and time.
    """
    try:
        stamp = _stamp(path)
        if stamp[0] != asset["bytes"]:
            raise changed(path, f"it has {stamp[0]} bytes, the catalog says {asset['bytes']}")
        if stamp != asset.get("stamp") and file_sha256(path) != asset["sha256"]:
            raise changed(path, "its bytes are not those that the catalog names")
    except OSError as error:
        raise changed(path, f"it cannot be read ({error.strerror or error})") from None
    return stamp


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def changed(path: Path, reason: str) -> SightlineError:
    """The error for a file that is no longer what ingest saw."""
    return SightlineError(f"{path}: changed since ingest: {reason}", "run the ingest stage again, then this one")
