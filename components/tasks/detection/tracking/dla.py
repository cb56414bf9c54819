"""DLA-34 and its decoder with iterative deep aggregation, as CenterNet and FairMOT use them.

F. Yu, D. Wang, E. Shelhamer and T. Darrell, "Deep layer aggregation", 2018; X. Zhou, D. Wang and P. Krähenbühl,
"Objects as points", 2019. Modules are named as in the published checkpoints.
"""

from pathlib import Path

import torch
from torch import nn

from components.core import paths
from components.core.errors import UsageError
from components.tasks.backbones.kinds import BackboneKind
from components.tasks.backbones.weights import RANDOM, downloaded
from components.tasks.detection.tracking.deformable import DeformableConv

CHANNELS = (16, 32, 64, 128, 256, 512)  # of the maps at strides 1, 2, 4, 8, 16 and 32
FIRST = 2  # the level at whose stride, 4, the decoder ends
STRIDE, COARSEST = 4, 32
WIDTH = CHANNELS[FIRST]


class Base(nn.Module):
    """DLA-34 without its classifier: (B, 3, H, W) -> six maps, (B, CHANNELS[i], H / 2^i, W / 2^i).

    H and W are multiples of 32. Pixels are RGB in [0, 1], not normalised any further, as in FairMOT.
    """

    def __init__(self):
        super().__init__()
        self.base_layer = nn.Sequential(*_unit(3, CHANNELS[0], 7))
        self.level0 = nn.Sequential(*_unit(CHANNELS[0], CHANNELS[0], 3))
        self.level1 = nn.Sequential(*_unit(CHANNELS[0], CHANNELS[1], 3, stride=2))
        self.level2 = Tree(1, CHANNELS[1], CHANNELS[2], stride=2)
        self.level3 = Tree(2, CHANNELS[2], CHANNELS[3], stride=2, keep=True)
        self.level4 = Tree(2, CHANNELS[3], CHANNELS[4], stride=2, keep=True)
        self.level5 = Tree(1, CHANNELS[4], CHANNELS[5], stride=2, keep=True)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        maps, x = [], self.base_layer(pixels)
        for level in (self.level0, self.level1, self.level2, self.level3, self.level4, self.level5):
            x = level(x)
            maps.append(x)
        return maps


class Tree(nn.Module):
    """Hierarchical aggregation: of `depth` 1 two residual blocks and a root over what they give, else two such trees.

    `keep`: the input, made as small as the output, reaches the root too. `more`: channels that it gets besides.
    """

    def __init__(self, depth: int, inside: int, outside: int, stride: int = 1, keep: bool = False, more: int = 0):
        super().__init__()
        self.depth, self.keep = depth, keep
        more += inside if keep else 0
        if depth == 1:
            self.tree1, self.tree2 = Block(inside, outside, stride), Block(outside, outside)
            self.root = Root(2 * outside + more, outside)
        else:
            self.tree1 = Tree(depth - 1, inside, outside, stride)
            self.tree2 = Tree(depth - 1, outside, outside, more=more + outside)
        self.shrink = nn.MaxPool2d(stride) if stride > 1 else nn.Identity()
        if inside != outside:
            self.project = nn.Sequential(nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside))
            # Published networks carry one for whole trees as well, on which nothing depends: it is not trained.
            self.project.requires_grad_(depth == 1)
        else:
            self.project = nn.Identity()

    def forward(self, x: torch.Tensor, others: tuple[torch.Tensor, ...] = ()) -> torch.Tensor:
        bottom = self.shrink(x)
        if self.keep:
            others = (*others, bottom)
        if self.depth > 1:
            first = self.tree1(x)
            return self.tree2(first, (*others, first))
        first = self.tree1(x, self.project(bottom))
        return self.root(self.tree2(first, first), first, *others)


class Block(nn.Module):
    """Two convolutions of 3x3, to whose sum with `shortcut` a ReLU is applied."""

    def __init__(self, inside: int, outside: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + shortcut)


class Root(nn.Module):
    """Maps of one size, their channels in a row, mixed by a convolution of 1x1."""

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(inside, outside, 1, bias=False), nn.BatchNorm2d(outside)

    def forward(self, *maps: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn(self.conv(torch.cat(maps, 1))))


class Node(nn.Module):
    """A convolution of 3x3, deformable or plain, normalised, with a ReLU."""

    def __init__(self, inside: int, outside: int, deformable: bool):
        super().__init__()
        self.actf = nn.Sequential(nn.BatchNorm2d(outside), nn.ReLU(inplace=True))
        plain = nn.Conv2d(inside, outside, 3, padding=1, bias=False)
        self.conv = DeformableConv(inside, outside) if deformable else plain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.actf(self.conv(x))


class Aggregation(nn.Module):
    """Iterative deep aggregation: maps of `inside` channels, each `factors` times coarser than the first, are brought
    to its size and to `outside` channels, and added one after the other. Gives all sums, the first map before them."""

    def __init__(self, outside: int, inside: tuple[int, ...], factors: tuple[int, ...], deformable: bool):
        super().__init__()
        for i, (channels, factor) in enumerate(zip(inside[1:], factors[1:], strict=True), 1):
            up = nn.ConvTranspose2d(
                outside, outside, 2 * factor, factor, padding=factor // 2, groups=outside, bias=False
            )
            with torch.no_grad():
                up.weight.copy_(_bilinear(factor))
            self.add_module(f"proj_{i}", Node(channels, outside, deformable))
            self.add_module(f"up_{i}", up)
            self.add_module(f"node_{i}", Node(outside, outside, deformable))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        sums = [maps[0]]
        for i, coarse in enumerate(maps[1:], 1):
            finer = self.get_submodule(f"up_{i}")(self.get_submodule(f"proj_{i}")(coarse))
            sums.append(self.get_submodule(f"node_{i}")(finer + sums[-1]))
        return sums


class Up(nn.Module):
    """DLA-Up: maps of the strides 4, 8, 16 and 32 -> maps of the same strides and channels with all coarser ones in
    them; the coarsest as it was."""

    def __init__(self, deformable: bool):
        super().__init__()
        channels = CHANNELS[FIRST:]
        self.steps = len(channels) - 1
        for i in range(self.steps):
            at = self.steps - 1 - i
            inside = (channels[at], *[channels[at + 1]] * (i + 1))
            self.add_module(f"ida_{i}", Aggregation(channels[at], inside, (1, *[2] * (i + 1)), deformable))

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        now, done = list(maps), [maps[-1]]
        for i in range(self.steps):
            at = self.steps - 1 - i
            now[at:] = self.get_submodule(f"ida_{i}")(now[at:])
            done.insert(0, now[-1])
        return done


def last_aggregation(deformable: bool) -> Aggregation:
    """`Up`'s maps of the strides 4, 8 and 16 -> sums at stride 4, of WIDTH channels; the last has all in it."""
    return Aggregation(WIDTH, CHANNELS[FIRST:-1], (1, 2, 4), deformable)


# The classifier's weights on ImageNet; the file's name ends in the first hex digits of its SHA-256.
KIND = BackboneKind(
    lambda size: Base(), CHANNELS[-1], "dla34-ba72cf86.pth", "http://dl.yf.io/dla/models/imagenet/", "ba72cf86",
    tail=("fc",), smallest=COARSEST, multiple=COARSEST,
)  # fmt: skip


def weights_file(weights: str) -> Path | None:
    """The local file of DLA-34's weights: `imagenet` (SIGHTLINE_MIRROR/weights, or downloaded once), a file, or for
    `none` None. Raises SightlineError with the remedy."""
    if weights == RANDOM:
        return None
    if weights == "imagenet":
        mirrored = paths.mirror() and paths.mirror() / "weights" / KIND.file
        return mirrored if mirrored and mirrored.is_file() else downloaded(KIND)
    file = paths.resolve(weights)
    if not file.is_file():
        raise UsageError(f"features.weights: {weights}: none for dla34", "use imagenet, none, or a file")
    return file


def _unit(inside: int, outside: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(inside, outside, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, nn.BatchNorm2d(outside), nn.ReLU(inplace=True)]


def _bilinear(factor: int) -> torch.Tensor:
    """The kernel (2 factor, 2 factor) of a transposed convolution that makes maps `factor` times finer, bilinearly."""
    line = 1 - ((torch.arange(2 * factor) + 0.5) / factor - 1).abs()
    return line[:, None] * line
