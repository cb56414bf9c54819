"""A trained classifier on disk, and how to build a head from parameters.

    model.json              the head's form, classes, threshold, parameters, history, digests
    head.safetensors        the head's tensors; where the backbone was trained too, its header names that file's digest
    backbone.safetensors    only then: the backbone's weights, a file like any that `features.weights` may name

A fine-tuned model is thus a plain linear head on the vectors of a backbone with other weights, and all that follows
training treats the two alike. The digest of head.safetensors is the model's, the backbone's weights included.
"""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from components.core.errors import SightlineError
from components.core.files import atomic_json, atomic_path, file_sha256
from components.core.recipe import Features, Recipe, Training
from components.tasks.classification.fit import predict
from components.tasks.classification.heads import Head
from components.tasks.classification.samples import Samples, load_samples, sample_period
from components.tasks.classification.vectors import vector_samples

TENSORS, META, BACKBONE = "head.safetensors", "model.json", "backbone.safetensors"
LINEAR = ("mllib", "finetune")  # values of training.head that end in a plain linear head


@dataclass(frozen=True)
class TrainedModel:
    """`meta`: the head's form, classes, threshold, hyper-parameters, history, digests of what it was trained on."""

    folder: Path
    head: Head
    meta: dict

    @property
    def backbone(self) -> Path | None:
        """The file of the backbone's weights where they were trained with the head, else None."""
        return self.folder / BACKBONE if "backbone" in self.meta else None

    @property
    def own_weights(self) -> str | None:
        """The digest of the backbone's weights where they were trained with the head, else None."""
        return self.meta["backbone"]["sha256"] if "backbone" in self.meta else None

    def features(self, params: Features) -> Features:
        """The features that the head reads: the recipe's, with the model's own backbone where it has one."""
        return params.model_copy(update={"weights": str(self.backbone)}) if self.backbone else params

    def samples(self, recipe: Recipe, *splits: str) -> Samples:
        """The samples of these splits as the head reads them: the features table's, or those of its own backbone."""
        if self.backbone is None:
            return load_samples(recipe, *splits)
        return vector_samples(recipe, self.features(recipe.features), *splits)

    def predict(self, samples: Samples) -> np.ndarray:
        """Probabilities, (N, C) float32, of every frame."""
        return predict(self.head, samples)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of head.safetensors: the model's identity in the registry."""
        return file_sha256(self.folder / TENSORS)


def head_form(recipe: Recipe, params: Training, dimension: int) -> dict:
    """The keyword arguments of `Head` for these parameters; its reach in frames is window_s over the sample period."""
    # Spark's MLlib has no dropout; the parameter may read `tuned` then.
    reach, dropout = 0, 0.0 if params.head == "mllib" else float(params.dropout)
    if params.head == "temporal" and (period := sample_period(recipe)):
        reach = math.floor(params.window_s / float(period) + 0.5)
    return {
        "kind": "linear" if params.head in LINEAR else params.head, "dimension": dimension,
        "classes": len(recipe.task.classes), "hidden": params.hidden, "reach": reach, "dropout": dropout,
    }  # fmt: skip


def new_head(form: dict, seed: int) -> Head:
    """A head with seeded initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Head(**form)


def save_model(
    folder: Path, state: dict[str, torch.Tensor], meta: dict, backbone: dict[str, torch.Tensor] | None = None
) -> None:
    """Writes the model's files, each whole or not at all; `backbone`: its tensors where they were trained too."""
    folder.mkdir(parents=True, exist_ok=True)
    notes = None
    if backbone is not None:
        _save(folder / BACKBONE, backbone, None)
        digest = file_sha256(folder / BACKBONE)
        notes = {"backbone": digest}
        meta = meta | {"backbone": {"file": BACKBONE, "sha256": digest}}
    _save(folder / TENSORS, state, notes)
    atomic_json(folder / META, meta)


def _save(file: Path, state: dict[str, torch.Tensor], notes: dict[str, str] | None) -> None:
    with atomic_path(file) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in sorted(state.items())}, temporary, metadata=notes)


def load_model(folder: str | Path) -> TrainedModel:
    """The model in a folder. Raises SightlineError where a file is missing, does not fit or is another model's."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / META).read_text())
        head = Head(**meta["head"])
        head.load_state_dict(load_file(folder / TENSORS))
        with safe_open(folder / TENSORS, "pt") as file:
            named = (file.metadata() or {}).get("backbone")
        if named != meta.get("backbone", {}).get("sha256") or (named and file_sha256(folder / BACKBONE) != named):
            raise ValueError(f"{BACKBONE} is not the one that {TENSORS} was trained with")
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise SightlineError(f"{folder}: not a model ({error})", "run the training stage") from None
    return TrainedModel(folder, head.eval(), meta)
