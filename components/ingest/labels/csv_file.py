"""Labels as CSV, told apart by the header (order and case of the columns are free, more columns may stand there):

    video,frame_index,label         one frame of a video, counted from 0
    image,label                     one picture
    video,start_s,end_s,label       frames at start <= t < end, in seconds from the video's first frame
    filename,class,xmin,ymin,xmax,ymax[,width,height]     boxes by their corners, as in Pascal VOC's XML
    ImageID,LabelName,XMin,XMax,YMin,YMax                 boxes as in Open Images, as shares of the picture's sides

The first two may have x,y,w,h (a box in pixels; empty: a label of the whole frame) and track_id besides. The label's
column may be called `class` where there is no `label`. A line that cannot be understood is refused with its reason.
"""

import csv
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from components.core.errors import SightlineError
from components.ingest.labels.common import Box, Found, Label, Names, Refusal, number, pixel_corners, track_id

LABEL, CLASS = "label", "class"
FRAMES = ("video", "frame_index", LABEL)
PICTURES = ("image", LABEL)
INTERVALS = ("video", "start_s", "end_s", LABEL)
CORNERS = ("filename", CLASS, "xmin", "ymin", "xmax", "ymax")
OPEN_IMAGES = ("imageid", "labelname", "xmin", "xmax", "ymin", "ymax")
FORMS = (FRAMES, INTERVALS, OPEN_IMAGES, CORNERS, PICTURES)
BOX, TRACK, SIZE, GROUP = ("x", "y", "w", "h"), "track_id", ("width", "height"), "isgroupof"

_INDEX = re.compile(r"\d{1,18}", re.ASCII)
_SECONDS = re.compile(r"(\d{1,12}(\.\d{0,12})?|\.\d{1,12})", re.ASCII)


@dataclass(frozen=True)
class _Form:
    """A header that was understood: the form, where its columns are, and the place of the rightmost that is needed."""

    kind: tuple[str, ...]
    columns: dict[str, int]
    last: int


def read(root: Path, file: str, names: Names, column: str | None = None, forms: tuple = FORMS) -> Found:
    """The labels of a CSV file and the lines refused, both in the file's order.

    `column`: the header of the label's column where it is another; `forms`: those that are allowed. Raises
    SightlineError, naming the file and the line, where it is not UTF-8, not CSV, or has an unknown header.
    """
    path = root / file
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SightlineError(f"{path}: line {line} is not UTF-8", "save the file as UTF-8") from None
    except OSError as error:
        raise SightlineError(f"{path}: cannot be read ({error.strerror})", "see that the file may be read") from None
    return parse(text, file, str(path), names, column, forms)


def parse(text: str, file: str, origin: str, names: Names, column: str | None = None, forms: tuple = FORMS) -> Found:
    """As `read`, for the text of a file; `origin` is what errors call it."""
    found, form, make = Found(files=1), None, None
    for line, row in _records(text, origin):
        if form is None:
            form = _header(row, origin, line, column, forms)
            make = _maker(file, form, names)
            continue
        try:
            if len(row) <= form.last:
                raise ValueError(f"{len(row)} fields, {form.last + 1} are needed")
            found.labels.append(make(line, row))
        except ValueError as error:
            found.refused.append(Refusal(file, line, str(error)))
    if form is None:
        raise SightlineError(f"{origin}: line 1: the file is empty", f"its first line must be {_expected(forms)}")
    return found


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
        if row and (row[0].strip() or any(field.strip() for field in row)):
            yield start, row
        start = reader.line_num + 1


def _header(row: list[str], origin: str, line: int, column: str | None, forms: tuple) -> _Form:
    names = [name.strip().lower() for name in row]
    wanted = column.strip().lower() if column else LABEL if LABEL in names else CLASS
    for kind in forms:
        called = {name: wanted if name in (LABEL, CLASS) else name for name in kind}
        if all(names.count(name) == 1 for name in called.values()):
            columns = {name: names.index(here) for name, here in called.items()}
            more = (*SIZE, GROUP) if kind in (CORNERS, OPEN_IMAGES) else (*BOX, TRACK)
            columns |= {name: names.index(name) for name in more if names.count(name) == 1 and kind is not INTERVALS}
            return _Form(kind, columns, max(columns.values()))
    if column and wanted not in names:
        raise SightlineError(
            f"{origin}: line {line}: no column {column!r} in the header {','.join(row)!r}",
            "name the label's column as the header does",
        )
    raise SightlineError(
        f"{origin}: line {line}: unknown header {','.join(row)!r}", f"the first line must be {_expected(forms)}"
    )


def _expected(forms: tuple) -> str:
    return " or ".join(",".join(form) for form in forms)


def _maker(file: str, form: _Form, names: Names) -> Callable[[int, list[str]], Label]:
    """What makes a label of a record, given its line. It raises ValueError with the reason where there is none."""
    if form.kind is CORNERS:
        return lambda line, row: _corners(file, line, _Row(form.columns, row))
    if form.kind is OPEN_IMAGES:
        return lambda line, row: _open_images(file, line, _Row(form.columns, row), names)
    if form.kind is INTERVALS:
        return lambda line, row: _interval(file, line, _Row(form.columns, row))
    return lambda line, row: _frame(file, line, _Row(form.columns, row), form.kind)


class _Row:
    """The fields of a record by their columns' names, without white space at their ends."""

    __slots__ = ("_columns", "_row")

    def __init__(self, columns: dict[str, int], row: list[str]):
        self._columns, self._row = columns, row

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def any(self, name: str) -> str:
        """The field, empty where it is or where there is no such column."""
        at = self._columns.get(name)
        return "" if at is None else self._row[at].strip()

    def text(self, name: str) -> str:
        """The field. Raises ValueError where it is empty."""
        value = self._row[self._columns[name]].strip()
        if not value:
            raise ValueError(f"{name} is empty")
        return value

    def number(self, name: str) -> float:
        """The field as a number. Raises ValueError where it is none."""
        return number(name, self._row[self._columns[name]])

    def index(self, name: str) -> int:
        """The field as a whole number from 0. Raises ValueError where it is none."""
        value = self.text(name)
        if not _INDEX.fullmatch(value):
            raise ValueError(f"{name} {value!r} is not a whole number from 0")
        return int(value)

    def media(self, name: str) -> str:
        """The field as the name of a file, with forward slashes."""
        return self.text(name).replace("\\", "/").removeprefix("./")


def _frame(file: str, line: int, row: _Row, kind: tuple[str, ...]) -> Label:
    """A line of FRAMES or PICTURES. A picture's tracks are those of its folder, which is its sequence."""
    media = row.media(kind[0])
    index = row.index("frame_index") if kind is FRAMES else None
    word = row.text(LABEL)
    box = _box(row)
    track = None
    if row.any(TRACK):
        track = track_id(media if kind is FRAMES else media.rpartition("/")[0], row.index(TRACK))
        if box is None:
            raise ValueError("a track_id without a box")
    return Label(file, line, media, word, index, None, box, track)


def _box(row: _Row) -> Box | None:
    """The box in x, y, w, h; None where there are no such columns or all are empty."""
    if not all(side in row for side in BOX) or not any(row.any(side) for side in BOX):
        return None
    return Box(*(row.number(side) for side in BOX))


def _interval(file: str, line: int, row: _Row) -> Label:
    media = row.media("video")
    start, end = (_seconds(name, row.text(name)) for name in ("start_s", "end_s"))
    word = row.text(LABEL)
    if not start < end:
        raise ValueError(f"end_s {row.text('end_s')} is not after start_s {row.text('start_s')}")
    return Label(file, line, media, word, span=(start, end))


def _seconds(name: str, text: str) -> Fraction:
    if not _SECONDS.fullmatch(text):
        raise ValueError(f"{name} {text!r} is not a decimal number of seconds from 0")
    return Fraction(text)


def _corners(file: str, line: int, row: _Row) -> Label:
    box = pixel_corners(*(row.number(name) for name in ("xmin", "ymin", "xmax", "ymax")))
    sides = [int(row.number(side)) for side in SIZE] if all(row.any(side) for side in SIZE) else []
    size = (sides[0], sides[1]) if sides and min(sides) > 0 else None
    return Label(file, line, row.media("filename"), row.text(CLASS), box=box, size=size)


def _open_images(file: str, line: int, row: _Row, names: Names) -> Label:
    """Open Images names a picture without its suffix. A box around a group of many has weight 0."""
    image = row.media("imageid")
    found = names.stem(image) if not names.ending(image) else []
    if len(found) > 1:
        raise ValueError(f"{image!r} may be any of {', '.join(found)}")
    left, right, top, bottom = (row.number(name) for name in ("xmin", "xmax", "ymin", "ymax"))
    box = Box(left, top, right - left, bottom - top, relative=True)
    weight = 0.0 if row.any(GROUP) == "1" else 1.0
    return Label(file, line, found[0] if found else image, row.text("labelname"), box=box, weight=weight)
