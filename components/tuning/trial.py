"""One trial: a head trained on the training split, its loss on the validation split."""

import torch

from components.core.recipe import Recipe
from components.tasks.classification.fit import Progress, class_weights, fit, standardise
from components.tasks.classification.model import head_form, new_head
from components.tasks.classification.samples import load_samples, split_source
from components.tasks.classification.stream import Stream


def run_trial(recipe: Recipe, point: dict[str, float]) -> dict:
    """Trains with the point's parameters for `tuning.epochs`; the best epoch's metrics, as Hyperopt takes them."""
    torch.set_num_threads(1)
    changes = point | {"epochs": recipe.tuning.epochs}
    params = recipe.training.model_copy(update=changes)
    source = split_source(recipe, "train")
    positive = recipe.task.classes.index(recipe.task.positive)
    first = source.read(source.files[0])
    head = new_head(head_form(recipe, params, first.vectors.shape[1]), params.seed)
    # As many rows per step as Horovod's workers see together, so that the tuned rate fits the training.
    stream = Stream(source, head.reach, params.batch_size * params.workers, params.seed)
    count, total, squares, counts = stream.moments()
    standardise(head, count, total, squares)
    progress = fit(
        head, stream, load_samples(recipe, "val"), torch.optim.Adam(head.parameters(), params.lr),
        class_weights(counts), params, positive, Progress(), on_epoch=lambda *_: None,
    )  # fmt: skip
    best = progress.history[progress.best_epoch - 1]
    return {"status": "ok", "loss": best["val_balanced_log_loss"], "metrics": best}
