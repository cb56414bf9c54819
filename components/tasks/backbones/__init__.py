"""Backbones by name: what turns a picture into a feature map, and where its weights come from.

Nothing falls back in silence: weights that cannot be had are an error that says where to put them.
"""

import torch
from torch import nn

from components.core.errors import UsageError
from components.core.files import file_sha256
from components.core.recipe import nearest
from components.tasks.backbones.kinds import IMAGENET_MEAN, IMAGENET_STD, KINDS, BackboneKind, Size, check_size
from components.tasks.backbones.small import SmallBackbone
from components.tasks.backbones.weights import RANDOM, SHIPPED, fill, weights_digest, weights_file

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KINDS",
    "SHIPPED",
    "BackboneKind",
    "SmallBackbone",
    "backbone_digest",
    "load_backbone",
    "weights_file",
]
SQUARE = (224, 224)


def backbone_digest(name: str, weights: str, size: Size, seed: int = 0) -> str:
    """The digest of the weights that `load_backbone` would load, without making the network. Raises as it does."""
    _known(name)
    check_size(name, size)
    return weights_digest(name, weights, seed)


def load_backbone(name: str, weights: str, seed: int = 0, size: Size = SQUARE) -> tuple[nn.Module, BackboneKind, str]:
    """(module in evaluation mode: normalised (N, 3, H, W) RGB -> (N, channels, h, w), its kind, digest of its weights).

    `weights`: `shipped` (sightline_small), `imagenet` (the published ones: found in SIGHTLINE_MIRROR/weights or
    downloaded once, with their checksum), `none` (random, seeded) or a .safetensors or .pth file. `size` is (height,
    width) of the pictures to come; only vision transformers are bound to it. Raises UsageError for an unknown name or
    a size that is nothing for it, SightlineError for weights that cannot be had or do not fit.
    """
    _known(name)
    check_size(name, size)
    kind = KINDS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = kind.build(size).eval()
        if weights == RANDOM:
            _randomise(module)
            return module, kind, weights_digest(name, weights, seed)
    file = weights_file(name, weights)
    fill(module, kind, file)
    return module, kind, file_sha256(file)


def _known(name: str) -> None:
    if name not in KINDS:
        raise UsageError(f"features.backbone: no backbone {name!r}", nearest(name, list(KINDS)))


def _randomise(module: nn.Module) -> None:
    """Every parameter and buffer of a network whose memory may never have been written."""
    for layer in module.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
        elif hasattr(layer, "layer_scale"):  # ConvNeXt's: torchvision's own initial value
            nn.init.constant_(layer.layer_scale, 1e-6)
