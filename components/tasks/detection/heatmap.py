"""Objects as peaks of a heat map: what a network is taught, its loss, and the peaks read back.

X. Zhou, D. Wang and P. Krähenbühl, "Objects as points", 2019; the bells are elliptic and teach the box at all cells
under them, as in Z. Liu et al., "Training-time-friendly network for real-time object detection", 2020.
Cells are those of a map of h rows and w columns; the cell at row y covers y / h to (y + 1) / h of the picture.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from components.tasks.detection.samples import Batch

SPREAD = 0.54 / 6  # standard deviation of a bell as a share of the box's side
NARROWEST = 0.5  # cells
TAUGHT = 0.2  # cells where the bell is higher than this learn the box
CHUNK = 64  # boxes whose bells are in memory at a time


@dataclass(frozen=True)
class Targets:
    """What B pictures ask of a map. `heat` (B, K, h, w): height of the highest bell, 1 at the objects' centres.

    Of each of N boxes: `centre`, (4, N) int64: picture, kind, row and column of its centre; `weights` (N,). Of each of
    M cells that learn a box: `cells` (3, M) int64: picture, row and column; `box` (M,): which one; `share` (M,): of the
    loss; the shares of a box's cells add up to the box's weight.
    """

    heat: torch.Tensor
    centre: torch.Tensor
    weights: torch.Tensor
    cells: torch.Tensor
    box: torch.Tensor
    share: torch.Tensor


def targets(batch: Batch, kinds: int, shape: tuple[int, int]) -> Targets:
    """The targets of a batch on a map of this shape (h, w); class c of a box is kind c - 1 of the map.

    A cell under several bells learns the smallest box. A box of weight 0 has a bell, so that the place is not taken
    for background, and teaches nothing else.
    """
    height, width = shape
    boxes, device = batch.boxes, batch.boxes.device
    size = torch.tensor([width, height], device=device)
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2 * size
    middle = torch.minimum(middle.long().clamp(min=0), size - 1)
    spread = ((boxes[:, 2:] - boxes[:, :2]) * size * SPREAD).clamp(min=NARROWEST)
    along = []
    for side in range(2):
        off = torch.arange(shape[1 - side], device=device) - middle[:, side, None]
        along.append(torch.exp(-(off**2) / (2 * spread[:, side, None] ** 2)))
    area = torch.where(batch.weights > 0, (boxes[:, 2:] - boxes[:, :2]).prod(1), torch.inf)
    pictures = len(batch.pixels)
    heat = torch.zeros(pictures * kinds, height, width, device=device)
    least = torch.full((pictures, height, width), torch.inf, device=device)
    parts = torch.arange(len(boxes), device=device).split(CHUNK) if len(boxes) else ()

    def bells(part: torch.Tensor) -> torch.Tensor:
        return along[1][part, :, None] * along[0][part, None, :]

    for part in parts:
        bell = bells(part)
        plane = batch.picture[part] * kinds + batch.classes[part] - 1
        heat.scatter_reduce_(0, plane[:, None, None].expand_as(bell), bell, "amax")
        held = torch.where(bell > TAUGHT, area[part, None, None], torch.inf)
        least.scatter_reduce_(0, batch.picture[part, None, None].expand_as(held), held, "amin")
    found = [torch.zeros(3, 0, dtype=torch.int64, device=device)]
    shares = [torch.zeros(0, device=device)]
    for part in parts:
        bell = bells(part)
        size = area[part, None, None]
        own = (bell > TAUGHT) & (size == least[batch.picture[part]]) & size.isfinite()
        share = bell * own
        share = share / share.sum((1, 2), keepdim=True).clamp(min=TAUGHT) * batch.weights[part, None, None]
        found.append(torch.stack([part[own.nonzero()[:, 0]], *own.nonzero()[:, 1:].unbind(1)]))
        shares.append(share[own])
    box, row, column = torch.cat(found, 1)
    return Targets(
        heat=heat.view(pictures, kinds, height, width),
        centre=torch.stack([batch.picture, batch.classes - 1, middle[:, 1], middle[:, 0]]),
        weights=batch.weights,
        cells=torch.stack([batch.picture[box], row, column]),
        box=box,
        share=torch.cat(shares),
    )


def focal_loss(logits: torch.Tensor, wanted: Targets) -> torch.Tensor:
    """The penalty-reduced focal loss of "Objects as points" of logits (B, K, h, w), per picture (not per object, so
    that the mean over equal batches is the loss of their union). A centre counts as often as its box's weight says."""
    probability = logits.sigmoid()
    empty = (1 - wanted.heat) ** 4 * probability**2 * F.softplus(logits)
    picture, kind, row, column = wanted.centre
    centres = logits[picture, kind, row, column]
    there = wanted.weights * (1 - centres.sigmoid()) ** 2 * F.softplus(-centres)
    return (empty.sum() + there.sum()) / len(logits)


def peaks(scores: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The `most` highest cells of maps (B, K, h, w) that none of their eight neighbours exceeds, best first: scores,
    kinds and cells (row * w + column), each (B, min(most, K * h * w))."""
    cells = int(scores.shape[2]) * int(scores.shape[3])
    top = scores * (F.max_pool2d(scores, 3, 1, 1) == scores).float()
    values, order = top.flatten(1).topk(min(most, int(scores.shape[1]) * cells), 1)
    return values, torch.div(order, cells, rounding_mode="floor"), order % cells
