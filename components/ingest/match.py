"""Which asset a label speaks of, which of its frames, and which class."""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from components.ingest.labels.common import Label, Names

SLACK_S = 1  # people round the end of an interval up
NO_CLASS = -1


@dataclass(frozen=True)
class Asset:
    """What labels are matched against. `pts` (frames,) int64; `refused`: why a file is not an asset, else None.

    `width` and `height` are those of the upright picture, in pixels.
    """

    asset_id: str
    kind: str
    pts: np.ndarray
    time_base: Fraction
    refused: str | None = None
    width: int = 0
    height: int = 0


class Matcher:
    """Finds assets by what labels call them, and classes by their words. Answers are kept: labels repeat them."""

    def __init__(self, files: dict[str, Asset], classes: tuple[str, ...], words: dict[str, str], positive: str | None):
        self._files, self._names = files, Names(files)
        self._classes, self._words, self._positive = classes, words, positive
        self._assets: dict[str, Asset | str] = {}
        self._indexes: dict[str | tuple, int | str] = {}
        self._counts: Counter = Counter()

    def asset(self, media: str) -> Asset:
        """The asset called `media`. Raises ValueError with the reason where there is none."""
        if media not in self._assets:
            self._assets[media] = self._find(media)
        return _or_raise(self._assets[media])

    def index(self, word: str | tuple[str, ...]) -> int:
        """The class's index; NO_CLASS where none of several words is known. Raises ValueError for an unknown word."""
        if word not in self._indexes:
            self._indexes[word] = self._several(word) if isinstance(word, tuple) else self._one(word)
        if isinstance(word, tuple):
            self._counts[word] += 1
        return _or_raise(self._indexes[word])

    def unmapped(self) -> dict[str, int]:
        """Of the labels with several words: those that are not known, and the number of labels that have them."""
        counts = Counter()
        for words, count in self._counts.items():
            counts.update({word: count for word in words if self._known(word) is None})
        return dict(sorted(counts.items()))

    def _find(self, media: str) -> Asset | str:
        found = self._names.ending(media)
        if not found:
            return f"no video or picture {media!r} in the source"
        if len({self._files[name].asset_id for name in found}) > 1:
            return f"{media!r} may be any of {', '.join(found)}: name its folder too"
        asset = self._files[found[0]]
        return asset if asset.refused is None else f"{found[0]} is quarantined: {asset.refused}"

    def _one(self, word: str) -> int | str:
        name = self._words.get(word, word)
        if name in self._classes:
            return self._classes.index(name)
        return f"label {name!r} is not one of the classes {', '.join(self._classes)}"

    def _several(self, words: tuple[str, ...]) -> int:
        names = {self._known(word) for word in words} & set(self._classes)
        if self._positive in names:
            return self._classes.index(self._positive)
        return max((self._classes.index(name) for name in names), default=NO_CLASS)

    def _known(self, word: str) -> str | None:
        """The class of a word `kind:word`: the map may have it with its kind, which goes first, or without."""
        return self._words.get(word, self._words.get(word.partition(":")[2]))


def _or_raise(answer):
    if isinstance(answer, str):
        raise ValueError(answer)
    return answer


def frames_of(label: Label, asset: Asset) -> tuple[int, int]:
    """First and end (exclusive) of the frames. Raises ValueError where the video has no such frames."""
    count = len(asset.pts)
    if label.index is not None:
        if label.index >= count:
            raise ValueError(f"frame_index {label.index} is past the end: {label.media} has {count} frames, from 0")
        return label.index, label.index + 1
    if label.span is None:
        if asset.kind != "picture":
            raise ValueError(f"{label.media} is a video: label its frames or intervals")
        return 0, 1
    start, end = label.span
    if end is None:
        return 0, count
    ticks = asset.pts - asset.pts[0]
    last = int(ticks[-1]) * asset.time_base
    frame = (int(ticks[-1]) - int(ticks[-2])) * asset.time_base if count > 1 else Fraction(0)
    if start > last or end > last + frame + SLACK_S:
        reach = f"{float(start):g} to {float(end):g} s"
        raise ValueError(f"{reach} is past the end: the last frame of {label.media} is at {float(last):.3f} s")
    first, after = (int(np.searchsorted(ticks, _ceil(second / asset.time_base))) for second in (start, end))
    if first == after:
        raise ValueError(f"no frame of {label.media} lies between {float(start):g} and {float(end):g} s")
    return first, after


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def where(label: Label, seen_from: Label) -> str:
    """Where a label stands, as said to the reader of another one."""
    if label.line is None:
        return f"by {label.file}"
    return f"on line {label.line}" + (f" of {label.file}" if label.file != seen_from.file else "")
