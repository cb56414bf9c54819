"""Labels and assets -> annotations: every label finds its asset and frames, or is refused with the reason."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from components.ingest.boxes import box_row, settle_boxes
from components.ingest.labels.common import Label, Refusal
from components.ingest.match import NO_CLASS, Asset, Matcher, frames_of, where


@dataclass(frozen=True)
class Annotated:
    """`rows` of the annotations table, sorted; refused places in order; how many labels were accepted.

    `unmapped`: words of labels with several words that label_map does not know, and how many labels have them.
    `foreign`: classes of boxes that the task does not have, and how many boxes.
    """

    rows: list[dict]
    refused: list[Refusal]
    accepted: int
    unmapped: dict[str, int] = field(default_factory=dict)
    foreign: dict[str, int] = field(default_factory=dict)


class _Claim:
    """A label of whole frames: the class (its index), and its frames from `first` to before `end`."""

    __slots__ = ("end", "first", "label", "said")

    def __init__(self, said: Label, label: int, first: int, end: int):
        self.said, self.label, self.first, self.end = said, label, first, end


def annotate(
    labels: Iterable[Label],
    files: dict[str, Asset],
    classes: tuple[str, ...],
    words: dict[str, str],
    uncovered: str | None = None,
    positive: str | None = None,
    label_source: str = "human",
) -> Annotated:
    """One annotation per run of neighbouring frames with the same class, and one per box.

    `files` maps names in the source to assets (the same bytes under two names are one asset); a label may name a file
    by its whole name or by as many of its last parts as make it unique. `words` maps the source's words to `classes`.
    Two labels that give a frame different classes are both refused, and that frame is left unlabelled; so are two boxes
    of one identity in one frame. A label that says again what another said is accepted and adds no row. Of a label with
    several words those count that `words` knows: `positive` wins, then the class that stands last in `classes`; where
    it knows none, its frames are left unlabelled. `uncovered` is the class of frames that no label of frames speaks of.
    A box has the class that `words` gives it or its own word; it is cut at the picture's edge. `label_source` is the
    rows' `source`, who says so, where a label does not say it itself.
    """
    matcher = Matcher(files, classes, words, positive)
    refused: list[Refusal] = []
    claims: dict[str, list[_Claim]] = defaultdict(list)
    boxes: list[tuple[Label, dict]] = []
    for label in labels:
        try:
            asset = matcher.asset(label.media)
            if label.box is not None:
                boxes.append((label, box_row(label, asset, words, label_source)))
            else:
                index = matcher.index(label.word)
                claims[asset.asset_id].append(_Claim(label, index, *frames_of(label, asset)))
        except ValueError as error:
            refused.append(Refusal(label.file, label.line, str(error)))
    assets = {asset.asset_id: asset for asset in files.values() if asset.refused is None}
    rows, conflicts, accepted = settle_boxes(boxes)
    refused += conflicts
    foreign = Counter(row["class"] for row in rows if row["class"] not in classes)
    for asset_id in sorted(assets):
        if uncovered is None and asset_id not in claims:
            continue
        found, conflicts, taken = _settle(assets[asset_id], claims[asset_id], classes)
        refused += conflicts
        accepted += taken
        if uncovered is not None:
            found = np.where(found == NO_CLASS, classes.index(uncovered), found)
        told = next((claim.said.said_by for claim in claims[asset_id] if claim.said.said_by), label_source)
        rows += _runs(assets[asset_id], found, classes, told)
    rows.sort(key=_row_order)
    refused.sort(key=lambda refusal: (refusal.file, refusal.line or 0))
    return Annotated(rows, refused, accepted, matcher.unmapped(), dict(sorted(foreign.items())))


def _row_order(row: dict) -> tuple:
    box = (row["x"], row["y"], row["w"], row["h"], row["weight"]) if "x" in row else ()
    track = row.get("track_id")
    return (row["asset_id"], row["first_pts"], row["class"], NO_CLASS if track is None else track, box)


def _settle(asset: Asset, claims: list[_Claim], classes: tuple[str, ...]) -> tuple[np.ndarray, list[Refusal], int]:
    """(class index per frame, labels that contradict one another, labels accepted). Disputed frames: below NO_CLASS."""
    silent = [claim for claim in claims if claim.label == NO_CLASS]
    claims = [claim for claim in claims if claim.label != NO_CLASS]
    frames, none = len(asset.pts), len(claims)
    first, end, wanted = (
        np.array([getattr(claim, name) for claim in claims], dtype=np.int64) for name in ("first", "end", "label")
    )
    one = np.flatnonzero(end - first == 1)  # labels of single frames may be millions: all at once
    longer = np.flatnonzero(end - first > 1).tolist()
    # Per frame, the first claim on it and the first that disagrees with that one: `none` where there is no such claim.
    holder, rival = (np.full(frames, none) for _ in range(2))
    np.minimum.at(holder, first[one], one)
    for number in longer:
        part = holder[first[number] : end[number]]
        np.minimum(part, number, out=part)
    wrong = one[wanted[one] != wanted[holder[first[one]]]]
    np.minimum.at(rival, first[wrong], wrong)
    for number in longer:
        part = slice(first[number], end[number])
        disagrees = wanted[holder[part]] != wanted[number]
        rival[part][disagrees] = np.minimum(rival[part][disagrees], number)
    disputed = rival < none
    settled = np.full(frames, NO_CLASS)
    clash = disputed[first]
    settled[first[one[~clash[one]]]] = wanted[one[~clash[one]]]
    for number in longer:
        part = slice(first[number], end[number])
        clash[number] = disputed[part].any()
        if not clash[number]:
            settled[part] = wanted[number]
    refused = []
    for number in np.flatnonzero(clash).tolist():
        frame = claims[number].first + int(np.argmax(disputed[first[number] : end[number]]))
        other = claims[holder[frame] if wanted[holder[frame]] != wanted[number] else rival[frame]]
        mine, said = classes[claims[number].label], claims[number].said
        reason = f"frame {frame} is {mine} here and {classes[other.label]} {where(other.said, said)}"
        refused.append(Refusal(said.file, said.line, reason))
    # Frames of refused labels have a class that is not known: they are not `uncovered`.
    for claim in (*(claims[number] for number in np.flatnonzero(clash)), *silent):
        part = settled[claim.first : claim.end]
        part[part == NO_CLASS] = NO_CLASS - 1
    return settled, refused, none - len(refused)


def _runs(asset: Asset, found: np.ndarray, classes: tuple[str, ...], label_source: str) -> Iterator[dict]:
    """Runs of frames with one class as rows of the annotations table."""
    edges = np.flatnonzero(np.diff(found)) + 1
    for first, end in zip([0, *edges], [*edges, len(found)], strict=True):
        if found[first] >= 0:
            yield {
                "asset_id": asset.asset_id,
                "first_pts": int(asset.pts[first]),
                "last_pts": int(asset.pts[end - 1]),
                "class": classes[found[first]],
                "source": label_source,
                "weight": 1.0,
            }
