"""Training batches streamed from shards: a shard in memory at a time, the same batches for the same seed."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from components.core.errors import UsageError
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.samples import Samples, Source

BUFFER = 8192  # windows held for shuffling
MEMORY = 512 << 20  # bytes of shards that a worker keeps: a small set is read once, not once an epoch


@dataclass(frozen=True)
class Batch:
    """windows (N, W, D) float32, present (N, W) bool, labels (N,) int64, weights (N,) float32 of the rows' losses."""

    windows: torch.Tensor
    present: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor


class Share:
    """One rank's share of a split's labelled rows: whole groups of shards, dealt so that ranks hold nearly equal
    numbers of rows, in an order that depends on the seed, the epoch and the rank only.

    Every rank takes the same number of steps per epoch, as the ring of gradients needs; a rank whose share ends early
    begins it again. `counts`: the classes' labelled rows over all ranks, (C,) float64. `weights`: of the losses of the
    rows of each group that `rows` gives, by position; 1 where there are none. Raises UsageError where there are fewer
    groups with labelled rows than ranks.
    """

    buffer = BUFFER

    def __init__(self, source: Source, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        self.source, self.batch_size, self.seed, self.rank = source, batch_size, seed, rank
        labels = [source.labels(group) for group in source.groups]
        rows = [int(np.sum(row != UNLABELLED)) for row in labels]
        held = [position for position, count in enumerate(rows) if count]
        if len(held) < world:
            raise UsageError(
                f"training.workers = {world}: only {len(held)} shards of the split hold labelled frames, "
                "and each worker needs one",
                "use fewer workers, label more, or change ingest.split",
            )
        shares = deal([rows[position] for position in held], world)
        self.positions = [held[i] for i in shares[rank]]
        self.labels = {position: labels[position] for position in self.positions}
        heaviest = max(sum(rows[held[i]] for i in share) for share in shares)
        self.steps = -(-heaviest // batch_size)
        kinds = len(source.recipe.task.classes)
        self.counts = torch.from_numpy(sum(np.bincount(row[row != UNLABELLED], minlength=kinds) for row in labels))
        self.counts = self.counts.double()
        self.weights: dict[int, np.ndarray] = {}

    def rows(self, position: int) -> Iterator[tuple]:
        """The labelled rows of the group at this position, in order."""
        raise NotImplementedError

    def batch(self, rows: list[tuple]):
        """These rows, each with its weight behind, as one batch."""
        raise NotImplementedError

    def epoch(self, epoch: int) -> Iterator:
        """The batches of one epoch."""
        return map(self.batch, self.picked(epoch))

    def once(self, rank: int = 0, world: int = 1) -> Iterator:
        """This share from its first row to its last, each once; of its groups every `world`-th from `rank` on."""
        rows = (row for position in self.positions[rank::world] for row in self._weighted(position))
        while held := list(islice(rows, self.batch_size)):
            yield self.batch(held)

    def weigh(self, weights: np.ndarray) -> None:
        """Takes these weights, (N,) in the order of `once()`, for the rows of this share."""
        held = [int(np.sum(self.labels[position] != UNLABELLED)) for position in self.positions]
        self.weights = dict(zip(self.positions, np.split(weights, np.cumsum(held)[:-1]), strict=True))

    def picked(self, epoch: int) -> Iterator[list[tuple]]:
        """The rows of each step of one epoch, each with its weight behind."""
        rows = self._shuffled(np.random.default_rng([self.seed, epoch, self.rank]))
        for _ in range(self.steps):
            yield [next(rows) for _ in range(self.batch_size)]

    def _shuffled(self, random: np.random.Generator) -> Iterator[tuple]:
        buffer: list[tuple] = []
        while True:
            for place in random.permutation(len(self.positions)):
                for row in self._weighted(self.positions[place]):
                    if len(buffer) < self.buffer:
                        buffer.append(row)
                        continue
                    slot = random.integers(self.buffer)
                    buffer[slot], row = row, buffer[slot]
                    yield row
            for slot in random.permutation(len(buffer)):
                yield buffer[slot]
            buffer.clear()

    def _weighted(self, position: int) -> Iterator[tuple]:
        weights = self.weights.get(position)
        for number, row in enumerate(self.rows(position)):
            yield *row, 1.0 if weights is None else weights[number]


class Stream(Share):
    """A rank's share as windows of vectors, `reach` frames before and after each labelled frame."""

    def __init__(self, source: Source, reach: int, batch_size: int, seed: int, rank: int = 0, world: int = 1):
        super().__init__(source, batch_size, seed, rank, world)
        self.reach = reach
        self._kept: dict[int, Samples] = {}
        self._room = MEMORY

    def batch(self, rows: list[tuple]) -> Batch:
        """Rows (window, present, label, weight) as one batch."""
        windows, present, labels, weights = zip(*rows, strict=True)
        return Batch(
            torch.from_numpy(np.stack(windows)),
            torch.from_numpy(np.stack(present)),
            torch.from_numpy(np.asarray(labels, np.int64)),
            torch.from_numpy(np.asarray(weights, np.float32)),
        )

    def moments(self) -> tuple[int, torch.Tensor, torch.Tensor]:
        """Of this share's labelled rows: their number, sum and sum of squares, (D,) float64."""
        count, total, squares = 0, 0.0, 0.0
        for position in self.positions:
            samples = self._samples(position)
            vectors = torch.from_numpy(samples.vectors[samples.labels != UNLABELLED]).double()
            count += len(vectors)
            total = total + vectors.sum(0)
            squares = squares + vectors.square().sum(0)
        return count, torch.as_tensor(total), torch.as_tensor(squares)

    def rows(self, position: int) -> Iterator[tuple]:
        """(window (W, D) float32, present (W,) bool, label) of the labelled frames of a group."""
        samples = self._samples(position)
        for asset in range(len(samples.asset_ids)):
            rows = samples.rows(asset)
            vectors, labels = samples.vectors[rows], samples.labels[rows]
            for at in np.flatnonzero(labels != UNLABELLED):
                offsets = np.arange(at - self.reach, at + self.reach + 1)
                present = (offsets >= 0) & (offsets < len(vectors))
                yield vectors[offsets.clip(0, len(vectors) - 1)], present, labels[at]

    def _samples(self, position: int) -> Samples:
        if position in self._kept:
            return self._kept[position]
        samples = self.source.read(self.source.groups[position])
        if samples.vectors.nbytes <= self._room:
            self._kept[position] = samples
            self._room -= samples.vectors.nbytes
        return samples


def deal(rows: list[int], world: int) -> list[list[int]]:
    """Positions of the shards for each of `world` ranks: heaviest first, each to the rank that has least so far."""
    shares: list[list[int]] = [[] for _ in range(world)]
    weights = [0] * world
    for position in sorted(range(len(rows)), key=lambda i: (-rows[i], i)):
        rank = min(range(world), key=lambda r: (weights[r], r))
        shares[rank].append(position)
        weights[rank] += rows[position]
    return [sorted(share) for share in shares]
