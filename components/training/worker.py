"""One of Horovod's processes: `python -m components.training.worker --recipe R --work DIR`, started by the launcher."""

import argparse
import json
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import horovod.torch as hvd
import torch

from components.core import paths
from components.core.distributed import die_with_parent
from components.core.files import atomic_json
from components.core.progress import progress as progress_bar
from components.core.recipe import Recipe, Training, load_recipe
from components.core.stage import guarded
from components.tasks.classification.fit import Progress, class_weights, fit, predict, standardise
from components.tasks.classification.heads import Head
from components.tasks.classification.metrics import best_threshold
from components.tasks.classification.model import head_form, new_head, save_model
from components.tasks.classification.samples import Samples, load_samples, split_source
from components.tasks.classification.stream import Stream
from components.training import checkpoint


def train(recipe: Recipe, params: Training, work: Path) -> None:
    """Trains on all ranks; rank 0 leaves model files in `work`/model."""
    validation = load_samples(recipe, "val")
    first = run(recipe, params, ("train",), validation, work / "checkpoint.safetensors")
    threshold = _threshold(recipe, first, validation)
    final = first
    if params.refit:
        epochs = params.model_copy(update={"epochs": first[2].best_epoch})
        final = run(recipe, epochs, ("train", "val"), None, work / "refit.safetensors")
    if hvd.rank() == 0:
        form, state, progress = final
        meta = {
            "head": form,
            "classes": list(recipe.task.classes),
            "positive": recipe.task.positive,
            "threshold": threshold,
            "training": params.model_dump(mode="json"),
            "epochs": progress.epoch,
            "best_epoch": first[2].best_epoch,
            "history": first[2].history,
        }
        save_model(work / "model", state, meta)
        atomic_json(work / "done.json", {"epochs": progress.epoch})
    hvd.barrier()


def run(recipe: Recipe, params: Training, splits: tuple, validation: Samples | None, file: Path):
    """Trains on these splits from `file`'s checkpoint on, if there is one; returns (form, best state, progress)."""
    source = split_source(recipe, *splits)
    form = head_form(recipe, params, source.read(source.files[0]).vectors.shape[1])
    head = new_head(form, params.seed)
    stream = Stream(source, head.reach, params.batch_size, params.seed, hvd.rank(), hvd.size())
    count, total, squares, counts = _summed(*stream.moments())
    standardise(head, count, total, squares)
    optimizer = hvd.DistributedOptimizer(
        torch.optim.Adam(head.parameters(), params.lr), named_parameters=head.named_parameters()
    )
    best, progress = dict(head.state_dict()), Progress()
    if file.is_file():
        best, progress = checkpoint.load(file, head, optimizer)
        _say(f"training@{recipe.name}: resumed after epoch {progress.epoch}")
    hvd.broadcast_parameters(head.state_dict(), root_rank=0)

    with (
        progress_bar(f"training@{recipe.name}", params.epochs, "epochs") if hvd.rank() == 0 else nullcontext() as ticker
    ):

        def on_epoch(progress: Progress, improved: bool) -> None:
            nonlocal best
            if improved:
                best = {name: tensor.detach().clone() for name, tensor in head.state_dict().items()}
            if hvd.rank() == 0:
                checkpoint.save(file, head, best, optimizer, progress)
                ticker.update(progress.epoch)

        positive = recipe.task.classes.index(recipe.task.positive)
        weights = class_weights(counts)
        fit(head, stream, validation, optimizer, weights, params, positive, progress, on_epoch, agree=_mean)
    return form, best, progress


def _threshold(recipe: Recipe, trained: tuple, validation: Samples) -> float:
    form, state, _ = trained
    head = Head(**form)
    head.load_state_dict(state)
    positive = recipe.task.classes.index(recipe.task.positive)
    kept = validation.labels >= 0
    return best_threshold(validation.labels[kept], predict(head, validation)[kept], positive)


def _summed(count: int, *tensors: torch.Tensor) -> tuple:
    """Sums over the ranks of the count and of float64 tensors."""
    parts = [hvd.allreduce(t, op=hvd.Sum, name=f"moments.{i}") for i, t in enumerate(tensors)]
    return float(hvd.allreduce(torch.tensor(float(count), dtype=torch.float64), op=hvd.Sum, name="moments")), *parts


def _mean(value: float) -> float:
    return float(hvd.allreduce(torch.tensor(value, dtype=torch.float64), op=hvd.Average, name="agree"))


def _say(text: str) -> None:
    if hvd.rank() == 0:
        print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--work", type=Path, required=True)
    arguments = parser.parse_args()
    os.chdir(paths.workspace())
    params = Training.model_validate(json.loads((arguments.work / "params.json").read_text()))
    hvd.init()
    try:
        train(load_recipe(arguments.recipe), params, arguments.work)
    finally:
        hvd.shutdown()


if __name__ == "__main__":
    die_with_parent()
    sys.exit(guarded(main, label="training"))
