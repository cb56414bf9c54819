"""A backbone as the body of a detector: from pictures to its last map, whose shape is found by trying."""

import torch
from torch import nn

from components.core.recipe import Features
from components.tasks.backbones import load_backbone


class Body(nn.Module):
    """Pixels (B, 3, H, W) float32 RGB in [0, 1] -> the backbone's last map (B, channels, h, w) float32.

    Convolutions work in `arithmetic`, channels last. `size`: (H, W); `grid`: (h, w); `stride`: pixels of a cell's
    longer side.
    """

    def __init__(self, features: Features, arithmetic: torch.dtype = torch.float32):
        super().__init__()
        self.backbone, kind, self.weights_digest = load_backbone(
            features.backbone, features.weights, size=features.size
        )
        self.channels, self.size, self.arithmetic = kind.channels, features.size, arithmetic
        self.register_buffer("mean", torch.tensor(kind.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(kind.std).view(1, 3, 1, 1), persistent=False)
        # Published networks carry along layers that their last map does not depend on: those are not trained.
        parameters = list(self.backbone.parameters())
        maps = self(torch.zeros(1, 3, *self.size))
        found = torch.autograd.grad(maps.sum(), parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            parameter.requires_grad_(gradient is not None)
        self.grid = (maps.shape[2], maps.shape[3])
        self.stride = max(side / cells for side, cells in zip(self.size, self.grid, strict=True))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        inputs = ((pixels - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, self.arithmetic, enabled=self.arithmetic != torch.float32):
            return self.backbone(inputs).float()
