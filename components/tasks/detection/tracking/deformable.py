"""Modulated deformable convolution in plain torch, which trains and exports wherever a grid can be sampled.

X. Zhu, H. Hu, S. Lin and J. Dai, "Deformable ConvNets v2: more deformable, better results", 2019.
"""

import torch
import torch.nn.functional as F
from torch import nn

TAPS = 9  # of a kernel of 3x3, row by row


class DeformableConv(nn.Module):
    """A convolution of 3x3, stride 1, padding 1, (B, inside, h, w) -> (B, outside, h, w), whose taps move.

    Offsets and mask come from a convolution of the same input that starts at zero: at first every tap is where it
    always is and counts half. Names of parameters are those of the DCNv2 extension.
    """

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outside, inside, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outside))
        self.conv_offset_mask = nn.Conv2d(inside, 3 * TAPS, 3, padding=1)
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)  # as nn.Conv2d's
        nn.init.zeros_(self.conv_offset_mask.weight)
        nn.init.zeros_(self.conv_offset_mask.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offsets, mask = self.conv_offset_mask(x).split([2 * TAPS, TAPS], 1)
        return deformable_conv(x, offsets, mask.sigmoid(), self.weight, self.bias)


def deformable_conv(
    x: torch.Tensor, offsets: torch.Tensor, mask: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """x (B, C, h, w) convolved with weight (O, C, 3, 3) at moved taps, plus bias (O,): (B, O, h, w).

    offsets (B, 18, h, w): of each tap the cells it moves down, then those it moves to the right; mask (B, 9, h, w):
    what it counts. Between cells values are bilinear, beyond the edge they are 0.
    """
    channels, height, width = (int(side) for side in x.shape[1:])
    steps = torch.arange(-1.0, 2.0, device=x.device)
    rows = steps.repeat_interleave(3).view(TAPS, 1, 1) + torch.arange(height, device=x.device).view(1, height, 1)
    columns = steps.repeat(3).view(TAPS, 1, 1) + torch.arange(width, device=x.device)
    down, across = rows + offsets[:, 0::2], columns + offsets[:, 1::2]
    # Cell i of n is centred at (2 i + 1) / n - 1: unlike corners at -1 and 1 that holds for a single cell as well.
    grid = torch.stack([(2 * across + 1) / width - 1, (2 * down + 1) / height - 1], -1)
    taps = F.grid_sample(x, grid.reshape(-1, TAPS * height, width, 2), align_corners=False)
    taps = taps.reshape(-1, channels, TAPS, height, width) * mask[:, None]
    found = weight.flatten(1) @ taps.reshape(-1, channels * TAPS, height * width)
    return found.reshape(-1, len(weight), height, width) + bias[:, None, None]
