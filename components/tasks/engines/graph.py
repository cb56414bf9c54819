"""The featurizer's networks as ONNX graphs, exported once and kept in the work cache."""

import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from components.core.files import atomic_path, value_sha256
from components.core.recipe import Features
from components.core.workcache import seal, sealed, work_key, work_path
from components.tasks import backbones, featurizer, motion, parts
from components.tasks.engines import APPEARANCE, MOTION, Plan
from components.tasks.featurizer import Appearance, Featurizer, build_featurizer
from components.tasks.motion import MotionBetween
from components.tasks.parts import POOLED

OPSET = 18


def ready(plan: Plan, model: Featurizer | None = None) -> Plan:
    """The plan with the graphs it runs exported; `model` is its featurizer, if it has been built already."""
    if plan.params.engine not in ("onnxruntime", "openvino"):
        return plan
    return replace(plan, graphs=graphs(plan.params, plan.digest, lambda: model or build_featurizer(plan.params)))


def graphs(params: Features, digest: str, build: Callable[[], Featurizer]) -> dict[str, str]:
    """Files of the graphs that the parts of `params` need, by network, for the weights of this digest.

    A graph that the work cache does not have is exported; only then `build` is called, which gives the featurizer.
    """
    height, width = params.size
    pictures = torch.zeros((3, height, width, 3), dtype=torch.uint8)
    made = {}
    if pooled := [part for part in POOLED if part in params.parts]:
        inputs = {"pictures": (pictures, {0: "pictures"})}
        made_of = [params.backbone, digest, params.size, pooled]
        made[APPEARANCE] = _kept(lambda: Appearance(build()), inputs, made_of)
    if "motion" in params.parts:
        rows = torch.tensor([1, 2])
        inputs = {
            "pictures": (pictures, {0: "pictures"}),
            "now": (rows, {0: "rows"}),
            "other": (rows - 1, {0: "rows"}),
        }
        made[MOTION] = _kept(lambda: MotionBetween().eval(), inputs, [params.size])
    return made


def _kept(network: Callable[[], nn.Module], inputs: dict[str, tuple[torch.Tensor, dict]], made_of: list) -> str:
    code = (sys.modules[__name__], featurizer, motion, parts, backbones)
    key = work_key(value_sha256(made_of), [torch.__version__, OPSET], *code)
    target = work_path("graphs", key, ".onnx")
    if sealed(target) is None:
        export(network(), inputs, target)
        seal(target)
    return str(target)


def export(network: nn.Module, inputs: dict[str, tuple[torch.Tensor, dict]], path: Path) -> None:
    """Writes the graph of a network with one output, `vectors`, whose rows are free.

    `inputs`: name -> (an example, the names of its free axes). Height and width are constants of the graph.
    """
    free = {name: axes for name, (_, axes) in inputs.items()}
    with atomic_path(path) as temporary, torch.inference_mode(), warnings.catch_warnings():
        # Height and width are constants of the graph on purpose; the probe before an engine is used sees the rest.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.filterwarnings("ignore", "Constant folding|.*legacy TorchScript|.*dynamo=True")
        torch.onnx.export(
            network,
            tuple(example for example, _ in inputs.values()),
            str(temporary),
            input_names=list(inputs),
            output_names=["vectors"],
            dynamic_axes=free | {"vectors": {0: "rows"}},
            opset_version=OPSET,
            dynamo=False,
        )
