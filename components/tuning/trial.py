"""One trial: a head, a whole network or a detector trained on the training split; its loss on the validation split."""

import math

import numpy as np
import torch

from components.core.recipe import Recipe, Training
from components.tasks.classification import finetune
from components.tasks.classification.fit import (
    Progress,
    class_weights,
    figures_of,
    fit,
    predict,
    standardise,
    train_epoch,
)  # fmt: skip
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.pictures import PictureStream
from components.tasks.classification.samples import load_samples, split_source
from components.tasks.classification.stream import Stream
from components.tasks.detection import judged
from components.tasks.detection import learner as detection
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import found_samples
from components.tasks.detection.samples import frame_class
from components.tasks.detection.tracking.thresholds import chosen, quality


def run_trial(recipe: Recipe, point: dict[str, float]) -> dict:
    """Trains with the point's parameters for `tuning.epochs`; the best epoch's metrics, as Hyperopt takes them.

    The loss is what training is judged by or, of what is tracked, 1 - `quality` of its tracks on the validation split.
    """
    torch.set_num_threads(1)
    params = recipe.training.at(point).model_copy(update={"epochs": recipe.tuning.epochs})
    if params.head == "detector":
        return _detector(recipe, params)
    train, scored = (_network if params.head == "finetune" else _head)(recipe, params)
    progress = fit(
        params, Progress(), train, lambda: figures_of(*scored(), recipe.task.positive_index), on_epoch=lambda *_: None
    )
    return {"status": "ok", "loss": progress.best_loss, "metrics": progress.history[progress.best_epoch - 1]}


def _head(recipe: Recipe, params: Training):
    """(trains an epoch, scores the validation frames) of a head on vectors."""
    source, validation = split_source(recipe, "train"), load_samples(recipe, "val")
    first = source.read(source.groups[0])
    head = new_head(head_form(recipe, params, first.vectors.shape[1]), params.seed)
    stream = Stream(source, head.reach, _rows(params), params.seed)
    standardise(head, *stream.moments())
    optimizer, weights = torch.optim.Adam(head.parameters(), params.lr), class_weights(stream.counts, params.balanced)
    return (
        lambda epoch: train_epoch(head, stream, optimizer, weights, params, epoch),
        lambda: (validation.labels, predict(head, validation)),
    )


def _network(recipe: Recipe, params: Training):
    """The same two of backbone and head on pictures."""
    size, parts = recipe.features.size, [split_source(recipe, name, table="frames") for name in ("train", "val")]
    stream, validation = (PictureStream(part, size, _rows(params), params.seed) for part in parts)
    learner = finetune.Learner(recipe, params, class_weights(stream.counts, params.balanced), stream.steps)
    return lambda epoch: learner.train_epoch(stream, epoch), lambda: learner.predict(validation.once())


def _detector(recipe: Recipe, params: Training) -> dict:
    """A detector's trial; where it tracks, its best epoch is followed with thresholds of its own."""
    stream, validation = detection.streams(recipe, params, ("train",), _rows(params), judged=True)
    learner = detection.Learner(recipe, params, stream.steps, identities=len(stream.identities))
    by_boxes, best = judged.by_boxes(validation.source, validation.known), {}

    def figures() -> dict[str, float]:
        found = learner.predict(validation.once())
        if by_boxes:
            found = Detections(*found[: len(Detections._fields)])
            return judged.box_figures(validation.known, found, len(recipe.task.classes))
        labels = np.array([frame_class(truth) for truth in validation.known], np.int64)
        return figures_of(labels, found.probabilities, recipe.task.positive_index)

    def on_epoch(progress: Progress, improved: bool) -> None:
        if improved:
            best.update(learner.state())

    progress = fit(params, Progress(), lambda epoch: learner.train_epoch(stream, epoch), figures, on_epoch)
    metrics, loss = progress.history[progress.best_epoch - 1], progress.best_loss
    if not (math.isfinite(metrics["train_loss"]) and math.isfinite(loss)):
        return {"status": "ok", "loss": math.inf, "metrics": metrics}  # it diverged: there is nothing to follow
    if recipe.task.tracks:
        learner.restore(best)
        network = learner.network.eval()
        samples = found_samples(recipe, network, recipe.features.size, "val", tracker=params.tracker)
        _, tracked = chosen(recipe, params.tracker, samples)
        metrics |= {f"val_{name}": float(tracked[name]) for name in ("hota", "mota", "idf1")}
        loss = 1 - quality(tracked)
    return {"status": "ok", "loss": loss, "metrics": metrics}


def _rows(params: Training) -> int:
    """As many rows per step as Horovod's workers see together, so that the tuned rate fits the training."""
    return params.batch_size * params.workers
