"""What a tracker made of the frames of an asset, what is there, and how well the two agree in each sequence. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.core.recipe import Task
from components.tasks.classification.samples import Samples
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.samples import Boxes
from components.tasks.detection.tracking.follow import measurable
from components.tasks.detection.tracking.metrics import Counts, sequence_counts, summary

RENAMED = {"misses": "missed_boxes", "false_positives": "false_positive_boxes"}  # frames have their own


@dataclass(frozen=True)
class FrameTracks:
    """Of each of N frames of an asset: `places` (N,) int64 in the sequence of this name, from 0 on in order of time;
    `tracked` and `marked` as `FoundSamples` has its tracks and what is marked."""

    sequence: str
    places: np.ndarray
    tracked: list[Boxes]
    marked: list[Boxes | None]

    def columns(self, row: int) -> dict:
        """A frame's columns of the predictions table."""
        tracked, marked = self.tracked[row], self.marked[row]
        return {
            "sequence": self.sequence, "place": int(self.places[row]),
            "tracked": _numbers(tracked), "tracked_ids": tracked.identities.tolist(),
            "marked": None if marked is None else _numbers(marked),
            "marked_ids": None if marked is None else marked.identities.tolist(),
        }  # fmt: skip


@dataclass(frozen=True)
class Followed:
    """`figures`: of all sequences together (`components.tasks.detection.tracking.metrics`), none where nothing is to be
    followed. `rows`: of each sequence, by name, and of several classes each, the same with `frames` of which it is
    known what they show and `boxes` to be found there."""

    figures: dict[str, float | int]
    rows: list[dict]


def frame_tracks(samples: Samples) -> list[FrameTracks | None]:
    """Of each asset of the samples, in their order; None where no tracker was asked."""
    if not isinstance(samples, FoundSamples) or samples.tracks is None:
        return [None] * len(samples.asset_ids)
    names, places = np.empty(len(samples), object), np.empty(len(samples), np.int64)
    for one in samples.sequences:
        names[one.rows], places[one.rows] = one.name, np.arange(len(one.rows))
    parts = [samples.rows(asset) for asset in range(len(samples.asset_ids))]
    return [FrameTracks(names[at.start], places[at], samples.tracks[at], samples.marked[at]) for at in parts]


def sequences(assets: Sequence) -> dict[str, list[tuple[int, int]]]:
    """The frames of each sequence of `scores.Scored` assets as (asset, row), by name and then in order of time."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for number, asset in enumerate(assets):
        if asset.tracks is not None:
            rows = ((int(place), number, row) for row, place in enumerate(asset.tracks.places))
            found.setdefault(asset.tracks.sequence, []).extend(rows)
    return {name: [(asset, row) for _, asset, row in sorted(found[name])] for name in sorted(found)}


def followed(assets: Sequence, task: Task) -> Followed:
    """How well `scores.Scored` assets were followed. Raises SightlineError as `sequence_counts`."""
    counts: dict[str, Counts] = {}
    about: list[dict] = []
    for name, frames in sequences(assets).items():
        marked = [assets[asset].tracks.marked[row] for asset, row in frames]
        tracked = [assets[asset].tracks.tracked[row] for asset, row in frames]
        known = sum(truth is not None for truth in marked)
        pairs = measurable(name, marked, tracked, task.classes)
        counts |= sequence_counts(pairs)
        for key, (truth, _) in pairs.items():
            kind = {"class": key.removeprefix(f"{name}/")} if len(task.classes) > 2 else {}
            about.append({"sequence": name, **kind, "frames": known, "boxes": int((~truth.ignore).sum())})
    if not counts:
        return Followed({}, [])
    figures = summary(counts)
    rows = [one | _renamed(row) for one, row in zip(about, figures.pop("per_sequence"), strict=True)]
    return Followed(_renamed(figures) if figures["tracks"] else {}, rows)


def _renamed(figures: dict) -> dict:
    return {RENAMED.get(name, name): value for name, value in figures.items() if name != "sequence"}


def _numbers(boxes: Boxes) -> list[float]:
    """Six a box: left, top, right, bottom, class, weight."""
    return np.concatenate([boxes.boxes, boxes.classes[:, None], boxes.weights[:, None]], 1).ravel().tolist()
