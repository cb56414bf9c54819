"""From what a detector finds frame by frame to tracks, and these as what the metrics take. Pure.

A frame's tracks are `Boxes` whose weights are the scores and whose identities are the tracks' numbers, from 1 on in
every sequence. A video is a sequence; pictures of one folder are one too, in the order of their names.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from components.core.recipe import Tracker as TrackerParams
from components.tasks.classification.samples import Samples
from components.tasks.detection.boxes import Detections
from components.tasks.detection.samples import NOBODY, Boxes
from components.tasks.detection.tracking.metrics import Tracks
from components.tracks.detections import followable
from components.tracks.tracker import Tracker


@dataclass(frozen=True)
class Sequential:
    """A sequence's name, the `rows` (N,) of its frames among samples, in order of time; their `times` (N,), rising, in
    units of its own; its (width, height) in pixels."""

    name: str
    rows: np.ndarray
    times: np.ndarray
    size: tuple[int, int]


def sequentials(samples: Samples, catalog: Iterable[dict]) -> list[Sequential]:
    """The sequences that these samples' assets make, by name. `catalog`: their asset_id, name, kind, width, height."""
    assets = {row["asset_id"]: row for row in catalog}
    found, folders = [], {}
    for place, asset in enumerate(samples.asset_ids):
        row, rows = assets[asset], np.arange(samples.starts[place], samples.starts[place + 1])
        if row["kind"] == "video":
            found.append(Sequential(row["name"], rows, samples.pts[rows], (row["width"], row["height"])))
        else:
            folders.setdefault(str(PurePosixPath(row["name"]).parent), []).append((row["name"], row, rows))
    for name, pictures in folders.items():
        pictures.sort(key=lambda one: one[0])
        rows = np.concatenate([rows for *_, rows in pictures])
        first = pictures[0][1]
        found.append(Sequential(name, rows, np.arange(len(rows)), (first["width"], first["height"])))
    return sorted(found, key=lambda one: one.name)


def follow(found: Detections, one: Sequential, params: TrackerParams) -> list[Boxes]:
    """The tracks in each frame of a sequence, by rising identity. found: numpy, of all samples, with embeddings where
    the network gives them. Boxes are the detections' own, in units of the frame."""
    embeddings = getattr(found, "embeddings", None)
    gaps = np.diff(one.times)
    steps = gaps / np.median(gaps) if len(gaps) else gaps
    tracker, scale = Tracker(params), np.array([*one.size, *one.size], np.float64)
    frames = []
    for row, dt in zip(one.rows, [1.0, *steps], strict=True):
        boxes = found.boxes[row].astype(np.float64) * scale
        there = np.flatnonzero((found.scores[row] > 0) & followable(boxes))
        looks = None if embeddings is None else embeddings[row][there]
        tracked = tracker.update(boxes[there], found.scores[row][there], found.classes[row][there], looks, float(dt))
        rows = there[np.array([track.row for track in tracked], np.int64)]
        ids = np.array([track.track_id for track in tracked], np.int64)
        frames.append(Boxes(found.boxes[row][rows], found.classes[row][rows], found.scores[row][rows], ids))
    return frames


def measurable(
    name: str, truths: Sequence[Boxes | None], tracked: Sequence[Boxes], classes: Sequence[str]
) -> dict[str, tuple[Tracks, Tracks]]:
    """(truth, tracks) of a sequence's frames of which it is known what they show, by NAME or, where the task has
    several classes, NAME/CLASS. Coordinates are shares of the picture: overlaps are the same in pixels.

    Boxes of weight 0 or of no identity need not be found, and what is found there counts neither way.
    """
    known = [row for row, truth in enumerate(truths) if truth is not None]
    sides = []
    for frames, ignoring in (([truths[row] for row in known], True), ([tracked[row] for row in known], False)):
        every = {part: _joined(frames, part) for part in ("boxes", "classes", "weights", "identities")}
        frame = np.repeat(np.arange(len(frames)), [len(one) for one in frames])
        ignore = (every["weights"] == 0) | (every["identities"] == NOBODY) if ignoring else None
        sides.append((every, frame, ignore))
    made = {}
    for kind, label in enumerate(classes[1:], start=1):
        pair = []
        for every, frame, ignore in sides:
            own = every["classes"] == kind
            boxes = every["boxes"][own].reshape(-1, 4).astype(np.float64)
            pair.append(Tracks(boxes, every["identities"][own], frame[own], None if ignore is None else ignore[own]))
        if len(pair[0]) or len(pair[1]):
            made[name if len(classes) == 2 else f"{name}/{label}"] = tuple(pair)
    return made


def _joined(frames: Sequence[Boxes], part: str) -> np.ndarray:
    return np.concatenate([getattr(one, part) for one in frames]) if len(frames) else np.empty(0, np.int64)
