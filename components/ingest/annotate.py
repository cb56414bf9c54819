"""Labels and assets -> annotations: every label finds its asset and frames, or is refused with the reason."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from components.ingest.labels import Label, Refusal

SLACK_S = 1  # people round the end of an interval up
NO_CLASS = -1


@dataclass(frozen=True)
class Asset:
    """What labels are matched against. `pts` (frames,) int64; `refused`: why a file is not an asset, else None."""

    asset_id: str
    kind: str
    pts: np.ndarray
    time_base: Fraction
    refused: str | None = None


@dataclass(frozen=True)
class Annotated:
    """`rows` of the annotations table, sorted; refused lines in order; how many lines were accepted."""

    rows: list[dict]
    refused: list[Refusal]
    accepted: int


@dataclass(frozen=True)
class _Claim:
    line: int
    asset: Asset
    label: int  # index of the class
    first: int
    end: int


def annotate(
    labels: Iterable[Label],
    files: dict[str, Asset],
    classes: tuple[str, ...],
    words: dict[str, str],
    uncovered: str | None = None,
) -> Annotated:
    """One annotation per run of neighbouring frames with the same class.

    `files` maps names in the source to assets (the same bytes under two names are one asset); a label may name a file
    by its whole name or by as many of its last parts as make it unique. `words` maps the source's words to `classes`.
    Two lines that give a frame different classes are both refused, and that frame is left unlabelled. `uncovered` is
    the class of frames that no line speaks of.
    """
    names = _by_suffix(files)
    refused: list[Refusal] = []
    claims: dict[str, list[_Claim]] = defaultdict(list)
    for label in labels:
        try:
            claim = _claim(label, names, files, classes, words)
            claims[claim.asset.asset_id].append(claim)
        except ValueError as error:
            refused.append(Refusal(label.line, str(error)))
    assets = {asset.asset_id: asset for asset in files.values() if asset.refused is None}
    rows, accepted = [], 0
    for asset_id in sorted(assets):
        found, conflicts, taken = _settle(assets[asset_id], claims[asset_id], classes)
        refused += conflicts
        accepted += taken
        if uncovered is not None:
            found = np.where(found == NO_CLASS, classes.index(uncovered), found)
        rows += _runs(assets[asset_id], found, classes)
    rows.sort(key=lambda row: (row["asset_id"], row["first_pts"], row["class"]))
    return Annotated(rows, sorted(refused, key=lambda refusal: refusal.line), accepted)


def _by_suffix(files: dict[str, Asset]) -> dict[str, list[str]]:
    """Every trailing part of a name, at its slashes -> the names that end so."""
    names = defaultdict(list)
    for name in sorted(files):
        parts = name.split("/")
        for first in range(len(parts)):
            names["/".join(parts[first:])].append(name)
    return names


def _claim(label: Label, names, files, classes, words) -> _Claim:
    """The frames that a label speaks of. Raises ValueError with the reason where there are none."""
    found = [label.media] if label.media in files else names.get(label.media, [])
    if not found:
        raise ValueError(f"no video or picture {label.media!r} in the source")
    if len({files[name].asset_id for name in found}) > 1:
        raise ValueError(f"{label.media!r} may be any of {', '.join(found)}: name its folder too")
    asset = files[found[0]]
    if asset.refused is not None:
        raise ValueError(f"{found[0]} is quarantined: {asset.refused}")
    name = words.get(label.word, label.word)
    if name not in classes:
        raise ValueError(f"label {name!r} is not one of the classes {', '.join(classes)}")
    first, end = _frames(label, asset)
    return _Claim(label.line, asset, classes.index(name), first, end)


def _frames(label: Label, asset: Asset) -> tuple[int, int]:
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


def _settle(asset: Asset, claims: list[_Claim], classes: tuple[str, ...]) -> tuple[np.ndarray, list[Refusal], int]:
    """(class index per frame, lines that contradict one another, lines accepted). Disputed frames: below NO_CLASS."""
    # Per frame, the first claim on it and the first that disagrees with that one: -1 where there is none.
    first, other = (np.full(len(asset.pts), -1) for _ in range(2))
    wanted = np.array([claim.label for claim in claims], dtype=np.int64)
    for number, claim in enumerate(claims):
        part = slice(claim.first, claim.end)
        first[part][first[part] < 0] = number
        disagrees = wanted[first[part]] != claim.label
        other[part][disagrees & (other[part] < 0)] = number
    settled = np.full(len(asset.pts), NO_CLASS)
    refused, accepted = [], 0
    for claim in claims:
        clash = np.flatnonzero(other[claim.first : claim.end] >= 0)
        if not clash.size:
            settled[claim.first : claim.end] = claim.label
            accepted += 1
            continue
        frame = claim.first + int(clash[0])
        rival = claims[first[frame] if wanted[first[frame]] != claim.label else other[frame]]
        reason = f"frame {frame} is {classes[claim.label]} here and {classes[rival.label]} on line {rival.line}"
        refused.append(Refusal(claim.line, reason))
    # Frames of refused lines have a class that is not known: they are not `uncovered`.
    for claim in claims:
        part = settled[claim.first : claim.end]
        part[part == NO_CLASS] = NO_CLASS - 1
    return settled, refused, accepted


def _runs(asset: Asset, found: np.ndarray, classes: tuple[str, ...]) -> Iterator[dict]:
    """Runs of frames with one class as rows of the annotations table."""
    edges = np.flatnonzero(np.diff(found)) + 1
    for first, end in zip([0, *edges], [*edges, len(found)], strict=True):
        if found[first] >= 0:
            yield {
                "asset_id": asset.asset_id,
                "first_pts": int(asset.pts[first]),
                "last_pts": int(asset.pts[end - 1]),
                "class": classes[found[first]],
                "source": "human",
                "weight": 1.0,
            }
