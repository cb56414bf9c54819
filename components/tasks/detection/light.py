"""The light detector: one stage, without anchors, for processors and edge devices.

A heat map of centres per class (`heatmap`), and at every cell the four distances from its middle to the sides of the
box there (Z. Tian et al., "FCOS: fully convolutional one-stage object detection", 2019), taught by the generalised
intersection over union.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from components.tasks.detection.body import Body, separable
from components.tasks.detection.boxes import EPSILON, Detections, frame_probabilities, giou_loss, settled
from components.tasks.detection.heatmap import focal_loss, peaks, targets
from components.tasks.detection.samples import Batch

STRIDE = 8  # pixels of a cell, as nearly as doublings of the backbone's map come to it
WIDTH = 64
PRIOR = 0.1  # probability of a peak that an untrained map gives every cell
SIDE = 1 / 8  # of the picture: the distance that an untrained network gives
RANGE = 3.0  # distances lie between SIDE * exp(-RANGE - 1) and SIDE * exp(RANGE)
BOX_LOSS = 2.0  # weight of the boxes' loss beside the heat map's
CANDIDATES = 2  # peaks looked at, for every box asked for


class Light(nn.Module):
    """Pixels (B, 3, H, W) float32 RGB in [0, 1] -> Detections. Of `classes`, the background included, K = classes - 1
    have a heat map."""

    def __init__(self, body: Body, classes: int, max_boxes: int, score_floor: float, nms: float):
        super().__init__()
        self.body, self.kinds = body, classes - 1
        self.max_boxes, self.score_floor, self.nms = max_boxes, score_floor, nms
        doublings = max(0, round(math.log2(body.stride / STRIDE)))
        self.shape = tuple(cells << doublings for cells in body.grid)
        layers = [nn.Conv2d(body.channels, WIDTH, 1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        for _ in range(doublings):
            layers += [nn.Upsample(scale_factor=2, mode="nearest"), *separable(WIDTH)]
        self.neck = nn.Sequential(*layers, *separable(WIDTH))
        self.heat = nn.Sequential(*separable(WIDTH), nn.Conv2d(WIDTH, self.kinds, 1))
        self.sides = nn.Sequential(*separable(WIDTH), nn.Conv2d(WIDTH, 4, 1))
        nn.init.constant_(self.heat[-1].bias, math.log(PRIOR / (1 - PRIOR)))
        nn.init.normal_(self.heat[-1].weight, std=0.01)
        nn.init.zeros_(self.sides[-1].bias)
        nn.init.normal_(self.sides[-1].weight, std=0.01)
        rows, columns = ((torch.arange(cells) + 0.5) / cells for cells in self.shape)
        across, down = columns.repeat(self.shape[0]), rows.repeat_interleave(self.shape[1])
        # (1, 4, h * w): what the distances are counted from, and which way
        self.register_buffer("middles", torch.stack([across, down, across, down])[None], persistent=False)
        self.register_buffer("ways", torch.tensor([-1.0, -1.0, 1.0, 1.0]).view(1, 4, 1), persistent=False)

    def maps(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits of the heat map, (B, K, h, w), and the box at each cell, (B, 4, h * w) in units of the picture."""
        neck = self.neck(self.body(pixels))
        distances = SIDE * self.sides(neck).clamp(-RANGE - 1, RANGE).exp().flatten(2)
        return self.heat(neck), self.middles + self.ways * distances

    def forward(self, pixels: torch.Tensor) -> Detections:
        logits, boxes = self.maps(pixels)
        heat = logits.sigmoid()
        scores, kinds, cells = peaks(heat, CANDIDATES * self.max_boxes)
        boxes = averaged(boxes, heat).gather(2, cells[:, None].expand(-1, 4, -1)).transpose(1, 2)
        found = settled(boxes, scores, kinds + 1, self.max_boxes, self.score_floor, self.nms)
        return Detections(*found, frame_probabilities(heat.amax((2, 3))))

    def loss(self, batch: Batch) -> dict[str, torch.Tensor]:
        """`heat` and `box`, scalars per picture whose sum is to be minimised; box by box as their weights say."""
        logits, boxes = self.maps(batch.pixels)
        wanted = targets(batch, self.kinds, self.shape)
        picture, row, column = wanted.cells
        found = boxes[picture, :, row * self.shape[1] + column]
        off = giou_loss(found, batch.boxes[wanted.box]) * wanted.share
        return {"heat": focal_loss(logits, wanted), "box": BOX_LOSS * off.sum() / len(batch.pixels)}


def averaged(boxes: torch.Tensor, heat: torch.Tensor) -> torch.Tensor:
    """Boxes (B, 4, h * w) of cells, each with those of its eight neighbours taken in, by the square of their heat.

    Cells around a centre learn the same box, and each errs in its own way. heat (B, K, h, w): scores.
    """
    square = heat.amax(1, keepdim=True).square() + EPSILON
    shape = (*boxes.shape[:2], *heat.shape[2:])
    sums = F.avg_pool2d(boxes.view(shape) * square, 3, 1, 1), F.avg_pool2d(square, 3, 1, 1)
    return (sums[0] / sums[1]).flatten(2)
