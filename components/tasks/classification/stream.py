"""Training batches streamed from feature shards: a shard in memory at a time, the same batches for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import torch

from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.samples import Source

BUFFER = 8192  # windows held for shuffling


@dataclass(frozen=True)
class Batch:
    """windows (N, W, D) float32, present (N, W) bool, labels (N,) int64."""

    windows: torch.Tensor
    present: torch.Tensor
    labels: torch.Tensor


class Stream:
    """One rank's share of a split: whole shards, dealt so that ranks hold nearly equal numbers of rows.

    Every rank yields the same number of batches per epoch, as the ring of gradients needs; a rank whose share ends
    early begins it again.
    """

    def __init__(self, source: Source, reach: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.source, self.reach, self.batch_size, self.seed = source, reach, batch_size, seed
        rows = [pq.ParquetFile(file).metadata.num_rows for file in source.files]
        shares = deal(rows, world)
        self.rank = rank
        self.files = [source.files[i] for i in shares[rank]]
        heaviest = max(sum(rows[i] for i in share) for share in shares)
        self.steps = max(1, -(-heaviest // batch_size))

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of one epoch; the order of shards and rows depends on seed, epoch and rank only."""
        random = np.random.default_rng([self.seed, epoch, self.rank])
        rows = self._shuffled(random)
        for _ in range(self.steps):
            yield self._batch([next(rows) for _ in range(self.batch_size)])

    def moments(self) -> tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of this share's labelled rows: their number, sum and sum of squares (D,) float64, and class counts (C,)."""
        count, total, squares, classes = 0, 0.0, 0.0, torch.zeros(len(self.source.recipe.task.classes))
        for file in self.files:
            samples = self.source.read(file)
            kept = samples.labels != UNLABELLED
            vectors = torch.from_numpy(samples.vectors[kept]).double()
            count += len(vectors)
            total = total + vectors.sum(0)
            squares = squares + vectors.square().sum(0)
            classes += torch.bincount(torch.from_numpy(samples.labels[kept]), minlength=len(classes))
        return count, torch.as_tensor(total), torch.as_tensor(squares), classes.double()

    def _shuffled(self, random: np.random.Generator) -> Iterator[tuple]:
        buffer: list[tuple] = []
        while True:
            seen = 0
            for position in random.permutation(len(self.files)):
                for row in self._windows(position):
                    seen += 1
                    if len(buffer) < BUFFER:
                        buffer.append(row)
                        continue
                    place = random.integers(BUFFER)
                    buffer[place], row = row, buffer[place]
                    yield row
            if not seen:
                raise ValueError("a rank holds no labelled frame: use fewer workers, or label more")
            for place in random.permutation(len(buffer)):
                yield buffer[place]
            buffer.clear()

    def _windows(self, position: int) -> Iterator[tuple]:
        samples = self.source.read(self.files[position])
        for asset in range(len(samples.asset_ids)):
            rows = samples.rows(asset)
            vectors, labels = samples.vectors[rows], samples.labels[rows]
            for at in np.flatnonzero(labels != UNLABELLED):
                offsets = np.arange(at - self.reach, at + self.reach + 1)
                present = (offsets >= 0) & (offsets < len(vectors))
                yield vectors[offsets.clip(0, len(vectors) - 1)], present, labels[at]

    @staticmethod
    def _batch(rows: list[tuple]) -> Batch:
        windows, present, labels = zip(*rows, strict=True)
        return Batch(
            torch.from_numpy(np.stack(windows)),
            torch.from_numpy(np.stack(present)),
            torch.from_numpy(np.asarray(labels, np.int64)),
        )


def deal(rows: list[int], world: int) -> list[list[int]]:
    """Positions of the shards for each of `world` ranks: heaviest first, each to the rank that has least so far."""
    shares: list[list[int]] = [[] for _ in range(world)]
    weights = [0] * world
    for position in sorted(range(len(rows)), key=lambda i: (-rows[i], i)):
        rank = min(range(world), key=lambda r: (weights[r], r))
        shares[rank].append(position)
        weights[rank] += rows[position]
    return [sorted(share) for share in shares]
