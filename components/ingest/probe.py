"""What one file is: decoded whole, its facts, or the reason why it cannot be used. Runs on Spark's workers."""

import json
import os
import sys
from pathlib import Path

from components.core import media
from components.core.files import atomic_text, file_sha256
from components.core.media import MediaError
from components.core.workcache import work_key, work_path
from components.ingest import pictures

STAGE = "ingest"
OK, QUARANTINED, DUPLICATE = "ok", "quarantined", "duplicate"

# How a file begins -> what it is. A JPEG that is called .mp4 opens in FFmpeg as a film of one frame: refuse it here.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "picture", "a JPEG picture"),
    (0, b"\x89PNG", "picture", "a PNG picture"),
    (0, b"GIF8", "picture", "a GIF picture"),
    (0, b"II*\0", "picture", "a TIFF picture"),
    (0, b"MM\0*", "picture", "a TIFF picture"),
    (0, b"BM", "picture", "a BMP picture"),
    (8, b"WEBP", "picture", "a WebP picture"),
    (4, b"ftyp", "video", "an MP4 video"),
    (8, b"AVI ", "video", "an AVI video"),
    (0, b"\x1aE\xdf\xa3", "video", "a Matroska video"),
    (0, b"\0\0\1\xba", "video", "an MPEG video"),
)


def kind_of(name: str) -> str:
    """`video` or `picture`, by the name."""
    return "video" if Path(name).suffix.lower() in media.VIDEO_SUFFIXES else "picture"


def fingerprint(path: str | Path) -> list[int]:
    """What changes when a file's bytes change, without reading them: size, times, inode. Raises OSError."""
    status = os.stat(path)
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def probe_file(item: dict) -> dict:
    """The record of the file `item["path"]`, of which the bytes' digest `item["sha256"]` may be known.

    sha256, bytes, kind, status (ok | quarantined), reason, codec, width, height, time_base and rate (fractions as two
    integers), pts (all frames), brightness, contrast, sharpness, captured_at, exif, and `fingerprint` where the digest
    belongs to it. Never raises for what the file is: an error nobody foresaw is the reason, and is not kept.
    """
    path, kind = Path(item["path"]), kind_of(item["path"])
    record = {"sha256": item.get("sha256") or "", "bytes": 0, "kind": kind, "status": QUARANTINED, "fingerprint": None}
    try:
        before = fingerprint(path)
        record |= {"bytes": before[0], "sha256": record["sha256"] or file_sha256(path)}
        if kept := cached(record["sha256"], kind):
            return kept | {"fingerprint": before}
        facts = _facts(path, kind)
        if fingerprint(path) != before:
            return record | {"reason": "the file changed while it was read: it may still be being written"}
        atomic_text(_entry(record["sha256"], kind), json.dumps(record | facts, sort_keys=True))
        return record | facts | {"fingerprint": before}
    except OSError as error:
        return record | {"reason": f"cannot be read ({error.strerror or error})"}
    except Exception as error:
        return record | {"reason": f"unexpected {type(error).__name__}: {error}"}


def cached(sha256: str, kind: str) -> dict | None:
    """The record kept for these bytes, or None."""
    try:
        return json.loads(_entry(sha256, kind).read_text())
    except (OSError, ValueError):
        return None


def _entry(sha256: str, kind: str) -> Path:
    params = {"kind": kind, "engine": media.ENGINE}
    return work_path(STAGE, work_key(sha256, params, media, pictures, sys.modules[__name__]), ".json")


def _facts(path: Path, kind: str) -> dict:
    try:
        _check_signature(path, kind)
        return (_video(path) if kind == "video" else pictures.facts(path)) | {"status": OK}
    except MediaError as error:
        return {"status": QUARANTINED, "reason": str(error)}


def _check_signature(path: Path, kind: str) -> None:
    with open(path, "rb") as file:
        head = file.read(16)
    for offset, mark, content, words in _SIGNATURES:
        if head[offset:].startswith(mark) and content != kind:
            raise MediaError(f"named as a {kind}, but it holds {words}")


def _video(path: Path) -> dict:
    info = media.probe_video(path)
    count = len(info.pts)
    notes = [f"{len(info.damaged)} of {count} frames are damaged, first {info.damaged[0]}"] if info.damaged else []
    notes += [f"{info.retimed} of {count} time stamps did not increase and were put right"] if info.retimed else []
    return {
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "time_base": info.time_base.as_integer_ratio(),
        "rate": info.rate and info.rate.as_integer_ratio(),
        "pts": info.pts.tolist(),
        "brightness": info.brightness,
        "contrast": info.contrast,
        "sharpness": info.sharpness,
        "captured_at": info.captured_at,
        "reason": "; ".join(notes) or None,
    }
