"""Augmentation of pictures with boxes: moved, turned, scaled and mirrored together, on whole batches in torch."""

import math

import torch
import torch.nn.functional as F

from components.core.recipe import Augment
from components.tasks.classification import augment as plain
from components.tasks.detection.samples import Batch

VISIBLE = 0.5  # share of a box that must still be in the picture: of less, too little is known to call it anything
LOOKS = ("colour", "noise", "erase")  # what changes pixels and leaves them where they are


def augmented(batch: Batch, params: Augment, generator: torch.Generator) -> Batch:
    """The batch, its pictures changed as `params` allows and its boxes moved along; boxes mostly outside are left out.

    A turned box is the smallest upright one around its corners. Beyond a picture's edge goes on its mean colour: were
    its edge drawn out, objects that it cuts would grow out of their boxes. What is drawn comes from `generator` (on
    the CPU) alone, so the same seed gives the same batch on any device.
    """
    if params.rotate or params.translate or params.scale or params.shear or params.flip:
        batch = _moved(batch, _maps(len(batch.pixels), params, batch.pixels.shape[2:], generator))
    looks = Augment(**{name: getattr(params, name) for name in LOOKS})
    return batch.where(
        torch.ones_like(batch.classes, dtype=bool), pixels=plain.augmented(batch.pixels, looks, generator)
    )


def _maps(count: int, params: Augment, size: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Maps (count, 3, 3) float32 from a changed picture's points to the old one's; both in -1..1 across and down."""

    def drawn(most: float) -> torch.Tensor:
        return most * (torch.rand(count, generator=generator) * 2 - 1)

    turn, lean = drawn(math.radians(params.rotate)), drawn(math.tan(math.radians(params.shear)))
    most = math.log1p(params.scale)  # as often half as large as twice as large; and differing along the axes
    across, down = torch.exp(drawn(most)), torch.exp(drawn(most))
    if params.flip:
        across = across * torch.sign(drawn(1.0))
    right, low = 2 * drawn(params.translate), 2 * drawn(params.translate)
    nil, one = torch.zeros(count), torch.ones(count)
    ratio = torch.full((count,), size[1] / size[0])  # a turn is one of pixels: there the two units are alike

    def matrix(*rows: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return torch.stack([torch.stack(row, 1) for row in rows], 1)

    pixels = matrix((ratio, nil, nil), (nil, one, nil), (nil, nil, one))
    units = matrix((1 / ratio, nil, nil), (nil, one, nil), (nil, nil, one))
    turned = matrix((turn.cos(), -turn.sin(), nil), (turn.sin(), turn.cos(), nil), (nil, nil, one))
    scaled = matrix((across, lean * across, nil), (nil, down, nil), (nil, nil, one))
    moved = matrix((one, nil, right), (nil, one, low), (nil, nil, one))
    return moved @ units @ turned @ scaled @ pixels


def _moved(batch: Batch, maps: torch.Tensor) -> Batch:
    maps = maps.to(batch.pixels.device)
    grid = F.affine_grid(maps[:, :2], list(batch.pixels.shape), align_corners=False)
    mean = batch.pixels.mean((2, 3), keepdim=True)
    pixels = F.grid_sample(batch.pixels - mean, grid, align_corners=False) + mean
    left, top, right, bottom = (2 * batch.boxes - 1).unbind(1)
    corners = torch.stack([left, top, right, top, left, bottom, right, bottom], 1).view(-1, 4, 2)
    corners = torch.cat([corners, torch.ones_like(corners[..., :1])], 2)
    places = (corners @ torch.linalg.inv(maps)[batch.picture].transpose(1, 2))[..., :2] / 2 + 0.5
    whole = torch.cat([places.amin(1), places.amax(1)], 1)
    boxes = whole.clamp(0, 1)
    return batch.where(_areas(boxes) >= VISIBLE * _areas(whole), pixels=pixels, boxes=boxes)


def _areas(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(1)
