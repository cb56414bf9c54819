"""Augmentation: pictures changed at random in ways that leave their class as it is, on whole batches in torch."""

import math

import torch
import torch.nn.functional as F

from components.core.recipe import Augment

ELASTIC_NODES = 5  # nodes of the elastic field along a side: strokes bend, and do not ripple


def augmented(pixels: torch.Tensor, params: Augment, generator: torch.Generator) -> torch.Tensor:
    """Pictures (N, 3, H, W) float32 in [0, 1], changed as `params` allows; the same shape and range.

    What is drawn comes from `generator` (on the CPU) alone, so the same seed gives the same pictures on any device.
    """
    pixels = _bent(pixels, params, generator)
    pixels = _coloured(pixels, params.colour, generator)
    if params.noise:
        pixels = pixels + params.noise * _normal(pixels.shape, generator).to(pixels.device)
    if params.erase:
        pixels = _erased(pixels, params.erase, generator)
    return pixels.clamp(0, 1)


def _bent(pixels: torch.Tensor, params: Augment, generator: torch.Generator) -> torch.Tensor:
    """One sampling of each picture through its own affine map (rotation, shear, scale, shift, mirror) and elastic
    field (Simard et al., 2003). Where a map looks beyond the picture, the picture's edge goes on."""
    if not (params.rotate or params.translate or params.scale or params.shear or params.elastic or params.flip):
        return pixels
    count, _, height, width = pixels.shape

    def drawn(most: float) -> torch.Tensor:
        return most * _uniform((count,), generator)

    turn, lean = drawn(math.radians(params.rotate)), drawn(math.tan(math.radians(params.shear)))
    # Scales are drawn alike in the logarithm: as often half as large as twice as large; and differ along the axes.
    most = math.log1p(params.scale)
    across, down = torch.exp(drawn(most)), torch.exp(drawn(most))
    mirror = torch.sign(_uniform((count,), generator)) if params.flip else torch.ones(count)
    cosine, sine, ratio = turn.cos(), turn.sin(), height / width
    rows = [
        [mirror * across * cosine, (lean * across * cosine - down * sine) * ratio, 2 * drawn(params.translate)],
        [mirror * across * sine / ratio, lean * across * sine + down * cosine, 2 * drawn(params.translate)],
    ]
    matrices = torch.stack([torch.stack(row, 1) for row in rows], 1)
    grid = F.affine_grid(matrices, [count, 3, height, width], align_corners=False)
    if params.elastic:
        nodes = 2 * params.elastic * _uniform((count, 2, ELASTIC_NODES, ELASTIC_NODES), generator)
        field = F.interpolate(nodes, (height, width), mode="bicubic", align_corners=True)
        grid = grid + field.permute(0, 2, 3, 1)
    return F.grid_sample(pixels, grid.to(pixels.device), padding_mode="border", align_corners=False)


def _coloured(pixels: torch.Tensor, amount: float, generator: torch.Generator) -> torch.Tensor:
    """Brightness, contrast and saturation, each by its own factor within 1 - amount and 1 + amount."""
    if not amount:
        return pixels
    factors = (1 + amount * _uniform((3, len(pixels), 1, 1, 1), generator)).to(pixels.device)
    brightness, contrast, saturation = factors
    grey = pixels.mean(1, keepdim=True)
    pixels = grey + (pixels - grey) * saturation
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return (mean + (pixels - mean) * contrast) * brightness


def _erased(pixels: torch.Tensor, share: float, generator: torch.Generator) -> torch.Tensor:
    """A rectangle of up to `share` of the area, somewhere, in the picture's mean colour (Zhong et al., 2020)."""
    count, _, height, width = pixels.shape
    drawn = (_uniform((4, count), generator) + 1) / 2
    area, aspect = share * drawn[0], torch.exp((2 * drawn[1] - 1) * math.log(2))
    high, wide = (area / aspect).sqrt(), (area * aspect).sqrt()
    top, left = drawn[2] * (1 - high).clamp(min=0), drawn[3] * (1 - wide).clamp(min=0)
    y, x = (torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width
    inside_y = (y >= top[:, None]) & (y < (top + high)[:, None])
    inside_x = (x >= left[:, None]) & (x < (left + wide)[:, None])
    hole = (inside_y[:, None, :, None] & inside_x[:, None, None, :]).to(pixels.device)
    return torch.where(hole, pixels.mean((2, 3), keepdim=True), pixels)


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Uniform in [-1, 1)."""
    return torch.rand(shape, generator=generator) * 2 - 1


def _normal(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    return torch.randn(shape, generator=generator)
