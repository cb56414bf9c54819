"""Training: the loop that all heads, tuning's trials and Horovod's workers share, and the heads on vectors in it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from components.core.recipe import Training
from components.tasks.classification.heads import Head, elastic_net
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.losses import row_losses
from components.tasks.classification.metrics import balanced_log_loss, frame_metrics
from components.tasks.classification.samples import Samples
from components.tasks.classification.stream import Batch, Stream

LOSS = "balanced_log_loss"


@dataclass
class Progress:
    """Where training stands: epochs done, what each showed, the best so far (`best_loss`: its `loss_of`). All a resume
    needs beside tensors."""

    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")

    def stale(self, patience: int | None) -> bool:
        """True where `patience` epochs have passed without a better one on the validation split."""
        return patience is not None and self.epoch - self.best_epoch >= patience


def standardise(head: Head, count: float, total: torch.Tensor, squares: torch.Tensor) -> None:
    """Sets the head's mean and deviation from sums over the training rows (float64)."""
    mean = total / count
    variance = (squares / count - mean.square()).clamp(min=0)
    head.mean.copy_(mean)
    head.deviation.copy_(variance.sqrt() + 1e-6)


def class_weights(counts: torch.Tensor, balanced: bool) -> torch.Tensor:
    """Weights of the classes, (C,) float32: such that every class that occurs has the same share of the loss, or 1."""
    if not balanced:
        return torch.ones(len(counts))
    occurring = int((counts > 0).sum())
    return torch.where(counts > 0, counts.sum() / (occurring * counts.clamp(min=1)), 0.0).float()


def batch_loss(head: Head, batch: Batch, weights: torch.Tensor, params: Training) -> torch.Tensor:
    """The rows' losses times their classes' weights and their own, a mean over the batch, plus the elastic net.

    A mean over rows (not over weights), so that the average over equal batches is the loss of their union.
    """
    logits = head.windows(batch.windows, batch.present)
    rows = row_losses(logits, batch.labels, params.finetune.loss_q) * weights[batch.labels] * batch.weights
    return rows.mean() + elastic_net(head, params.penalty, params.l1_ratio)


def seed_epoch(seed: int, epoch: int, rank: int) -> torch.Generator:
    """Seeds torch, and gives a generator beside it: what is drawn depends on the epoch, not on how often training was
    resumed."""
    torch.manual_seed(((seed << 20) + epoch << 12) + rank)
    return torch.Generator().manual_seed(torch.initial_seed())


def train_epoch(
    head: Head, stream: Stream, optimizer: torch.optim.Optimizer, weights: torch.Tensor, params: Training, epoch: int
) -> float:
    """One pass over the stream's share; returns its mean loss."""
    head.train()
    seed_epoch(params.seed, epoch, stream.rank)
    total = 0.0
    for batch in stream.epoch(epoch):
        optimizer.zero_grad()
        loss = batch_loss(head, batch, weights, params)
        loss.backward()
        optimizer.step()
        total += float(loss.detach())
    return total / stream.steps


def figures_of(labels: np.ndarray, probabilities: np.ndarray, positive: int | None) -> dict[str, float]:
    """`frame_metrics` of the labelled frames, and the class-balanced log loss that training is judged by.

    labels (N,) class index or UNLABELLED; probabilities (N, C).
    """
    kept = labels != UNLABELLED
    figures = frame_metrics(labels[kept], probabilities[kept], positive)
    return figures | {LOSS: balanced_log_loss(labels[kept], probabilities[kept])}


def loss_of(figures: dict[str, float]) -> float:
    """What a model with these figures of the validation split is judged by, lower being better: the class-balanced log
    loss or, of a detector judged by its boxes, 1 - ap50."""
    return figures[LOSS] if LOSS in figures else 1 - figures["ap50"]


@torch.inference_mode()
def predict(head: Head, samples: Samples) -> np.ndarray:
    """Probabilities, (N, C) float32, of every frame, each asset as one sequence."""
    head.eval()
    parts = [
        head(torch.from_numpy(samples.vectors[samples.rows(asset)])[None])[0].softmax(-1).numpy()
        for asset in range(len(samples.asset_ids))
    ]
    classes = head.frame[-1].out_features
    return np.concatenate(parts) if parts else np.empty((0, classes), np.float32)


@torch.inference_mode()
def predict_batches(head: Head, batches: Iterable[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """(labels (N,) int64, probabilities (N, C) float32) of these windows' frames."""
    head.eval()
    parts = [(batch.labels, head.windows(batch.windows, batch.present).softmax(-1)) for batch in batches]
    return tuple(torch.cat(column).numpy() for column in zip(*parts, strict=True))


def fit(
    params: Training,
    progress: Progress,
    train: Callable[[int], float],
    validate: Callable[[], dict[str, float]] | None,
    on_epoch: Callable[[Progress, bool], None],
    agree: Callable[[float], float] = lambda loss: loss,
) -> Progress:
    """Trains until `params.epochs` or until validation has not improved for `params.patience` epochs.

    `train(epoch)` makes one epoch and gives its mean loss; `validate()` gives `figures_of` the validation frames, or
    those of a detector's boxes: the best epoch has the lowest `loss_of` them. `on_epoch(progress, improved)` is called
    after each epoch (checkpoints, logs); `agree` makes a loss one number on all ranks. Without `validate`, and where
    patience is null, all epochs are trained and the last is the best.
    """
    while progress.epoch < params.epochs and not (validate is not None and progress.stale(params.patience)):
        loss = train(progress.epoch)
        progress.epoch += 1
        figures = {"epoch": progress.epoch, "train_loss": agree(loss)}
        improved, judged = True, float("inf")
        if validate is not None:
            shown = validate()
            judged = agree(loss_of(shown))
            shown |= {LOSS: judged} if LOSS in shown else {}
            figures |= {f"val_{name}": value for name, value in shown.items()}
            improved = params.patience is None or judged < progress.best_loss
        if improved:
            progress.best_epoch, progress.best_loss = progress.epoch, judged
        progress.history.append(figures)
        on_epoch(progress, improved)
    return progress
