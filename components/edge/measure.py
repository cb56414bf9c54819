"""How good a graph is: calibration pictures and the held-out frames of a recipe's tables, through the device's code."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np

from components.core import tables
from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.edge.device.model import EdgeModel
from components.edge.device.pictures import decode
from components.tasks.classification.labels import UNLABELLED, frame_labels
from components.tasks.classification.metrics import Calls, defined, figure_names
from components.tasks.classification.samples import Source, split_source

CALIBRATION, HELD_OUT = "train", "test"
SEED, PICTURES = 0, 200
ALWAYS = ("accuracy", "balanced_accuracy")
ROUNDED = 6


class Measured:
    """What a graph says of the held-out frames: labels (N,) class indices or UNLABELLED, probabilities (N, C)."""

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray, recipe: Recipe, threshold: float | None):
        known = labels != UNLABELLED
        self.calls = Calls(labels[known], probabilities[known], recipe.task.positive_index, threshold)
        self._classes, self._metric = len(recipe.task.classes), recipe.promotion.gates.metric

    def figures(self) -> dict[str, float]:
        """Accuracy, the mean of it over the classes, and the metric that the recipe's gates go by where it is one of
        frames; of those what these labels define, and of which more is better."""
        calls = self.calls
        known = {*figure_names(self._classes, calls.positive), *ALWAYS} - {"log_loss"}
        names = [*ALWAYS, *([self._metric] if self._metric in known else [])]
        if not defined(calls.labels, calls.positive):
            names = names[:1] if len(calls.labels) else []
        return {name: round(calls.figure(name), ROUNDED) for name in dict.fromkeys(names)}


def measured(recipe: Recipe, model: EdgeModel) -> Measured:
    """The held-out frames of the recipe's tables, an asset a sequence. Raises SightlineError where there are none."""
    source = split_source(recipe, HELD_OUT, table="frames")
    assets, pts, probabilities = [], [], []

    def pictures(rows: Iterator[dict]) -> Iterator[np.ndarray]:
        for row in rows:
            assets.append(row["asset_id"])
            pts.append(row["pts"])
            yield _prepared(model, row)

    for _, rows in groupby(_frames(source), key=lambda row: row["asset_id"]):
        probabilities += model.probabilities(pictures(rows))
    labels = frame_labels(source.annotations, np.asarray(assets, object), np.asarray(pts, np.int64), recipe.task)
    return Measured(labels, np.stack(probabilities), recipe, model.bundle.threshold)


def calibration(recipe: Recipe, model: EdgeModel, count: int = PICTURES, seed: int = SEED) -> Iterator[np.ndarray]:
    """Up to `count` pictures of the training split as the graph takes them, chosen by the seed; one at a time.

    Raises SightlineError where there are none.
    """
    source = split_source(recipe, CALIBRATION, table="frames")
    places = [
        (file, row)
        for group in source.groups
        for file in group
        for row, asset in enumerate(tables.read_shard(file, ["asset_id"])["asset_id"].to_pylist())
        if asset in source.asset_ids
    ]
    chosen = np.random.default_rng(seed).permutation(len(places))[:count]
    for file, rows in groupby(sorted(places[one] for one in chosen), key=lambda place: place[0]):
        for jpeg in tables.read_rows(file, [row for _, row in rows], ["jpeg"])["jpeg"]:
            yield _prepared(model, {"jpeg": jpeg.as_py(), "frame_id": str(file)})


def _frames(source: Source) -> Iterator[dict]:
    """The rows of the split's frames, asset by asset in the order of time: as shards have them."""
    columns = ["frame_id", "asset_id", "pts", "jpeg"]
    for group in source.groups:
        for file in group:
            for row in tables.iter_rows(file, columns, batch_rows=32):
                if row["asset_id"] in source.asset_ids:
                    yield row


def _prepared(model: EdgeModel, row: dict) -> np.ndarray:
    rgb = decode(row["jpeg"])
    if rgb is None:
        raise SightlineError(f"{row['frame_id']}: its picture is damaged", "run the frames stage again")
    return model.prepare(rgb)
