"""Readers for label files. CSV in three forms, told apart by the header (the order of the columns is free):

    video,frame_index,label         one frame of a video, counted from 0
    image,label                     one picture
    video,start_s,end_s,label       frames at start <= t < end, in seconds from the video's first frame

A line that cannot be understood is refused with its reason; the others are not lost.
"""

import csv
import io
import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from components.core.errors import SightlineError

FRAMES = ("video", "frame_index", "label")
PICTURES = ("image", "label")
INTERVALS = ("video", "start_s", "end_s", "label")
FORMS = (FRAMES, INTERVALS, PICTURES)

_INDEX = re.compile(r"\d{1,18}", re.ASCII)
_SECONDS = re.compile(r"(\d{1,12}(\.\d{0,12})?|\.\d{1,12})", re.ASCII)


@dataclass(frozen=True)
class Label:
    """One line that was understood. `media` is the file it speaks of, as written, with forward slashes.

    Of `index` (a frame, from 0) and `span` (start and end in exact seconds) one is set, or neither: a whole picture.
    """

    line: int
    media: str
    word: str
    index: int | None = None
    span: tuple[Fraction, Fraction] | None = None


@dataclass(frozen=True)
class Refusal:
    """A line of a labels file that is not taken over, and why."""

    line: int
    reason: str


def read_labels(path: Path) -> tuple[list[Label], list[Refusal]]:
    """The labels of a CSV file and the lines refused, both in the file's order.

    Raises SightlineError, naming the file and the line, where it is not UTF-8, not CSV, or has an unknown header.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SightlineError(f"{path}: line {line} is not UTF-8", "save the file as UTF-8") from None
    return parse_labels(text, str(path))


def parse_labels(text: str, origin: str) -> tuple[list[Label], list[Refusal]]:
    """As `read_labels`, for the text of a file; `origin` is what errors call it."""
    labels: list[Label] = []
    refused: list[Refusal] = []
    columns: dict[str, int] | None = None
    form: tuple[str, ...] = ()
    for line, row in _records(text, origin):
        if columns is None:
            form, columns = _header(row, origin, line)
            continue
        try:
            labels.append(_label(line, row, form, columns))
        except ValueError as error:
            refused.append(Refusal(line, str(error)))
    if columns is None:
        raise SightlineError(f"{origin}: line 1: the file is empty", f"its first line must be {_expected()}")
    return labels, refused


def _records(text: str, origin: str):
    """(line on which it starts, fields) of every record that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    start = 1
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise SightlineError(f"{origin}: line {start}: not CSV ({error})", "correct its quotes") from None
        if any(field.strip() for field in row):
            yield start, row
        start = reader.line_num + 1


def _header(row: list[str], origin: str, line: int) -> tuple[tuple[str, ...], dict[str, int]]:
    names = [name.strip().lower() for name in row]
    for form in FORMS:
        if all(names.count(name) == 1 for name in form):
            return form, {name: names.index(name) for name in form}
    raise SightlineError(
        f"{origin}: line {line}: unknown header {','.join(row)!r}", f"the first line must be {_expected()}"
    )


def _expected() -> str:
    return " or ".join(",".join(form) for form in FORMS)


def _label(line: int, row: list[str], form: tuple[str, ...], columns: dict[str, int]) -> Label:
    """The label in a record. Raises ValueError with the reason where there is none."""
    if len(row) <= max(columns.values()):
        raise ValueError(f"{len(row)} fields, {max(columns.values()) + 1} are needed")
    value = {name: row[column].strip() for name, column in columns.items()}
    for name, text in value.items():
        if not text:
            raise ValueError(f"{name} is empty")
    media = value["image" if form is PICTURES else "video"].replace("\\", "/").removeprefix("./")
    if form is FRAMES:
        if not _INDEX.fullmatch(value["frame_index"]):
            raise ValueError(f"frame_index {value['frame_index']!r} is not a whole number from 0")
        return Label(line, media, value["label"], index=int(value["frame_index"]))
    if form is INTERVALS:
        start, end = (_seconds(name, value[name]) for name in ("start_s", "end_s"))
        if not start < end:
            raise ValueError(f"end_s {value['end_s']} is not after start_s {value['start_s']}")
        return Label(line, media, value["label"], span=(start, end))
    return Label(line, media, value["label"])


def _seconds(name: str, text: str) -> Fraction:
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"{name} {text!r} is not a decimal number of seconds from 0")
    return Fraction(text)
