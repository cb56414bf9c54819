"""A trained detector on disk, and how to build a detector from parameters.

    model.json              the detector's form, classes, features, parameters, history, digests
    detector.safetensors    all its tensors, the backbone's included

The network is rebuilt from `model.json` alone: a trained detector needs no file of backbone weights. The digest of
detector.safetensors is the model's.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from components.core.errors import SightlineError
from components.core.files import atomic_json, atomic_path, file_sha256, value_sha256
from components.core.recipe import Detector, Features, Recipe, Tracker
from components.tasks.detection.body import Body
from components.tasks.detection.found import FoundSamples, found_samples
from components.tasks.detection.light import Light
from components.tasks.detection.tracking.fairmot import FINER, DLAFairMOT, LightFairMOT

TENSORS, META = "detector.safetensors", "model.json"


@dataclass(frozen=True)
class TrainedDetector:
    """`network` in evaluation mode, pixels (B, 3, H, W) float32 RGB in [0, 1] -> Detections. `meta`: its form, classes,
    features, hyper-parameters, history, digests of what it was trained on."""

    folder: Path
    network: nn.Module
    meta: dict

    @property
    def own_weights(self) -> str:
        """The digest of the weights, which are always the model's own."""
        return self.meta["tensors"]["sha256"]

    def samples(self, recipe: Recipe, *splits: str) -> FoundSamples:
        """The frames of these splits with what this detector finds in them, followed where it has a tracker."""
        return self.followed(recipe, self.tracker, *splits)

    def followed(self, recipe: Recipe, tracker: Tracker | None, *splits: str) -> FoundSamples:
        """The same by this tracker, None: not followed."""
        size = tuple(self.meta["detector"]["size"])
        return found_samples(recipe, self.network, size, *splits, tracker=tracker)

    @property
    def tracker(self) -> Tracker | None:
        """How what it finds is followed; None: not at all."""
        return Tracker(**self.meta["tracker"]) if self.meta.get("tracker") else None

    def predict(self, samples: FoundSamples) -> np.ndarray:
        """Probabilities, (N, C) float32, of every frame as a whole."""
        return samples.found.probabilities

    @cached_property
    def digest(self) -> str:
        """SHA-256 of detector.safetensors: the model's identity in the registry."""
        return file_sha256(self.folder / TENSORS)


def detector_form(recipe: Recipe, params: Detector) -> dict:
    """What `new_network` needs to build the network again, as JSON can hold it."""
    own = {"fairmot": ("stride",), "fairmot_dla34": ("deformable",)}.get(params.model)
    looks = {} if own is None else {"dim": params.embedding} | {name: getattr(params, name) for name in own}
    return {
        "model": params.model, "classes": len(recipe.task.classes), "max_boxes": params.max_boxes,
        "score_floor": params.score_floor, "nms": params.nms, "backbone": recipe.features.backbone,
        "size": list(recipe.features.size), **looks,
    }  # fmt: skip


def starting_weights(recipe: Recipe, params: Detector) -> str:
    """Where the weights of the network's backbone come from before it is trained."""
    return params.weights if params.model == "fairmot_dla34" else recipe.features.weights


def new_network(form: dict, weights: str, seed: int, arithmetic: torch.dtype = torch.float32) -> nn.Module:
    """A detector with seeded initial heads on a backbone with these weights. Raises as `load_backbone`."""
    form = dict(form)
    kind = {"light": _light, "faster_rcnn": _faster_rcnn, "fairmot": _fairmot, "fairmot_dla34": _dla34}[
        form.pop("model")
    ]
    features = Features(backbone=form.pop("backbone"), weights=weights, size=tuple(form.pop("size")))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(features, arithmetic, **form)


def _light(features: Features, arithmetic: torch.dtype, **form) -> nn.Module:
    return Light(Body(features, arithmetic), **form)


def _faster_rcnn(features: Features, arithmetic: torch.dtype, **form) -> nn.Module:
    from components.tasks.detection.faster_rcnn import FasterRCNN  # imports torchvision, which light does without

    return FasterRCNN(Body(features, arithmetic), **form)


def _fairmot(features: Features, arithmetic: torch.dtype, **form) -> nn.Module:
    return LightFairMOT(Body(features, arithmetic, FINER), **form)


def _dla34(features: Features, arithmetic: torch.dtype, **form) -> nn.Module:
    return DLAFairMOT(features.size, weights=features.weights, arithmetic=arithmetic, **form)


def save_detector(folder: Path, state: dict[str, torch.Tensor], meta: dict) -> None:
    """Writes the two files, each whole or not at all. `meta["detector"]` is the form.

    The tracker of `meta`, where there is one, stands in the file of tensors too: the same network that is followed
    otherwise is another model.
    """
    folder.mkdir(parents=True, exist_ok=True)
    noted = {"tracker": value_sha256(meta["tracker"])} if meta.get("tracker") else None
    with atomic_path(folder / TENSORS) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in sorted(state.items())}, temporary, metadata=noted)
    atomic_json(folder / META, meta | {"tensors": {"file": TENSORS, "sha256": file_sha256(folder / TENSORS)}})


def with_tracker(folder: Path, tracker: dict) -> None:
    """Gives the detector in a folder a tracker, as JSON can hold it; that makes it another model."""
    meta = json.loads((folder / META).read_text())
    save_detector(folder, load_file(folder / TENSORS), meta | {"tracker": tracker})


def load_detector(folder: str | Path) -> TrainedDetector:
    """The detector in a folder. Raises SightlineError where a file is missing, does not fit or is another model's."""
    folder = Path(folder)
    try:
        meta = json.loads((folder / META).read_text())
        if file_sha256(folder / TENSORS) != meta["tensors"]["sha256"]:
            raise ValueError(f"{TENSORS} is not the one that {META} was written for")
        network = new_network(meta["detector"], "none", 0)
        network.load_state_dict(load_file(folder / TENSORS))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise SightlineError(f"{folder}: not a detector ({error})", "run the training stage") from None
    return TrainedDetector(folder, network.eval(), meta)
