"""One trial: a head, or the whole network, trained on the training split; its loss on the validation split."""

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


def run_trial(recipe: Recipe, point: dict[str, float]) -> dict:
    """Trains with the point's parameters for `tuning.epochs`; the best epoch's metrics, as Hyperopt takes them."""
    torch.set_num_threads(1)
    params = recipe.training.model_copy(update=point | {"epochs": recipe.tuning.epochs})
    train, scored = (_network if params.head == "finetune" else _head)(recipe, params)
    progress = fit(
        params, Progress(), train, lambda: figures_of(*scored(), recipe.task.positive_index), on_epoch=lambda *_: None
    )
    best = progress.history[progress.best_epoch - 1]
    return {"status": "ok", "loss": best["val_balanced_log_loss"], "metrics": best}


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


def _rows(params: Training) -> int:
    """As many rows per step as Horovod's workers see together, so that the tuned rate fits the training."""
    return params.batch_size * params.workers
