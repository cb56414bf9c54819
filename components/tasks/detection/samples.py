"""Samples of detection: a split's frames that are known to show boxes, or to show none, streamed as pictures."""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from components.core import paths, tables
from components.core.recipe import Recipe, Task
from components.tasks.classification.labels import UNLABELLED, frame_labels
from components.tasks.classification.pictures import Pictures, PictureStream
from components.tasks.classification.samples import Source, split_source
from components.tasks.classification.stream import MEMORY

PEOPLE = ("human", "review")  # sources of annotations that were made by somebody
NOBODY = -1  # the identity of a box of no track
BACKGROUND = 0  # of a detection task's classes the first: a frame called so shows none of the others
Half = Literal["first", "second"]
Sizes = dict[str, tuple[int, int]]  # width and height of assets, in source pixels


@dataclass(frozen=True)
class Boxes:
    """What a frame shows: boxes (N, 4) float32 left, top, right, bottom in units of the frame, 0..1; classes (N,)
    int64 from 1 on; weights (N,) float32; identities (N,) int64, the tracks' ids, NOBODY where there is none (None: of
    all). None of them: the frame shows background only."""

    boxes: np.ndarray
    classes: np.ndarray
    weights: np.ndarray
    identities: np.ndarray | None = None

    def __post_init__(self):
        if self.identities is None:
            object.__setattr__(self, "identities", np.full(len(self.boxes), NOBODY, np.int64))

    def __len__(self) -> int:
        return len(self.boxes)

    def at(self, rows: np.ndarray) -> "Boxes":
        """The boxes that `rows`, indices or booleans, picks."""
        return Boxes(self.boxes[rows], self.classes[rows], self.weights[rows], self.identities[rows])


NOTHING = Boxes(np.empty((0, 4), np.float32), np.empty(0, np.int64), np.empty(0, np.float32))


@dataclass(frozen=True)
class Batch:
    """pixels (B, 3, H, W) float32 RGB in [0, 1], and the boxes of all its pictures in a row: boxes (N, 4) float32 as
    in `Boxes`, classes (N,) int64, weights (N,) float32, identities (N,) int64, from 0 on, NOBODY where there is none;
    picture (N,) int64: which of the B a box is in."""

    pixels: torch.Tensor
    boxes: torch.Tensor
    classes: torch.Tensor
    weights: torch.Tensor
    identities: torch.Tensor
    picture: torch.Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on that device."""
        return Batch(*(getattr(self, part.name).to(device) for part in fields(self)))

    def where(self, kept: torch.Tensor, **changed: torch.Tensor) -> "Batch":
        """The batch with these tensors changed, and then only those of its boxes that `kept` (N,) bool says."""
        whole = replace(self, **changed)
        parts = ("boxes", "classes", "weights", "identities", "picture")
        return replace(whole, **{name: getattr(whole, name)[kept] for name in parts})


@dataclass(frozen=True)
class BoxSource(Source):
    """A split's rows of the frames table and its annotations with boxes. `sizes`: of its assets.

    `half`: of every sequence only this one counts; `middles`: the pts at which an asset's second half begins.
    """

    sizes: Sizes = field(default_factory=dict)
    half: Half | None = None
    middles: dict[str, float] = field(default_factory=dict)

    def truths(self, group: tuple[Path, ...]) -> list[Boxes | None]:
        """What is known of every row of the group as it is stored; None where nothing is, or outside of the split."""
        table = pa.concat_tables(tables.read_shard(file, ["asset_id", "pts"]) for file in group)
        assets, pts = np.asarray(table["asset_id"].to_pylist(), dtype=object), table["pts"].to_numpy()
        known = frame_boxes(self.annotations, self.sizes, assets, pts, self.recipe.task)
        if self.half is None:
            return known
        early = [at < self.middles.get(asset, 0) for asset, at in zip(assets, pts, strict=True)]
        wanted = self.half == "first"
        return [truth if first == wanted else None for truth, first in zip(known, early, strict=True)]

    def labels(self, group: tuple[Path, ...]) -> np.ndarray:
        """The class of every row as a frame: that of its weightiest box, BACKGROUND, or UNLABELLED; (N,) int64."""
        return np.array([frame_class(truth) for truth in self.truths(group)], np.int64)

    def identities(self) -> np.ndarray:
        """The tracks' ids of what is to be found, (I,) int64, sorted: an identity's number is its place here."""
        kinds = pa.array(self.recipe.task.classes[BACKGROUND + 1 :], pa.string())
        tracks = self.annotations.filter(pc.is_in(self.annotations["class"], kinds))["track_id"].drop_null()
        return np.unique(tracks.to_numpy()).astype(np.int64)


class BoxStream(PictureStream):
    """A rank's share of a source as pictures with boxes, dealt, shuffled and kept as `PictureStream` does.

    `known`: what the frames of the share show, in the order in which `once()` gives them.
    """

    def __init__(
        self, source: BoxSource, size: tuple[int, int], batch_size: int, seed: int, rank: int = 0, world: int = 1
    ):
        super().__init__(source, size, batch_size, seed, rank, world)
        self.identities = source.identities()
        # The rows of a picture stream carry a number each: here that of what the frame shows.
        self.known: list[Boxes] = []
        for position in self.positions:
            truths = source.truths(source.groups[position])
            numbers = np.full(len(truths), UNLABELLED, np.int64)
            for row, truth in enumerate(truths):
                if truth is not None:
                    numbers[row] = len(self.known)
                    self.known.append(truth)
            self.labels[position] = numbers

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch, not yet augmented."""
        return map(self._batch, super().epoch(epoch))

    def once(self, rank: int = 0, world: int = 1) -> Iterator[Batch]:
        """This share from its first row to its last, each once; of its groups every `world`-th from `rank` on."""
        return map(self._batch, super().once(rank, world))

    def shown(self, rank: int = 0, world: int = 1) -> list[Boxes]:
        """What the pictures of `once(rank, world)` show, in its order, without decoding any."""
        numbers = [self.labels[position] for position in self.positions[rank::world]]
        return [self.known[number] for row in numbers for number in row if number != UNLABELLED]

    def correct(self, known: list[Boxes | None]) -> None:
        """Takes `known`, in the order of `self.known`, in its place; pictures of which it says None are left out.

        The number of steps stays; something must be left.
        """
        for position in self.positions:
            numbers = self.labels[position]
            gone = [number != UNLABELLED and known[number] is None for number in numbers]
            self.labels[position] = np.where(gone, UNLABELLED, numbers)
        self.known = [NOTHING if truth is None else truth for truth in known]
        self._kept.clear()
        self._room = MEMORY

    def _batch(self, pictures: Pictures) -> Batch:
        batch = batch_of(pictures.pixels, [self.known[number] for number in pictures.labels])
        return replace(batch, identities=self._numbers(batch.identities))

    def _numbers(self, identities: torch.Tensor) -> torch.Tensor:
        """Tracks' ids as numbers of all the split's identities, the same on every rank."""
        found = torch.from_numpy(np.searchsorted(self.identities, identities.numpy()))
        return torch.where(identities == NOBODY, NOBODY, found)


def box_source(
    recipe: Recipe,
    *splits: str,
    drawn_by: tuple[str, ...] | None = None,
    half: Half | None = None,
    everybody: bool = False,
) -> BoxSource:
    """The rows of the frames table of the assets in any of these splits, and their boxes.

    `drawn_by`: the sources whose boxes count, such as PEOPLE; None: all. What is said of whole frames counts whoever
    says it. `half`: of every video, and of the pictures of every folder in the order of their names, only this one.
    `everybody`: a picture's box of no track is an identity of its own, as pictures without identities are learned from
    in FairMOT. Raises SightlineError where the splits hold no asset.
    """
    source = split_source(recipe, *splits, table="frames")
    annotations = source.annotations
    if drawn_by is not None:
        theirs = pc.is_in(annotations["source"], pa.array(drawn_by, pa.string()))
        annotations = annotations.filter(pc.or_(annotations["x"].is_null(), theirs))
    columns = ["asset_id", "name", "kind", "status", "width", "height", "first_pts", "last_pts"]
    catalog = tables.read_table(paths.data(recipe.name, "catalog"), columns).to_pylist()
    rows = [row for row in catalog if row["asset_id"] in source.asset_ids and row["status"] == "ok"]
    sizes = {row["asset_id"]: (row["width"], row["height"]) for row in rows}
    if everybody:
        annotations = _with_identities(annotations, {row["asset_id"] for row in rows if row["kind"] == "picture"})
    return BoxSource(source.groups, source.asset_ids, annotations, recipe, sizes, half, middles(rows))


def middles(catalog: list[dict]) -> dict[str, float]:
    """The pts at which the second half of a sequence begins, by asset: of a picture, infinite where it is in the first
    half of those of its folder, else minus infinite."""
    found, folders = {}, defaultdict(list)
    for row in catalog:
        if row["kind"] == "video":
            found[row["asset_id"]] = (row["first_pts"] + row["last_pts"]) / 2
        else:
            folders[str(PurePosixPath(row["name"]).parent)].append((row["name"], row["asset_id"]))
    for pictures in folders.values():
        for place, (_, asset) in enumerate(sorted(pictures)):
            found[asset] = math.inf if place < len(pictures) / 2 else -math.inf
    return found


def _with_identities(annotations: pa.Table, pictures: set[str]) -> pa.Table:
    """The annotations, every box of these pictures that has no track as a track of its own: numbers below NOBODY."""
    alone = pc.and_(pc.is_valid(annotations["x"]), pc.is_null(annotations["track_id"]))
    alone = pc.and_(alone, pc.is_in(annotations["asset_id"], pa.array(sorted(pictures), pa.string())))
    own = pa.array(NOBODY - 1 - np.arange(len(annotations)), pa.int64())
    place = annotations.column_names.index("track_id")
    return annotations.set_column(place, "track_id", pc.if_else(alone, own, annotations["track_id"]))


def drawn_by_people(recipe: Recipe, *splits: str) -> bool:
    """Whether people drew boxes in these splits."""
    annotations = split_source(recipe, *splits, table="frames").annotations
    theirs = pc.is_in(annotations["source"], pa.array(PEOPLE, pa.string()))
    return bool(pc.any(pc.and_(pc.is_valid(annotations["x"]), theirs)).as_py())


def frame_boxes(
    annotations: pa.Table, sizes: Sizes, asset_ids: np.ndarray, pts: np.ndarray, task: Task
) -> list[Boxes | None]:
    """What is known of the frames at `pts` of `asset_ids` (both (N,)).

    A frame shows the boxes whose rows cover it (tracks' too), of the task's classes but the background; nothing where
    it has none and a row without a box calls it background. Of any other frame nothing is known: None. Boxes are cut
    at the frame's edge.
    """
    known: list[Boxes | None] = [None] * len(pts)
    for row in np.flatnonzero(frame_labels(annotations, asset_ids, pts, task) == BACKGROUND):
        known[row] = NOTHING
    index = {name: i for i, name in enumerate(task.classes) if i != BACKGROUND}
    wanted = pc.and_(pc.is_valid(annotations["x"]), pc.is_in(annotations["class"], pa.array(list(index), pa.string())))
    here = np.unique(asset_ids).tolist()
    wanted = pc.and_(wanted, pc.is_in(annotations["asset_id"], pa.array([a for a in here if a in sizes], pa.string())))
    drawn = annotations.filter(wanted)
    assets = np.asarray(drawn["asset_id"].to_pylist(), dtype=object)
    classes = np.array([index[name] for name in drawn["class"].to_pylist()], np.int64)
    weights, first, last = (drawn[name].to_numpy() for name in ("weight", "first_pts", "last_pts"))
    x, y, w, h = (drawn[name].to_numpy().astype(np.float64) for name in ("x", "y", "w", "h"))
    width, height = (np.array([sizes[asset][side] for asset in assets], np.float64) for side in (0, 1))
    corners = np.stack([x / width, y / height, (x + w) / width, (y + h) / height], 1).clip(0, 1).astype(np.float32)
    identities = pc.fill_null(drawn["track_id"], NOBODY).to_numpy().astype(np.int64)
    every = Boxes(corners, classes, weights.astype(np.float32), identities)
    for asset in np.unique(assets):
        rows, frames = np.flatnonzero(assets == asset), np.flatnonzero(asset_ids == asset)
        frames = frames[np.argsort(pts[frames], kind="stable")]
        begin = np.searchsorted(pts[frames], first[rows], "left")
        count = np.searchsorted(pts[frames], last[rows], "right") - begin
        # Every row once for each frame that it covers, then by frame; rows of one frame stay in the table's order.
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        place, row = np.repeat(begin, count) + within, np.repeat(rows, count)
        order = np.argsort(place, kind="stable")
        edges = np.flatnonzero(np.diff(place[order])) + 1
        for own in np.split(order, edges):
            if len(own):
                known[frames[place[own[0]]]] = every.at(row[own])
    return known


def frame_class(truth: Boxes | None) -> int:
    """The class of a frame as a whole: that of its weightiest box, BACKGROUND, or UNLABELLED."""
    if truth is None or (len(truth) and not truth.weights.any()):  # boxes to be ignored say nothing
        return UNLABELLED
    return int(truth.classes[truth.weights.argmax()]) if len(truth) else BACKGROUND


def batch_of(pixels: torch.Tensor, shown: list[Boxes]) -> Batch:
    """Pictures (B, 3, H, W) float32 and what each shows, as one batch."""
    picture = np.repeat(np.arange(len(shown)), [len(truth) for truth in shown])
    parts = ("boxes", "classes", "weights", "identities")
    joined = (np.concatenate([getattr(truth, part) for truth in shown]) for part in parts)
    return Batch(pixels, *map(torch.from_numpy, joined), torch.from_numpy(picture))
