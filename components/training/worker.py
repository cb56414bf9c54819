"""One of Horovod's processes: `python -m components.training.worker --recipe R --work DIR`, started by the launcher."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import horovod.torch as hvd
import torch
from horovod.common.elastic import ObjectState
from horovod.torch import elastic

from components.core import paths
from components.core.distributed import die_with_parent, name_interface
from components.core.progress import progress as progress_bar
from components.core.recipe import Recipe, Training, load_recipe
from components.core.stage import guarded
from components.tasks.classification.fit import Progress, fit
from components.training import checkpoint
from components.training.learners import LEARNERS, HeadLearner
from components.training.outcome import Outcome, leave, needs_validation


def train(recipe: Recipe, params: Training, work: Path, on_saved: Callable[[], None] = lambda: None) -> None:
    """Trains on all ranks, as often as there are rounds; rank 0 leaves model files in `work`/model.

    `on_saved` is called on all ranks after every checkpoint.

    A round whose boxes agree less with those of the validation split than the boxes of the round before do is not kept,
    and none follows it: it would learn from the same again.
    """
    judged = final = None
    agreements = []
    for number in range(1 + rounds(recipe, params)):
        folder = work / f"round-{number}" if number else work
        if needs_validation(recipe, params):
            newer = run(recipe, params, ("train",), True, folder / "checkpoint.safetensors", judged, on_saved)
            agreements.append(newer.agreement)
            if judged and judged.agreement is not None and newer.agreement < judged.agreement:
                _say(
                    f"training@{recipe.name}: round {number + 1} is not kept: its boxes agree less with those of the "
                    f"validation split (AP {newer.agreement:.3f} after {judged.agreement:.3f})"
                )
                break
            judged = newer
        if not params.refit:
            final = judged
            continue
        epochs = judged.progress.best_epoch if judged else params.epochs
        changed = params.model_copy(update={"epochs": epochs})
        final = run(recipe, changed, ("train", "val"), False, folder / "refit.safetensors", final, on_saved)
    if hvd.rank() == 0:
        leave(recipe, params, work, judged or final, final, agreements)
    hvd.barrier()


def rounds(recipe: Recipe, params: Training) -> int:
    """How often a model is trained anew on what the one before, trained on the same splits, made of its labels."""
    return params.detector.self_training if recipe.finds_boxes else params.finetune.mining.rounds


def run(
    recipe: Recipe,
    params: Training,
    splits: tuple[str, ...],
    judged: bool,
    file: Path,
    before: Outcome | None = None,
    on_saved: Callable[[], None] = lambda: None,
) -> Outcome:
    """Trains on these splits, from `file`'s checkpoint on if there is one; judged by the validation split or not.

    `before`: the model of the round before, which revises what is learned from.
    """
    learner = LEARNERS.get(params.head, HeadLearner)(recipe, params, splits, judged)
    if before:
        fresh = learner.state()
        learner.restore(before.tensors)
        learner.revise(before.threshold)
        learner.restore(fresh)
    best, progress = learner.state(), Progress()
    if file.is_file():
        best, progress = checkpoint.load(file, learner.module, learner.optimizer)
        _say(f"training@{recipe.name}: resumed after epoch {progress.epoch}")
    hvd.broadcast_parameters(learner.module.state_dict(), root_rank=0)

    label = f"training@{recipe.name}"
    with progress_bar(label, params.epochs, "epochs") if hvd.rank() == 0 else nullcontext() as ticker:

        def on_epoch(progress: Progress, improved: bool) -> None:
            nonlocal best
            progress.history[-1] |= {name: _mean(value) for name, value in learner.parts().items()}
            if params.min_workers:
                progress.history[-1]["workers"] = hvd.size()
            if improved:
                best = learner.state()
            if hvd.rank() == 0:
                checkpoint.save(file, learner.module, best, learner.optimizer, progress)
                ticker.update(progress.epoch)
            on_saved()

        fit(params, progress, learner.train, learner.figures if judged else None, on_epoch, agree=_mean)
    learner.restore(best)
    threshold = learner.threshold() if judged else None
    agreement = learner.agreement() if judged and rounds(recipe, params) else None
    return Outcome(learner.form, best, progress, threshold, agreement)


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
    name_interface()
    hvd.init()
    try:
        recipe = load_recipe(arguments.recipe)
        if params.min_workers:
            elastic.run(lambda state: train(recipe, params, arguments.work, state.commit))(
                ObjectState(hvd.broadcast_object, hvd.rank)
            )
        else:
            train(recipe, params, arguments.work)
    finally:
        hvd.shutdown()


if __name__ == "__main__":
    die_with_parent()
    sys.exit(guarded(main, label="training"))
