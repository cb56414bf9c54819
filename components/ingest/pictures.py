"""Facts of one picture: pixels, statistics, and what its EXIF says."""

import json
import math
import re
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IFDRational

from components.core.media import MediaError, decode_picture, statistics

# Of the first block only these: in a TIFF it also says how the pixels are laid out.
_GENERAL = "ImageDescription Make Model Orientation Software DateTime Artist HostComputer Copyright".split()
_BLOCKS = ((0x8769, ExifTags.TAGS), (0x8825, ExifTags.GPSTAGS))  # the camera's block and the GPS block
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")


def facts(path: Path) -> dict:
    """A picture as a record of one frame (pts 0, time base 1): codec, width, height, statistics, captured_at, exif.

    width and height are those of the upright picture. Raises MediaError where it cannot be decoded to its end.
    """
    content = path.read_bytes()
    if not content:
        raise MediaError("the file is empty")
    codec, tags = _open(path)
    rgb = decode_picture(content)
    brightness, contrast, sharpness = statistics(rgb)
    return {
        "codec": codec,
        "width": rgb.shape[1],
        "height": rgb.shape[0],
        "time_base": (1, 1),
        "rate": None,
        "pts": [0],
        "brightness": brightness,
        "contrast": contrast,
        "sharpness": sharpness,
        "captured_at": _captured_at(tags),
        "exif": json.dumps(tags, sort_keys=True, ensure_ascii=False) if tags else None,
        "reason": None,
    }


def _open(path: Path) -> tuple[str, dict]:
    """(codec, EXIF by tag names). Decodes to the end: OpenCV would fill what is missing with grey and say nothing."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return (picture.format or "").lower(), _exif(picture)
    except UnidentifiedImageError:
        raise MediaError("cannot be decoded as a picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError(f"cannot be decoded as a picture ({error})") from None


def _exif(picture: Image.Image) -> dict:
    exif = picture.getexif()
    found = {name: exif[ExifTags.Base[name]] for name in _GENERAL if ExifTags.Base[name] in exif}
    for block, names in _BLOCKS:
        found |= {names.get(tag, str(tag)): value for tag, value in exif.get_ifd(block).items()}
    plain = {name: _plain(value) for name, value in found.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    """An EXIF value as JSON: exact fractions as "n/d"; blocks of bytes (maker's notes, thumbnails) are left out."""
    if isinstance(value, IFDRational):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, str):
        return value.replace("\0", "").strip()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def _captured_at(tags: dict) -> str | None:
    """ISO 8601, with the offset from UTC where the camera wrote one."""
    for name, offset in (("DateTimeOriginal", "OffsetTimeOriginal"), ("DateTime", "OffsetTime")):
        if found := _TIME.match(str(tags.get(name, ""))):
            year, month, day, time = found.groups()
            return f"{year}-{month}-{day}T{time}{tags.get(offset, '')}"
    return None
