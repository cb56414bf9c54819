"""Backbone and head as one ONNX graph."""

import warnings
from pathlib import Path

import torch
from torch import nn

from components.core.files import atomic_path
from components.core.recipe import Features
from components.tasks.classification.model import TrainedModel
from components.tasks.featurizer import build_featurizer

OPSET = 18


class Scorer(nn.Module):
    """uint8 (B, T, H, W, 3) RGB, neighbouring frames along T -> probabilities (B, T, C) float32."""

    def __init__(self, featurizer: nn.Module, head: nn.Module):
        super().__init__()
        self.featurizer, self.head = featurizer, head

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return self.head(self.featurizer(frames)).softmax(-1)


class Exported(Scorer):
    """The same, and the vectors that the head is given: (B, T, C) and (B, T, D) float32."""

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        vectors = self.featurizer(frames)
        return self.head(vectors).softmax(-1), vectors


def scorer(features: Features, model: TrainedModel) -> Scorer:
    """The whole model in evaluation mode; `features` are the recipe's."""
    return Scorer(build_featurizer(model.features(features)), model.head).eval()


def export_onnx(features: Features, model: TrainedModel, path: str | Path) -> None:
    """Writes the graph: input `frames` uint8 (batch, time, H, W, 3), outputs `probabilities` (batch, time, classes) and
    `vectors` (batch, time, D), what the head is given.

    Batch and time are free; H and W are `features.size`. The file names no path of this machine and the same model
    gives the same bytes.
    """
    example = torch.zeros((2, 3, *features.size, 3), dtype=torch.uint8)
    with atomic_path(path) as temporary, torch.inference_mode(), warnings.catch_warnings():
        # Height and width are constants of the graph on purpose; the parity check of the deployment sees the rest.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding|.*legacy TorchScript|.*dynamo=True")
        torch.onnx.export(
            Exported(build_featurizer(model.features(features)), model.head).eval(),
            (example,),
            str(temporary),
            input_names=["frames"],
            output_names=["probabilities", "vectors"],
            dynamic_axes={name: {0: "batch", 1: "time"} for name in ("frames", "probabilities", "vectors")},
            opset_version=OPSET,
            dynamo=False,
        )
