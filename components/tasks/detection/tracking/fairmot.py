"""FairMOT: one network that finds objects and says what each looks like, so that it is known again.

Y. Zhang et al., "FairMOT: on the fairness of detection and re-identification in multiple object tracking", 2020. Heads
and, with DLA-34, all other modules are named as in the published checkpoints. How it is taught: `losses`.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn

from components.core.errors import UsageError
from components.core.files import file_sha256
from components.tasks.backbones.weights import fill
from components.tasks.detection.body import Body, separable
from components.tasks.detection.boxes import frame_probabilities, settled
from components.tasks.detection.heatmap import peaks
from components.tasks.detection.light import PRIOR, RANGE, SIDE, averaged
from components.tasks.detection.samples import Batch
from components.tasks.detection.tracking import dla
from components.tasks.detection.tracking.losses import JointLoss, Maps, told

CANDIDATES = 2  # peaks looked at, for every box asked for
LIGHT_WIDTH, LIGHT_DIM = 64, 64
STRIDES = (4, 8)  # of the light network
FINER = 3  # maps of its backbone, beside the last, that it can make use of
HEAD_WIDTH, DLA_DIM = 256, 128


class Embedded(NamedTuple):
    """What is found in B pictures: `Detections`, and embeddings (B, K, D) float32 of length 1, 0 where there is no box.

    boxes (B, K, 4) float32 in units of the picture, 0..1, best first; scores (B, K) float32; classes (B, K) int64,
    1..C-1; probabilities (B, C) float32 of the frame as a whole.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor
    embeddings: torch.Tensor


class FairMOT(nn.Module):
    """Pixels (B, 3, H, W) float32 RGB in [0, 1] -> Embedded. Of `classes`, the background included, K = classes - 1
    have a heat map; embeddings have `dim` numbers.

    Kinds of it give `encoded`, (B, channels, h, w) of `shape` (h, w), and `head(outputs)`, which makes one of the four
    heads on it. `body` is the backbone, the names of whose parameters begin with `prefix`.
    """

    prefix = "body."

    def __init__(
        self, shape: tuple[int, int], classes: int, dim: int, max_boxes: int, score_floor: float, nms: float,
        head: Callable[[int], nn.Sequential],
    ):  # fmt: skip
        super().__init__()
        self.shape, self.kinds, self.dim = shape, classes - 1, dim
        self.max_boxes, self.score_floor, self.nms = max_boxes, score_floor, nms
        self.hm, self.wh, self.id = head(self.kinds), head(4), head(dim)
        nn.init.constant_(self.hm[-1].bias, math.log(PRIOR / (1 - PRIOR)))
        nn.init.normal_(self.hm[-1].weight, std=0.01)
        nn.init.zeros_(self.id[-1].bias)

    def encoded(self, pixels: torch.Tensor) -> torch.Tensor:
        """The map that the heads see."""
        raise NotImplementedError

    def maps(self, pixels: torch.Tensor) -> Maps:
        """What the heads say of every cell."""
        raise NotImplementedError

    def boxes(self, maps: Maps, heat: torch.Tensor) -> torch.Tensor:
        """The box of every cell, (B, 4, h * w) in units of the picture. heat (B, K, h, w): scores."""
        raise NotImplementedError

    def decoded(self, maps: Maps) -> Embedded:
        """The highest peaks as boxes, each with the embedding of its cell."""
        heat = maps.heat.sigmoid()
        scores, kinds, cells = peaks(heat, CANDIDATES * self.max_boxes)

        def read(plane: torch.Tensor) -> torch.Tensor:
            return plane.gather(2, cells[:, None].expand(-1, int(plane.shape[1]), -1)).transpose(1, 2)

        boxes = read(self.boxes(maps, heat))
        embeddings = F.normalize(read(maps.embedding.flatten(2)), dim=-1)
        boxes, scores, classes, embeddings = settled(
            boxes, scores, kinds + 1, self.max_boxes, self.score_floor, self.nms, embeddings
        )
        return Embedded(boxes, scores, classes, frame_probabilities(heat.amax((2, 3))), embeddings)

    def forward(self, pixels: torch.Tensor) -> Embedded:
        return self.decoded(self.maps(pixels))

    def loss(self, batch: Batch, joint: JointLoss) -> dict[str, torch.Tensor]:
        """`joint`'s losses of a batch whose boxes have identities."""
        return joint(self.maps(batch.pixels), batch)


class LightFairMOT(FairMOT):
    """FairMOT for processors and edge devices: any backbone, its map doubled until a cell is about `stride` pixels, 4
    or 8, with the backbone's own map of that size added each time, and separable convolutions of 64 channels.

    Boxes are learned and read as `Light` does it, by all cells under an object and without an offset, and not as
    published: from little footage that learns faster.

    `body`: with finer maps, FINER of them at most. Raises UsageError for another stride.
    """

    def __init__(
        self, body: Body, classes: int, max_boxes: int, score_floor: float, nms: float, stride: int = 8,
        dim: int = LIGHT_DIM,
    ):  # fmt: skip
        if stride not in STRIDES:
            raise UsageError(f"tracking: no light network of stride {stride}", f"use one of {STRIDES}")
        doublings = max(0, round(math.log2(body.stride / stride)))
        shape = tuple(cells << doublings for cells in body.grid)
        super().__init__(shape, classes, dim, max_boxes, score_floor, nms, _light_head)
        nn.init.zeros_(self.wh[-1].bias)
        nn.init.normal_(self.wh[-1].weight, std=0.01)
        self.body = body
        self.lateral = nn.ModuleList(_narrow(channels) for channels in (body.channels, *body.finer[:doublings]))
        self.merge = nn.ModuleList(nn.Sequential(*separable(LIGHT_WIDTH)) for _ in range(doublings))
        self.last = nn.Sequential(*separable(LIGHT_WIDTH))

    def encoded(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 64, h, w) of the neck."""
        planes = self.body.pyramid(pixels)
        whole = self.lateral[0](planes[0])
        for place, merge in enumerate(self.merge, start=1):
            whole = F.interpolate(whole, scale_factor=2, mode="nearest")
            if place < len(self.lateral):
                whole = whole + self.lateral[place](planes[place])
            whole = merge(whole)
        return self.last(whole)

    def maps(self, pixels: torch.Tensor) -> Maps:
        """What the heads say of every cell; no offset."""
        features, (height, width) = self.encoded(pixels), self.shape
        cells = torch.tensor([width, height, width, height], device=pixels.device).view(1, 4, 1, 1)
        size = SIDE * self.wh(features).clamp(-RANGE - 1, RANGE).exp() * cells
        return Maps(self.hm(features), size, None, self.id(features))

    def boxes(self, maps: Maps, heat: torch.Tensor) -> torch.Tensor:
        """The cells' boxes, each with its neighbours' taken in."""
        return averaged(told(maps.size), heat)


class DLAFairMOT(FairMOT):
    """FairMOT as published: DLA-34, a decoder of plain or deformable convolutions to stride 4, heads of 256 channels.

    `size`: (H, W) of the pictures. `weights`: of DLA-34, as `dla.weights_file`, or a whole network's .safetensors, as
    `convert` makes them. DLA-34's convolutions work in `arithmetic`, channels last. Raises UsageError for a size that
    is no multiple of 32, SightlineError for weights that cannot be had or do not fit.
    """

    prefix = "base."

    def __init__(
        self, size: tuple[int, int], classes: int, max_boxes: int, score_floor: float, nms: float,
        deformable: bool = False, dim: int = DLA_DIM, weights: str = "none", arithmetic: torch.dtype = torch.float32,
    ):  # fmt: skip
        if any(side % dla.COARSEST for side in size):
            nearest = [max(1, round(side / dla.COARSEST)) * dla.COARSEST for side in size]
            raise UsageError(
                f"features.size: {size[0]}x{size[1]}: dla34 halves sides five times", f"give {nearest}, or the like"
            )
        shape = (size[0] // dla.STRIDE, size[1] // dla.STRIDE)
        super().__init__(shape, classes, dim, max_boxes, score_floor, nms, _published_head)
        self.reg = _published_head(2)
        nn.init.constant_(self.wh[-1].bias, SIDE * max(shape))
        nn.init.constant_(self.reg[-1].bias, 0.5)
        self.base, self.dla_up, self.ida_up = dla.Base(), dla.Up(deformable), dla.last_aggregation(deformable)
        self.arithmetic = arithmetic
        file = dla.weights_file(weights)
        self.weights_digest = file_sha256(file) if file else None
        if file:
            fill(self if _whole(file) else self.base, dla.KIND, file)

    @property
    def body(self) -> nn.Module:
        """DLA-34."""
        return self.base

    def encoded(self, pixels: torch.Tensor) -> torch.Tensor:
        """(B, 64, H / 4, W / 4) of the decoder."""
        inputs = pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast(pixels.device.type, self.arithmetic, enabled=self.arithmetic != torch.float32):
            maps = self.base(inputs)[dla.FIRST :]
        return self.ida_up(self.dla_up([plane.float() for plane in maps])[:-1])[-1]

    def maps(self, pixels: torch.Tensor) -> Maps:
        """What the heads say of every cell."""
        features = self.encoded(pixels)
        return Maps(self.hm(features), self.wh(features), self.reg(features), self.id(features))

    def boxes(self, maps: Maps, heat: torch.Tensor) -> torch.Tensor:
        """A box around the point in every cell that its offset tells."""
        height, width = self.shape
        down, across = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        corner = torch.stack([across, down]).to(maps.offset)[None]
        centre = corner + maps.offset
        boxes = torch.cat([centre - maps.size[:, :2], centre + maps.size[:, 2:]], 1)
        return (boxes / torch.tensor([width, height, width, height]).to(boxes).view(1, 4, 1, 1)).flatten(2)


def _whole(file: Path) -> bool:
    """Whether a file of weights is of a whole FairMOT and not of its backbone alone."""
    if file.suffix != ".safetensors":
        return False
    with safe_open(file, "pt") as content:
        return "hm.0.weight" in content.keys()


def _published_head(outputs: int) -> nn.Sequential:
    hidden = nn.Conv2d(dla.WIDTH, HEAD_WIDTH, 3, padding=1)
    return nn.Sequential(hidden, nn.ReLU(inplace=True), nn.Conv2d(HEAD_WIDTH, outputs, 1))


def _narrow(channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(channels, LIGHT_WIDTH, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(LIGHT_WIDTH), nn.ReLU(inplace=True))


def _light_head(outputs: int) -> nn.Sequential:
    return nn.Sequential(*separable(LIGHT_WIDTH), nn.Conv2d(LIGHT_WIDTH, outputs, 1))
