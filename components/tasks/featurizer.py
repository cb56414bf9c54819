"""From a sequence of frames to a vector per frame: backbone, pooling and motion in one module that exports whole."""

import torch
from torch import nn

from components.core.errors import UsageError
from components.core.recipe import Features
from components.tasks.backbones import BackboneKind, backbone_digest, load_backbone
from components.tasks.motion import Motion
from components.tasks.parts import POOLED, places

NO_BACKBONE = "no-backbone"  # the weights' digest where motion is all there is


class Featurizer(nn.Module):
    """(B, T, H, W, 3) uint8 RGB, neighbouring frames of one source along T -> (B, T, dimension) float32.

    `kind` is the backbone's; both are None where motion is all there is. `places`: where each part lies in a vector.
    """

    def __init__(self, backbone: nn.Module | None, kind: BackboneKind | None, parts: tuple[str, ...], digest: str):
        super().__init__()
        self.backbone, self.parts, self.weights_digest = backbone, parts, digest
        self.pooled_parts = tuple(part for part in POOLED if part in parts)
        self.motion = Motion() if "motion" in parts else None
        self.places = places(part_sizes(parts, kind.channels if kind else 0))
        self.dimension = sum(place.stop - place.start for place in self.places.values())
        mean, std = (kind.mean, kind.std) if kind else ((0.0,) * 3, (1.0,) * 3)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        batch, time = frames.shape[:2]
        made = {}
        if self.backbone is not None:
            pooled = self.pooled(frames.flatten(0, 1)).reshape(batch, time, -1)
            made = dict(zip(self.pooled_parts, pooled.chunk(len(self.pooled_parts), -1), strict=True))
        if self.motion is not None:
            made["motion"] = self.motion(frames.permute(0, 1, 4, 2, 3).float() / 255)
        return torch.cat([made[part] for part in self.parts], dim=-1)

    def pooled(self, pictures: torch.Tensor) -> torch.Tensor:
        """(N, H, W, 3) uint8 RGB -> (N, D) float32: the mean, then the maximum of the last map, those of `parts`."""
        pixels = pictures.permute(0, 3, 1, 2).float() / 255
        maps = self.backbone((pixels - self.mean) / self.std).float()
        made = {"mean": lambda: maps.mean((2, 3)), "max": lambda: maps.amax((2, 3))}
        return torch.cat([made[part]() for part in self.pooled_parts], dim=-1)


class Appearance(nn.Module):
    """The part of a featurizer that looks at one picture at a time: (N, H, W, 3) uint8 RGB -> as `pooled` gives."""

    def __init__(self, featurizer: Featurizer):
        super().__init__()
        self.featurizer = featurizer
        self.train(featurizer.training)  # an exporter leaves a module and all below it in the mode of its outermost

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.featurizer.pooled(pictures)


def part_sizes(parts: tuple[str, ...], channels: int) -> dict[str, int]:
    """Numbers in each part of a vector, in its order, of a backbone with that many channels.

    Raises UsageError for a part named twice.
    """
    if len(set(parts)) < len(parts):
        raise UsageError(f"features.parts: {list(parts)} names a part twice", "name each once")
    return {part: Motion.dimension if part == "motion" else channels for part in parts}


def featurizer_digest(params: Features) -> str:
    """The `weights_digest` of `build_featurizer(params)`, without building it. Raises as `load_backbone`."""
    if set(params.parts) == {"motion"}:
        return NO_BACKBONE
    return backbone_digest(params.backbone, params.weights, params.size)


def build_featurizer(params: Features) -> Featurizer:
    """The featurizer these parameters describe, weights loaded, in evaluation mode. Raises as `load_backbone`."""
    if set(params.parts) == {"motion"}:
        return Featurizer(None, None, params.parts, NO_BACKBONE).eval()
    backbone, kind, digest = load_backbone(params.backbone, params.weights, size=params.size)
    return Featurizer(backbone, kind, params.parts, digest).eval()
