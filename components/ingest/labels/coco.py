"""COCO: one JSON file with images, annotations and categories (Lin et al., "Microsoft COCO", ECCV 2014).

COCO Camera Traps is the same without boxes: its annotations are of whole pictures.
"""

import json
from pathlib import Path

from components.core.errors import SightlineError
from components.ingest.labels.common import Box, Found, Label, Refusal

KEYS = ("images", "annotations", "categories")
_NUMBERS = (int, float)


def read(root: Path, files: list[str]) -> Found:
    """The boxes, and the labels of whole pictures, of these files. `iscrowd` boxes have weight 0.

    Raises SightlineError naming file, line and column where one is not JSON, or has not the form of COCO.
    """
    found = Found()
    for file in files:
        body = load(root / file)
        found.files += 1
        images = _by_id(body["images"], "images", root / file)
        categories = _by_id(body["categories"], "categories", root / file)
        for place, entry in enumerate(body["annotations"]):
            name = f"annotation {entry['id']!r}" if isinstance(entry, dict) and "id" in entry else f"entry {place}"
            try:
                found.labels.append(_label(file, entry, images, categories))
            except ValueError as error:
                found.refused.append(Refusal(file, None, f"{name}: {error}"))
    return found


def load(path: Path) -> dict:
    """A COCO file's content. Raises SightlineError where it is none."""
    try:
        body = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        problem = f"{path}: line {error.lineno} column {error.colno}: not JSON ({error.msg})"
        raise SightlineError(problem, "write the file again: it may have been cut off") from None
    except UnicodeDecodeError as error:
        raise SightlineError(f"{path}: byte {error.start} is not UTF-8", "save the file as UTF-8") from None
    except ValueError as error:
        raise SightlineError(f"{path}: not JSON ({error})", "write the file again") from None
    except RecursionError:
        raise SightlineError(f"{path}: lists within lists without end", "write the file again") from None
    except OSError as error:
        raise SightlineError(f"{path}: cannot be read ({error.strerror})", "see that the file may be read") from None
    for key in KEYS:
        if not isinstance(body, dict) or not isinstance(body.get(key), list):
            raise SightlineError(f"{path}: no list {key!r} in it", f"COCO has the lists {', '.join(KEYS)}")
    return body


def _by_id(entries: list, key: str, path: Path) -> dict:
    """id -> entry. Raises SightlineError for one without a usable id, and for an id that stands there twice."""
    table = {}
    for place, entry in enumerate(entries):
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, (int, str)):
            raise SightlineError(f"{path}: entry {place} of {key} has no id", "write the file again")
        if number in table:
            raise SightlineError(f"{path}: two entries of {key} have the id {number!r}", "write the file again")
        table[number] = entry
    return table


def _label(file: str, entry: object, images: dict, categories: dict) -> Label:
    """The label in an annotation. Raises ValueError with the reason where there is none."""
    if not isinstance(entry, dict):
        raise ValueError("it is no object")
    image, category = _entry(entry, "image_id", images), _entry(entry, "category_id", categories)
    media, word = _text(image, "file_name"), _text(category, "name")
    sides = [image.get(side) for side in ("width", "height")]
    size = tuple(sides) if all(isinstance(side, int) and side > 0 for side in sides) else None
    weight = 0.0 if entry.get("iscrowd") == 1 else 1.0
    media = media.replace("\\", "/").removeprefix("./")
    return Label(file, None, media, word, box=_box(entry.get("bbox")), weight=weight, size=size)


def _entry(entry: dict, key: str, table: dict) -> dict:
    number = entry.get(key)
    if not isinstance(number, (int, str)) or number not in table:
        raise ValueError(f"no {key.removesuffix('_id')} has the id {number!r}")
    return table[number]


def _text(entry: dict, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"its {key} is {value!r}")
    return value.strip().encode(errors="backslashreplace").decode()  # JSON may hold halves of characters


def _box(value: object) -> Box | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(type(side) in _NUMBERS for side in value):
        raise ValueError(f"bbox {value!r} is not x, y, width, height")
    try:
        return Box(*map(float, value))
    except OverflowError:
        raise ValueError("bbox has a number that is too large") from None
