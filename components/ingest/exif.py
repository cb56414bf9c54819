"""EXIF: a picture's tags as plain values, and the catalog's columns made of them.

Cameras write what they like: a value that is not of its kind is left out, and never fails a picture.
"""

import math
import re
from datetime import datetime
from fractions import Fraction
from typing import Any

from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

# Of the first block only these: in a TIFF it also says how the pixels are laid out.
_GENERAL = "ImageDescription Make Model Orientation Software DateTime Artist HostComputer Copyright".split()
_BLOCKS = ((0x8769, ExifTags.TAGS), (0x8825, ExifTags.GPSTAGS))  # the camera's block and the GPS block
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)", re.ASCII)
_OFFSET = re.compile(r"Z|[+-]\d\d:\d\d", re.ASCII)
_FRACTION = re.compile(r"(-?\d{1,30})/(\d{1,30})", re.ASCII)
_BELOW_SEA_LEVEL = (1, 3)  # GPSAltitudeRef; 3 is "below" against the ellipsoid (EXIF 3.0)
_INT32 = 2**31


def tags(picture: Image.Image) -> dict[str, Any]:
    """The tags of an open picture by name, JSON-able: exact fractions as "n/d", maker's notes and such left out.

    May raise anything where the block is damaged: Pillow follows its offsets wherever they lead.
    """
    exif = picture.getexif()
    if not exif:
        return {}
    found = {name: exif[ExifTags.Base[name]] for name in _GENERAL if ExifTags.Base[name] in exif}
    for block, names in _BLOCKS:
        found |= {names.get(tag, str(tag)): value for tag, value in exif.get_ifd(block).items()}
    plain = {name: _plain(value) for name, value in found.items()}
    return {name: value for name, value in plain.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, IFDRational):
        return f"{value.numerator}/{value.denominator}"
    if isinstance(value, str):
        return value.replace("\0", "").strip().encode(errors="replace").decode()
    if isinstance(value, bytes):  # blocks of bytes are of no use here, but one byte is a small number
        return value[0] if len(value) == 1 else None
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def columns(found: dict[str, Any]) -> dict[str, Any]:
    """The catalog's columns that EXIF fills, of `tags`; None where a value is missing or makes no sense.

    latitude and longitude in decimal degrees, north and east positive; altitude_m above sea level.
    """
    sensitivity = _number(_first(found, "PhotographicSensitivity", "ISOSpeedRatings"))
    orientation = found.get("Orientation")
    return {
        "captured_at": captured_at(found),
        "camera_make": _text(found.get("Make")),
        "camera_model": _text(found.get("Model")),
        "lens": _text(found.get("LensModel")),
        "exposure_s": _positive(found.get("ExposureTime")),
        "f_number": _positive(found.get("FNumber")),
        "iso": int(sensitivity) if sensitivity is not None and 1 <= sensitivity < _INT32 else None,
        "focal_length_mm": _positive(found.get("FocalLength")),
        "orientation": orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else None,
        "latitude": _angle(found, "GPSLatitude", "NS", 90),
        "longitude": _angle(found, "GPSLongitude", "EW", 180),
        "altitude_m": _altitude(found),
    }


def captured_at(found: dict[str, Any]) -> str | None:
    """ISO 8601, with the offset from UTC where the camera wrote one; None where it is no date."""
    for name, offset in (("DateTimeOriginal", "OffsetTimeOriginal"), ("DateTime", "OffsetTime")):
        if written := _TIME.match(str(found.get(name, ""))):
            year, month, day, time = written.groups()
            zone = str(found.get(offset, ""))
            try:
                datetime.fromisoformat(moment := f"{year}-{month}-{day}T{time}")
            except ValueError:  # a clock that was never set: 0000:00:00
                continue
            return moment + (zone if _OFFSET.fullmatch(zone) else "")
    return None


def _first(found: dict[str, Any], *names: str) -> Any:
    return next((found[name] for name in names if name in found), None)


def _text(value: Any) -> str | None:
    return value or None if isinstance(value, str) else None


def _number(value: Any) -> float | None:
    """A finite number of a tag: a fraction "n/d", a number, or the first of several."""
    if isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        parts = _FRACTION.fullmatch(value)
        return float(Fraction(int(parts[1]), int(parts[2]))) if parts and int(parts[2]) else None
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _positive(value: Any) -> float | None:
    number = _number(value)
    return number if number is not None and 0 < number < _INT32 else None


def _angle(found: dict[str, Any], name: str, sides: str, most: int) -> float | None:
    """Degrees, minutes and seconds as decimal degrees, signed by the side; None where either is missing."""
    side, parts = str(found.get(f"{name}Ref", ""))[:1].upper(), found.get(name)
    parts = parts if isinstance(parts, list) else [parts]
    numbers = [_number(part) for part in parts]
    # An empty `side` is in every string.
    if not side or side not in sides or len(parts) > 3 or any(part is None or part < 0 for part in numbers):
        return None
    degrees = sum(part / 60**power for power, part in enumerate(numbers))
    if degrees > most:
        return None
    return -degrees if side == sides[1] and degrees else degrees


def _altitude(found: dict[str, Any]) -> float | None:
    height, reference = _number(found.get("GPSAltitude")), _number(found.get("GPSAltitudeRef"))
    if height is None or abs(height) >= _INT32:
        return None
    return -height if reference in _BELOW_SEA_LEVEL and height else height
