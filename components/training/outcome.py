"""What a training ends in, whatever trained it: the model's files and the word that it is done."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from components.core.files import atomic_json
from components.core.recipe import Recipe, Training
from components.tasks.classification.fit import Progress
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.metrics import best_threshold
from components.tasks.classification.model import save_model
from components.tasks.detection.model import save_detector

HEAD, BACKBONE = "head.", "backbone."  # first parts of the names of an outcome's tensors
DONE = "done.json"


@dataclass(frozen=True)
class Outcome:
    """`form`: the head's keyword arguments; `tensors`: head.* and, where it was trained too, backbone.*; `threshold`:
    of two classes' positive one, where validation frames showed it. Of a detector its own form and all its tensors;
    `agreement`: what its learner says of the validation split's boxes, where rounds are compared by it."""

    form: dict
    tensors: dict[str, torch.Tensor]
    progress: Progress
    threshold: float | None = None
    agreement: float | None = None


def has_threshold(recipe: Recipe) -> bool:
    """True where frames are called by a threshold: of two classes with a positive one. Else the likeliest is called."""
    return recipe.task.positive is not None and len(recipe.task.classes) == 2


def threshold_of(recipe: Recipe, labels: np.ndarray, probabilities: np.ndarray) -> float | None:
    """The threshold that gives these validation frames the highest F1; None where none is used."""
    kept = labels != UNLABELLED
    if not has_threshold(recipe):
        return None
    return best_threshold(labels[kept], probabilities[kept], recipe.task.positive_index)


def needs_validation(recipe: Recipe, params: Training) -> bool:
    """False where the model is refitted on train and validation assets together and nothing is asked of a model
    trained without the latter: neither a number of epochs nor a threshold, of frames or of a detector's boxes."""
    return not params.refit or params.patience is not None or has_threshold(recipe) or recipe.finds_boxes


def leave(
    recipe: Recipe, params: Training, work: Path, judged: Outcome, final: Outcome, agreements: list[float | None]
) -> None:
    """Writes `work`/model with the tensors of `final` and the history and threshold of `judged`, then done.json.

    `agreements`: of every round that was trained, the one that was not kept too.
    """
    meta = {
        "classes": list(recipe.task.classes),
        "positive": recipe.task.positive,
        "threshold": judged.threshold,
        "training": params.model_dump(mode="json"),
        "epochs": final.progress.epoch,
        "best_epoch": judged.progress.best_epoch,
        "history": judged.progress.history,
    }
    if recipe.finds_boxes:
        save_detector(work / "model", final.tensors, meta | {"detector": final.form, "agreements": agreements})
    else:
        head, backbone = _part(final.tensors, HEAD), _part(final.tensors, BACKBONE)
        save_model(work / "model", head, meta | {"head": final.form}, backbone or None)
    atomic_json(work / DONE, {"epochs": final.progress.epoch})


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
