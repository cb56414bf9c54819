"""`sightline_small`, the project's own backbone."""

import torch
from torch import nn


class SmallBackbone(nn.Module):
    """A plain residual network of 0.5 M parameters for CPUs; (N, 3, H, W) -> (N, 128, H/16, W/16).

    Pre-trained on generated footage; `components/tasks/weights/sightline_small.md` is its model card.
    """

    channels = 128

    def __init__(self):
        super().__init__()
        self.stem = _unit(3, 16, stride=2)
        self.body = nn.Sequential(
            _unit(16, 32, stride=2), _unit(32, 64, stride=2), Residual(64), _unit(64, 128, stride=2), Residual(128)
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self.stem(x))


class Residual(nn.Module):
    """x + conv(conv(x)), then ReLU; the first convolution is as wide, the second grouped to stay cheap."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(
            _unit(channels, channels),
            nn.Conv2d(channels, channels, 3, padding=1, groups=4, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.inner(x))


def _unit(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True))
