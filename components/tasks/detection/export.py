"""The whole detector as one ONNX graph."""

import warnings
from pathlib import Path

import torch
from torch import nn

from components.core.files import atomic_path
from components.tasks.classification.export import OPSET
from components.tasks.detection.boxes import Detections
from components.tasks.detection.model import TrainedDetector
from components.tasks.detection.tracking.fairmot import Embedded, FairMOT


class Finder(nn.Module):
    """uint8 (B, H, W, 3) RGB -> Detections, or Embedded."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> Detections | Embedded:
        return self.network(frames.permute(0, 3, 1, 2).float() / 255)


def finder(model: TrainedDetector) -> Finder:
    """The whole model in evaluation mode, as it is exported."""
    return Finder(model.network).eval()


def outputs(model: TrainedDetector) -> tuple[str, ...]:
    """Names of what the graph gives, in its order."""
    return (Embedded if isinstance(model.network, FairMOT) else Detections)._fields


def export_onnx(model: TrainedDetector, path: str | Path) -> None:
    """Writes the graph: input `frames` uint8 (batch, H, W, 3) RGB, outputs `boxes`, `scores`, `classes` and
    `probabilities` as in Detections, and `embeddings` of a network that gives them.

    The batch is free; H and W are `features.size`. The file names no path of this machine and the same model gives the
    same bytes.
    """
    example = torch.zeros((2, *model.meta["detector"]["size"], 3), dtype=torch.uint8)
    with atomic_path(path) as temporary, torch.inference_mode(), warnings.catch_warnings():
        # Height and width are constants of the graph on purpose; the parity check of the deployment sees the rest.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding|.*legacy TorchScript|.*dynamo=True")
        torch.onnx.export(
            finder(model),
            (example,),
            str(temporary),
            input_names=["frames"],
            output_names=list(outputs(model)),
            dynamic_axes={name: {0: "batch"} for name in ("frames", *outputs(model))},
            opset_version=OPSET,
            dynamo=False,
        )
