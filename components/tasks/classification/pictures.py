"""A split's labelled frames as pictures: what the whole network is trained on, streamed from the frames table."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from components.core import tables
from components.core.media import decode_picture, resize
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.samples import Source
from components.tasks.classification.stream import BUFFER, MEMORY, Share

SHUFFLED = 256 << 20  # bytes of decoded pictures held for shuffling
ROWS = 64  # encoded pictures in memory at a time


@dataclass(frozen=True)
class Pictures:
    """pixels (N, 3, H, W) float32 RGB in [0, 1], labels (N,) int64, weights (N,) float32 of the rows' losses."""

    pixels: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


class PictureStream(Share):
    """A rank's share of the source (of the frames table) as pictures scaled to `size` (height, width) in pixels.

    Decoded pictures are kept while they fit in memory; what does not fit is decoded again in every epoch.
    """

    def __init__(
        self, source: Source, size: tuple[int, int], batch_size: int, seed: int, rank: int = 0, world: int = 1
    ):
        super().__init__(source, batch_size, seed, rank, world)
        self.size = size
        self._bytes = 3 * size[0] * size[1]
        self.buffer = max(4 * batch_size, min(BUFFER, SHUFFLED // self._bytes))
        self._kept: dict[int, list[tuple]] = {}
        self._room = MEMORY

    def batch(self, rows: list[tuple]) -> Pictures:
        """Rows (picture (H, W, 3) uint8 RGB, label, weight) as one batch, not yet augmented."""
        pictures, labels, weights = zip(*rows, strict=True)
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255
        marks = torch.from_numpy(np.asarray(labels, np.int64)), torch.from_numpy(np.asarray(weights, np.float32))
        return Pictures(pixels, *marks)

    def rows(self, position: int) -> Iterator[tuple]:
        """(picture (H, W, 3) uint8 RGB, label) of the labelled frames of a group."""
        if position in self._kept:
            return iter(self._kept[position])
        needed = self._bytes * int(np.sum(self.labels[position] != UNLABELLED))
        if needed > self._room:
            return self._decoded(position)
        self._room -= needed
        self._kept[position] = list(self._decoded(position))
        return iter(self._kept[position])

    def _decoded(self, position: int) -> Iterator[tuple]:
        labels = iter(self.labels[position])
        for file in self.source.groups[position]:
            for row in tables.iter_rows(file, ["jpeg"], ROWS):
                if (label := next(labels)) != UNLABELLED:
                    yield resize(decode_picture(row["jpeg"]), *self.size), label
