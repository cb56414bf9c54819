"""Which frames are explained, and which rows of which shard the model must see for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from components.core import paths, tables
from components.core.recipe import Recipe
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.model import TrainedModel

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Chosen:
    """A frame to explain: `kind` is the index of the class whose score is explained, `probability` the model's."""

    frame_id: str
    asset_id: str
    frame_index: int
    pts: int
    split: str
    kind: int
    probability: float


@dataclass(frozen=True)
class Place:
    """Where a frame and its neighbours lie: the shard, their rows in order of time, the frame's place among them."""

    shard: Path
    rows: tuple[int, ...]
    middle: int


@dataclass(frozen=True)
class Selection:
    """`frames` to explain and frames that show none of the positive class, `empty`, both in the order of assets and
    time; `disputed`: how many are labelled and not called positive."""

    frames: list[Chosen]
    empty: list[Chosen]
    disputed: int


def selection(recipe: Recipe, model: TrainedModel) -> Selection:
    """What of the recipe's footage is explained.

    With a positive class: frames that the model calls so and that are labelled so, or not at all; where a weak label
    is wrong, a frame has nothing to show. Empty are those of another label that the model calls another class too.
    Without a positive class every frame is explained, for the class it is called. At most `explain.pictures`, those
    that the model is surest of. A split without an asset is left out.
    """
    found, empty, disputed = [], [], 0
    catalog = tables.read_table(paths.data(recipe.name, "catalog"), ["status", "split"]).to_pylist()
    held = {row["split"] for row in catalog if row["status"] == "ok"}
    for split in (name for name in SPLITS if name in held):
        samples = model.samples(recipe, split)
        probabilities = model.predict(samples)
        for asset in range(len(samples.asset_ids)):
            rows = samples.rows(asset)
            for row in range(rows.start, rows.stop):
                kind, label = int(probabilities[row].argmax()), int(samples.labels[row])
                place = samples.asset_ids[asset], int(samples.frame_index[row]), int(samples.pts[row])
                one = Chosen(samples.frame_ids[row], *place, split, kind, float(probabilities[row, kind]))
                positive = kind if recipe.task.positive is None else recipe.task.positive_index
                if kind == positive and (recipe.task.positive is None or label in (positive, UNLABELLED)):
                    found.append(one)
                elif kind != positive and label not in (positive, UNLABELLED):
                    empty.append(one)
                else:
                    disputed += label == positive
    if (most := recipe.explain.pictures) is not None:
        found = sorted(found, key=lambda one: (-one.probability, one.frame_id))[:most]
    ordered = (sorted(part, key=lambda one: (one.asset_id, one.pts)) for part in (found, empty))
    return Selection(*ordered, disputed)


def places(shards: Iterable[Path], wanted: set[str], reach: int, motion: bool) -> dict[str, Place]:
    """Where each of the frames `wanted` lies, by its id, with `reach` frames before and after it, and with `motion` the
    one before these; fewer at the ends of a clip or of a shard."""
    found = {}
    for shard in shards:
        table = tables.read_shard(shard, ["frame_id", "asset_id", "pts"])
        ids, assets = table["frame_id"].to_pylist(), np.array(table["asset_id"].to_pylist(), dtype=object)
        pts = table["pts"].to_numpy()
        for row, frame in enumerate(ids):
            if frame not in wanted:
                continue
            own = np.flatnonzero(assets == assets[row])
            own = own[np.argsort(pts[own], kind="stable")]
            at = int(np.flatnonzero(own == row)[0])
            first = max(0, at - reach - motion)
            found[frame] = Place(shard, tuple(own[first : at + reach + 1].tolist()), at - first)
    return found
