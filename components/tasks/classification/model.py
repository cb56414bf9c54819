"""A trained classifier on disk: head.safetensors and model.json; and how to build a head from parameters."""

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from components.core.errors import SightlineError
from components.core.files import atomic_json, atomic_path, file_sha256
from components.core.recipe import Recipe, Training
from components.tasks.classification.fit import predict
from components.tasks.classification.heads import Head
from components.tasks.classification.samples import Samples, sample_period

TENSORS, META = "head.safetensors", "model.json"


@dataclass(frozen=True)
class TrainedModel:
    """`meta`: the head's form, classes, threshold, hyper-parameters, history, digests of what it was trained on."""

    folder: Path
    head: Head
    meta: dict

    def predict(self, samples: Samples) -> np.ndarray:
        """Probabilities, (N, C) float32, of every frame."""
        return predict(self.head, samples)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the head's tensors file: the model's identity in the registry."""
        return file_sha256(self.folder / TENSORS)


def head_form(recipe: Recipe, params: Training, dimension: int) -> dict:
    """The keyword arguments of `Head` for these parameters; its reach in frames is window_s over the sample period."""
    reach = 0
    if params.head == "temporal" and (period := sample_period(recipe)):
        reach = math.floor(params.window_s / float(period) + 0.5)
    return {
        "kind": params.head, "dimension": dimension, "classes": len(recipe.task.classes),
        "hidden": params.hidden, "reach": reach, "dropout": float(params.dropout),
    }  # fmt: skip


def new_head(form: dict, seed: int) -> Head:
    """A head with seeded initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Head(**form)


def save_model(folder: Path, state: dict[str, torch.Tensor], meta: dict) -> None:
    """Writes the model's two files, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / TENSORS) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in sorted(state.items())}, temporary)
    atomic_json(folder / META, meta)


def load_model(folder: str | Path) -> TrainedModel:
    """The model in a folder. Raises SightlineError where a file is missing or does not fit."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / META).read_text())
        head = Head(**meta["head"])
        head.load_state_dict(load_file(folder / TENSORS))
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise SightlineError(f"{folder}: not a model ({error})", "run the training stage") from None
    return TrainedModel(folder, head.eval(), meta)
