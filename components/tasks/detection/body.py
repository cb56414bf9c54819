"""A backbone as the body of a detector: from pictures to its last map and finer ones, found by trying."""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from components.core.recipe import Features
from components.tasks.backbones import load_backbone


class Body(nn.Module):
    """Pixels (B, 3, H, W) float32 RGB in [0, 1] -> the backbone's last map (B, channels, h, w) float32.

    Convolutions work in `arithmetic`, channels last. `size`: (H, W); `grid`: (h, w); `stride`: pixels of a cell's
    longer side. `finer`: channels of the maps that are two, four, ... times as fine, in this order, as many as `most`
    and as there are: what the backbone's layers of that size end in (T.-Y. Lin et al., "Feature pyramid networks for
    object detection", 2017).
    """

    def __init__(self, features: Features, arithmetic: torch.dtype = torch.float32, most: int = 0):
        super().__init__()
        self.backbone, kind, self.weights_digest = load_backbone(
            features.backbone, features.weights, size=features.size
        )
        self.channels, self.size, self.arithmetic = kind.channels, features.size, arithmetic
        self.register_buffer("mean", torch.tensor(kind.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(kind.std).view(1, 3, 1, 1), persistent=False)
        # Published networks carry along layers that their last map does not depend on: those are not trained.
        parameters = list(self.backbone.parameters())
        ends: dict[tuple[int, int], tuple[nn.Module, int]] = {}
        handles = [part.register_forward_hook(_remember(ends, part)) for part in self.backbone.modules()]
        maps = self(torch.zeros(1, 3, *self.size))
        for handle in handles:
            handle.remove()
        found = torch.autograd.grad(maps.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.requires_grad_(gradient is not None)
        self.grid = (maps.shape[2], maps.shape[3])
        self.stride = max(side / cells for side, cells in zip(self.size, self.grid, strict=True))
        self.finer: list[int] = []
        self._held: dict[int, torch.Tensor] = {}
        while len(self.finer) < most and (end := ends.get(size := tuple(c << len(self.finer) + 1 for c in self.grid))):
            end[0].register_forward_hook(partial(self._hold, len(self.finer), size))
            self.finer.append(end[1])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        inputs = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, self.arithmetic, enabled=self.arithmetic != torch.float32):
            return self.backbone(inputs).float()

    def pyramid(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """The last map and the finer ones, coarse to fine, (B, channels, h, w) float32 each."""
        last = self(pixels)
        return [last, *(self._held.pop(place).float() for place in range(len(self.finer)))]

    def _hold(self, place: int, size: tuple[int, int], part: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if tuple(output.shape[2:]) == size:  # a layer may be called more than once, at several sizes
            self._held[place] = output


def _remember(ends: dict, part: nn.Module) -> Callable:
    """A hook that notes, of every size of map, the layer that was the last to give one, and its channels."""

    def hook(module: nn.Module, inputs: tuple, output) -> None:
        if torch.is_tensor(output) and output.dim() == 4:
            ends[tuple(output.shape[2:])] = (part, output.shape[1])

    return hook


def separable(width: int) -> list[nn.Module]:
    """A depthwise and a pointwise convolution: an eighth of the work of a full one."""
    return [
        nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
        nn.Conv2d(width, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    ]
