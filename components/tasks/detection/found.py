"""What a detector finds in the frames of a split, beside what is known of them: for evaluation and promotion."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from components.core import paths, tables
from components.core.media import decode_picture, resize
from components.core.progress import progress
from components.core.recipe import Recipe, Task, Tracker
from components.tasks.classification.samples import Samples, load_samples
from components.tasks.detection.boxes import Detections
from components.tasks.detection.metrics import OVERLAP, iou_matrix
from components.tasks.detection.samples import NOTHING, PEOPLE, Boxes, BoxSource, box_source, drawn_by_people
from components.tasks.detection.tracking.follow import Sequential, follow, measurable, sequentials
from components.tasks.detection.tracking.metrics import Tracks

BATCH = 16
TEACHER = "lime"  # the source of annotations of boxes that a classifier was asked for


@dataclass(frozen=True)
class FoundSamples(Samples):
    """Samples with what was found in each frame, numpy, and what it shows (None where that is not known).

    Where people drew boxes `truths` holds theirs alone, and `taught` those by others, such as LIME's. Where a tracker
    was asked, `tracks` of each frame, and `sequences`; `seen` and `marked` are then what was found in each and what it
    shows with all that is about boxes of weight 0.
    """

    found: Detections
    truths: list[Boxes | None]
    taught: list[Boxes | None] | None = None
    seen: Detections | None = None
    marked: list[Boxes | None] | None = None
    tracks: list[Boxes] | None = None
    sequences: list[Sequential] | None = None

    def followed(self, tracker: Tracker) -> "FoundSamples":
        """The same as another tracker follows it. Of samples that have `sequences`."""
        tracks: list[Boxes] = [NOTHING] * len(self)
        for one in self.sequences:
            for row, shown in zip(one.rows, follow(self.seen, one, tracker), strict=True):
                tracks[row] = shown
        return replace(self, tracks=tracks)

    def measurable(self, task: Task) -> dict[str, tuple[Tracks, Tracks]]:
        """(truth, tracks) of every sequence, for `tracking.metrics`; nothing where no tracker was asked."""
        pairs: dict[str, tuple[Tracks, Tracks]] = {}
        for one in self.sequences or ():
            truths, tracks = ([every[row] for row in one.rows] for every in (self.marked, self.tracks))
            pairs |= measurable(one.name, truths, tracks, task.classes)
        return pairs


def found_rows(found: Detections, row: int) -> np.ndarray:
    """What was found in a picture, (K, 6) float32: left, top, right, bottom, class, score."""
    there = found.scores[row] > 0
    parts = found.boxes[row], found.classes[row][:, None], found.scores[row][:, None]
    return np.concatenate([part[there] for part in parts], 1).astype(np.float32)


def truth_rows(truth: Boxes) -> np.ndarray:
    """What there is, (T, 5) float32: left, top, right, bottom, class."""
    return np.concatenate([truth.boxes, truth.classes[:, None]], 1).astype(np.float32)


def found_samples(
    recipe: Recipe, network: nn.Module, size: tuple[int, int], *splits: str, tracker: Tracker | None = None
) -> FoundSamples:
    """All frames of these splits, in the order of `load_samples`. `size`: (height, width) that the network sees;
    `tracker`: how what is found is followed, None: not at all."""
    samples, source = load_samples(recipe, *splits), box_source(recipe, *splits)
    people = drawn_by_people(recipe, *splits)
    place = {frame: row for row, frame in enumerate(samples.frame_ids)}
    files = [file for group in source.groups for file in group]
    parts, order = [], []
    with progress(f"detector@{recipe.name}", len(samples), "frames") as ticker, torch.inference_mode():
        for ids, pictures in _batches(files, set(place), size):
            pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
            found = network(pixels)
            parts.append(type(found)(*(part.numpy() for part in found)))
            order += [place[frame] for frame in ids]
            ticker.advance(len(ids))
    back = np.argsort(order)
    found = type(parts[0])(*(np.concatenate(part)[back] for part in zip(*parts, strict=True)))
    truths = _known(box_source(recipe, *splits, drawn_by=PEOPLE) if people else source, place)
    taught = _known(box_source(recipe, *splits, drawn_by=(TEACHER,)), place) if people else []
    taught = taught if any(one is not None and len(one) for one in taught) else None
    if tracker is None:
        return FoundSamples(**vars(samples), found=found, truths=counted(truths, found), taught=taught)
    columns = ["asset_id", "name", "kind", "status", "width", "height"]
    catalog = tables.read_table(paths.data(recipe.name, "catalog"), columns).to_pylist()
    made = sequentials(samples, (row for row in catalog if row["status"] == "ok"))
    kept = type(found)(*(part.copy() for part in found))
    own = {"found": kept, "truths": counted(truths, kept), "taught": taught}
    return FoundSamples(**vars(samples), **own, seen=found, marked=truths, sequences=made).followed(tracker)


def counted(truths: list[Boxes | None], found: Detections) -> list[Boxes | None]:
    """The true boxes of each picture but those of weight 0, which are neither objects nor background; None where those
    are all. The score of what was found (numpy) in their places is set to 0, in `found` itself: it counts neither way.
    """
    known = list(truths)
    for row, truth in enumerate(truths):
        if truth is not None and len(truth) and not truth.weights.all():
            known[row] = _without_ignored(truth, found, row)
    return known


def _without_ignored(truth: Boxes, found: Detections, row: int) -> Boxes | None:
    """`counted` of one picture."""
    counts = truth.weights > 0
    if not counts.any():
        return None
    away = iou_matrix(found.boxes[row], truth.boxes[~counts]).max(1, initial=0) >= OVERLAP
    there = iou_matrix(found.boxes[row], truth.boxes[counts]).max(1, initial=0) >= OVERLAP
    kept = ~away | there
    order = np.argsort(~kept, kind="stable")  # what counts first, best first as before
    found.scores[row] = np.where(kept, found.scores[row], 0)
    for part in (found.boxes, found.scores, found.classes, getattr(found, "embeddings", None)):
        if part is not None:
            part[row] = part[row][order]
    return truth.at(counts)


def _known(source: BoxSource, place: dict[str, int]) -> list[Boxes | None]:
    """What is known of the frames, each at its `place`."""
    known: list[Boxes | None] = [None] * len(place)
    for group in source.groups:
        ids = [frame for file in group for frame in tables.read_shard(file, ["frame_id"])["frame_id"].to_pylist()]
        for frame, truth in zip(ids, source.truths(group), strict=True):
            if frame in place:
                known[place[frame]] = truth
    return known


def _batches(files: list[Path], wanted: set[str], size: tuple[int, int]) -> Iterator[tuple[list[str], list]]:
    ids, pictures = [], []
    for file in files:
        for row in tables.iter_rows(file, ["frame_id", "jpeg"], 64):
            if row["frame_id"] in wanted:
                ids.append(row["frame_id"])
                pictures.append(resize(decode_picture(row["jpeg"]), *size))
            if len(ids) == BATCH:
                yield ids, pictures
                ids, pictures = [], []
    if ids:
        yield ids, pictures
