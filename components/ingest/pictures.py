"""Facts of one picture: pixels, statistics, and what its EXIF says.

Pillow reads the header and EXIF, OpenCV the pixels (as every later stage does: upright whatever the format, CMYK
turned to RGB, 16 bits to 8, alpha left out, colour profiles ignored). Of an animated picture, or one of several pages,
the first is used and `reason` says so.
"""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from components.core.media import MediaError, decode_picture, perceptual_hash, saturation, statistics
from components.ingest import exif

# By name, for else Pillow also tries readers that start other programs (EPS). A JPEG may turn out to be an MPO.
FORMATS = ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP")
_JPEG = ("JPEG", "MPO")

Image.MAX_IMAGE_PIXELS = None  # the recipe says how large a picture may be

_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
# What may stand between scans: tables (DHT, DAC, DQT, DRI), DNL, the next scan, APPn and a comment.
_BETWEEN_SCANS = frozenset([0xC4, 0xCC, 0xDB, 0xDD, 0xDC, _START_OF_SCAN, 0xFE, *range(0xE0, 0xF0)])


def facts(path: Path, check_pixels: Callable[[int], None]) -> dict:
    """A picture as a record of one frame (pts 0, time base 1): codec, width, height, statistics, EXIF's columns, exif.

    width and height are those of the upright picture. `check_pixels(count)` raises where the header declares more
    pixels than may be decoded. Raises MediaError where the picture cannot be decoded to its end.
    """
    content = path.read_bytes()
    if not content:
        raise MediaError("the file is empty")
    codec, tags, notes = _open(content, check_pixels)
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
        "saturation": saturation(rgb),
        "perceptual_hash": perceptual_hash(rgb),
        **exif.columns(tags),
        "exif": json.dumps(tags, sort_keys=True, ensure_ascii=False) if tags else None,
        "reason": "; ".join(notes) or None,
    }


def _open(content: bytes, check_pixels: Callable[[int], None]) -> tuple[str, dict, list[str]]:
    """(codec, EXIF by tag names, notes). Raises MediaError where not all of the picture is there.

    OpenCV fills what is missing with grey and says nothing, so the end of the data is looked for here.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            check_pixels(picture.width * picture.height)
            if picture.format in _JPEG:  # Pillow would decode it as OpenCV does: twice the time for nothing
                _check_jpeg(content)
                return picture.format.lower(), *_tags(picture)
            # Pillow forgets how a TIFF lay once it is decoded, and decodes a PNG for its EXIF's sake.
            found = _tags(picture) if picture.format == "TIFF" else None
            picture.load()
            _check_end(content, picture.format)
            tags, notes = found or _tags(picture)
            return picture.format.lower(), tags, notes + _more(picture)
    except UnidentifiedImageError:
        raise MediaError("cannot be decoded as a picture") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise MediaError(f"cannot be decoded as a picture ({error})") from None


def _tags(picture: Image.Image) -> tuple[dict, list[str]]:
    try:
        return exif.tags(picture), []
    except MemoryError:
        raise
    except Exception as error:  # Pillow's parser was not written for hostile blocks: they raise whatever comes
        return {}, [f"its EXIF cannot be read ({type(error).__name__})"]


def _more(picture: Image.Image) -> list[str]:
    count = getattr(picture, "n_frames", 1)
    kind = "pages" if picture.format == "TIFF" else "frames"
    return [f"the first of {count} {kind}"] if count > 1 else []


def _check_jpeg(content: bytes) -> None:
    """Walks over a JPEG's markers to its end. Raises MediaError where there is none, or one that cannot be there."""
    at, in_scans = 2, False
    while found := _MARKER.search(content, at):
        code = found[1][0]
        if code == _END_OF_IMAGE and in_scans:
            return
        if in_scans and code not in _BETWEEN_SCANS:
            raise MediaError(f"damaged: a marker {code:#04x} within the picture")
        in_scans = in_scans or code == _START_OF_SCAN
        at = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    raise MediaError("truncated: the picture has no end")


def _check_end(content: bytes, kind: str) -> None:
    """Raises MediaError where the end of a PNG, GIF or WebP is missing (what it shows may be there all the same)."""
    ended = {
        "PNG": lambda: b"IEND\xaeB`\x82" in content[-4096:],
        "GIF": lambda: content.rstrip(b"\0").endswith(b";"),
        "WEBP": lambda: int.from_bytes(content[4:8], "little") + 8 <= len(content),
    }
    if kind in ended and not ended[kind]():
        raise MediaError("truncated: the picture has no end")
