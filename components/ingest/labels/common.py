"""What the readers of labels share: the label, the refusal, names of media, boxes by their corners."""

import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from components.core.progress import progress

MANY = 2000  # files of labels from which on reading shows its progress
TRACK_BITS = 24
_NUMBER = re.compile(r"[+-]?(\d{1,18}(\.\d{0,18})?|\.\d{1,18})([eE][+-]?\d{1,3})?", re.ASCII)


class Box(NamedTuple):
    """Left, top, width and height in pixels of the upright picture, or (`relative`) as shares of its sides."""

    x: float
    y: float
    w: float
    h: float
    relative: bool = False


class Label(NamedTuple):
    """What one place of a labels file says. `file` is its name below the source's folder, `line` where it stands.

    `media` is the file it speaks of, by its whole name below the source's folder or by its last parts. Of `index` (a
    frame, from 0) and `span` (start and end in exact seconds, None: to the end) one is set, or, for a picture, neither.
    `word` is the source's word, or several of them, of which those that the recipe's label_map knows count. Without
    `box` the label is one of whole frames. `track` is an identity over time, see `track_id`. A box of `weight` 0 is to
    be ignored: it is neither an example of its class nor background. `size`: (width, height) of the picture as the
    file states them. `said_by`: the annotations' `source`, where it is not that of all the source's labels.
    """

    file: str
    line: int | None
    media: str
    word: str | tuple[str, ...]
    index: int | None = None
    span: tuple[Fraction, Fraction | None] | None = None
    box: Box | None = None
    track: int | None = None
    weight: float = 1.0
    size: tuple[int, int] | None = None
    said_by: str | None = None


@dataclass(frozen=True)
class Refusal:
    """A place of a file that is not taken over, and why. `line` is None where it is the file as a whole."""

    file: str
    line: int | None
    reason: str


@dataclass
class Found:
    """What a reader found, in the order of the files and of their lines. `files`: how many files of labels it read.

    `form`: the reader's name, None where the source has no labels.
    """

    labels: list[Label] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    files: int = 0
    form: str | None = None


class Names:
    """The names of a source's media, found again by how they end or by their stem."""

    def __init__(self, names: Iterable[str]):
        self.all = frozenset(names)
        self._endings: dict[str, list[str]] = defaultdict(list)
        self._stems: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.all):
            parts = name.split("/")
            for first in range(len(parts)):
                self._endings["/".join(parts[first:])].append(name)
            self._stems[parts[-1].rpartition(".")[0]].append(name)

    def ending(self, name: str) -> list[str]:
        """The media called `name`: that one by its whole name, else all whose last parts these are."""
        return [name] if name in self.all else self._endings.get(name, [])

    def stem(self, stem: str) -> list[str]:
        """The media whose name without folder and suffix is `stem`."""
        return self._stems.get(stem, [])

    @staticmethod
    def nearest(found: list[str], file: str) -> list[str]:
        """Those of `found` that share most folders with `file`, counted from the source's folder."""
        if len(found) < 2:
            return found
        folders = file.split("/")[:-1]
        shared = [_shared(name.split("/")[:-1], folders) for name in found]
        return [name for name, count in zip(found, shared, strict=True) if count == max(shared)]


def _shared(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def number(name: str, text: str | None) -> float:
    """The finite number in `text`. Raises ValueError naming the field."""
    if text is None or not text.strip():
        raise ValueError(f"{name} is empty")
    value = float(text) if _NUMBER.fullmatch(text.strip()) else math.inf
    if not math.isfinite(value):
        raise ValueError(f"{name} {text.strip()!r} is not a number")
    return value


def pixel_corners(left: float, top: float, right: float, bottom: float) -> Box:
    """The box whose first and last pixels these are, both in it and counted from 1, as Pascal VOC writes them."""
    if right < left or bottom < top:
        raise ValueError(f"xmax, ymax {right:g}, {bottom:g} lie before xmin, ymin {left:g}, {top:g}")
    return Box(left - 1, top - 1, right - left + 1, bottom - top + 1)


def track_id(sequence: str, number: int) -> int:
    """Identity `number` of a sequence as one number that no other sequence of the source has.

    The lower TRACK_BITS bits are `number`; above stand 39 bits of the SHA-256 of the sequence's name, so that a further
    sequence changes no identity. Raises ValueError where `number` is negative or too large.
    """
    if not 0 <= number < 1 << TRACK_BITS:
        raise ValueError(f"the identity {number} is not within 0 to {(1 << TRACK_BITS) - 1}")
    return _sequence(sequence) << TRACK_BITS | number


@lru_cache(maxsize=4096)
def _sequence(name: str) -> int:
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") >> (64 - 39)


def contents(root: Path, files: list[str], found: Found):
    """(name, bytes) of each file that can be read; the others are added to what `found` refused. Counts them all."""
    found.files += len(files)
    if len(files) < MANY:
        yield from _contents(root, files, found)
        return
    with progress("labels", len(files), "files") as ticker:
        for name, content in _contents(root, files, found):
            yield name, content
            ticker.advance()


def _contents(root: Path, files: list[str], found: Found):
    for name in files:
        try:
            yield name, (root / name).read_bytes()
        except OSError as error:
            found.refused.append(Refusal(name, None, f"cannot be read ({error.strerror or error})"))
