"""What one file is: decoded whole, its facts, or the reason why it cannot be used. Runs in a process of its own."""

import errno
import os
import stat
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import cv2
import PIL

from components.core import media, segments
from components.core.files import file_sha256
from components.core.media import MediaError
from components.core.recipe import Limits
from components.core.workcache import work_key
from components.ingest import exif, known, pictures, video

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


class TooLarge(MediaError):
    """More pixels are declared than the recipe allows to be decoded."""

    def __init__(self, pixels: int, most: int):
        super().__init__(f"{pixels} pixels are more than {most} (ingest.limits.pixels)")
        self.pixels = pixels


def kind_of(name: str) -> str:
    """`video` or `picture`, by the name."""
    return "video" if Path(name).suffix.lower() in media.VIDEO_SUFFIXES else "picture"


def fingerprint(path: str | Path) -> list[int]:
    """What changes when a file's bytes change, without reading them: size, times, inode. Raises OSError."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")  # to open a named pipe is to wait for its writer
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def probe_file(item: dict) -> dict:
    """The record of the file `item["path"]`, of which the bytes' digest `item["sha256"]` may be known.

    sha256, bytes, kind, status (ok | quarantined), reason, pixels (of a picture or frame, as declared), codec, width,
    height, time_base and rate (fractions as two integers), pts (all frames), statistics, perceptual_hash (of a
    picture), EXIF's columns and exif, and `fingerprint` where the record is that of these bytes for good. `limits`
    are the recipe's (Limits); with `decode` false nothing but the digest is found out. With `in_parts` the record of a
    long video has a `plan` (see `video.outline`) in place of the facts, which `merge_parts` gives. Never raises for
    what the file is, but for MemoryError: an error nobody foresaw is the reason.
    """
    path, kind, limits = Path(item["path"]), kind_of(item["path"]), Limits(**item.get("limits", {}))
    record = {"sha256": item.get("sha256") or "", "bytes": 0, "kind": kind, "status": QUARANTINED, "fingerprint": None}
    try:
        before = fingerprint(path)
        record |= {"bytes": before[0], "sha256": record["sha256"] or file_sha256(path)}
        if not item.get("decode", True):
            return record | {"fingerprint": before}
        kept = known.record(record["sha256"], kind, code())
        if kept and (kept := settled(kept, limits)):
            return kept | {"fingerprint": before}
        facts = _facts(path, kind, limits, item.get("in_parts", False))
        if fingerprint(path) != before:
            return record | {"reason": "the file changed while it was read: it may still be being written"}
        return record | facts | {"fingerprint": before}
    except MemoryError:
        raise
    except OSError as error:
        return record | {"reason": f"cannot be read ({error.strerror or error})"}
    except Exception as error:
        return record | {"reason": f"unexpected {type(error).__name__}: {error}"}


def probe_part(item: dict) -> dict:
    """What `video.part` says of part `number` of the video `path`, by its `plan`."""
    return video.part(item["path"], item["plan"], item["number"])


def merge_parts(item: dict) -> dict:
    """The record of a long video: `record`, as `probe_file` left it with its plan and what was `found` of its parts."""
    record = {name: value for name, value in item["record"].items() if name != "plan"}
    try:
        facts = _usable(lambda: video.merged(item["path"], item["record"]["plan"], item["found"]))
        if fingerprint(item["path"]) != record["fingerprint"]:
            changed = "the file changed while it was read: it may still be being written"
            facts = {"status": QUARANTINED, "reason": changed, "fingerprint": None}
        return record | facts
    except MemoryError:
        raise
    except Exception as error:
        reason = f"unexpected {type(error).__name__}: {error}"
        return record | {"status": QUARANTINED, "reason": reason, "fingerprint": None}


@cache
def code() -> str:
    """Names what makes the records: with another decoder or other code they are made anew."""
    return work_key(
        "",
        {"engine": media.ENGINE, "pillow": PIL.__version__},
        media,
        segments,
        pictures,
        exif,
        video,
        sys.modules[__name__],
    )


def settled(record: dict, limits: Limits) -> dict | None:
    """A kept record as it would be made under these limits; None where it must be made anew, for one was raised."""
    same = {name: record[name] for name in ("sha256", "bytes", "kind")}
    if (record.get("pixels") or 0) > limits.pixels:
        return same | _refusal(TooLarge(record["pixels"], limits.pixels))
    if record.get("needs_over_mb", 0) >= limits.memory_mb:
        return record | {"reason": f"needed more than {limits.memory_mb} MB"}
    return None if record.get("too_large") or record.get("needs_over_mb") else record


def _facts(path: Path, kind: str, limits: Limits, in_parts: bool) -> dict:
    declared = 0

    def check_pixels(count: int) -> None:
        nonlocal declared
        declared = count
        if count > limits.pixels:
            raise TooLarge(count, limits.pixels)

    def look() -> dict:
        _check_signature(path, kind)
        if kind == "picture":
            return pictures.facts(path, check_pixels)
        check_pixels(_frame_pixels(path))
        plan = video.outline(path) if in_parts else None
        return {"plan": plan} if video.parts(plan) > 1 else video.facts(path)

    found = _usable(look)
    return {"pixels": declared} | found


def _usable(look: Callable[[], dict]) -> dict:
    """What `look` finds, with its status; the reason where it raises MediaError or a decoder's own error."""
    try:
        return look() | {"status": OK}
    except (MediaError, cv2.error, av.FFmpegError) as error:
        if _out_of_memory(error):
            raise MemoryError from None
        return _refusal(error)


def _refusal(error: Exception) -> dict:
    large = {"pixels": error.pixels, "too_large": True} if isinstance(error, TooLarge) else {}
    return {"status": QUARANTINED, "reason": str(error)} | large


def _check_signature(path: Path, kind: str) -> None:
    with open(path, "rb") as file:
        head = file.read(16)
    for offset, mark, content, words in _SIGNATURES:
        if head[offset:].startswith(mark) and content != kind:
            raise MediaError(f"named as a {kind}, but it holds {words}")


def _frame_pixels(path: Path) -> int:
    """The pixels of a video's frame, as its header declares them; 0 where the video cannot be opened.

    Raises MediaError where FFmpeg has no decoder for it.
    """
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            stream = container.streams.best("video")
            if stream is not None and stream.codec_context is None:
                raise MediaError("no decoder knows its video stream")
            return stream.codec_context.width * stream.codec_context.height if stream else 0
    except (av.FFmpegError, ValueError) as error:
        if _out_of_memory(error):
            raise
        return 0  # decoding it says why


def _out_of_memory(error: BaseException | None) -> bool:
    """Whether a decoder that ran out of memory is behind an error."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            return True
        error = error.__context__
    return False
