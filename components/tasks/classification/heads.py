"""Heads: from feature vectors to class logits, per frame or over neighbouring frames."""

import torch
import torch.nn.functional as F
from torch import nn

CLIP = 5.0  # standard deviations: one odd feature must not decide a frame


class Head(nn.Module):
    """(B, T, D) float32 -> (B, T, C) logits.

    Standardises by the training set's mean and deviation first, but for the kind `linear`, which takes vectors as they
    are: the form of what Spark MLlib fits and of what is trained together with its backbone.
    `reach`: frames before and after that a frame's logits take into account (0: each frame alone). The temporal
    head weights its neighbours' logits by a learned kernel, normalised over the frames that exist, so that clips'
    ends, short clips and single pictures need no padding.
    """

    def __init__(self, kind: str, dimension: int, classes: int, hidden: int, reach: int, dropout: float):
        super().__init__()
        self.kind, self.reach = kind, reach if kind == "temporal" else 0
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("deviation", torch.ones(dimension))
        if kind == "mlp":
            self.frame = nn.Sequential(
                nn.Linear(dimension, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, classes)
            )
        else:
            self.frame = nn.Sequential(nn.Dropout(dropout), nn.Linear(dimension, classes))
            nn.init.zeros_(self.frame[1].weight)
            nn.init.zeros_(self.frame[1].bias)
        if self.reach:
            self.kernel = nn.Parameter(torch.zeros(2 * self.reach + 1))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        logits = self.frame(self.standardised(vectors))
        if not self.reach:
            return logits
        weights = self.kernel.softmax(0)[None, None]
        batch, time, classes = logits.shape
        flat = logits.transpose(1, 2).reshape(batch * classes, 1, time)
        total = F.conv1d(flat, weights, padding=self.reach)
        share = F.conv1d(torch.ones_like(flat), weights, padding=self.reach)
        return (total / share).reshape(batch, classes, time).transpose(1, 2)

    def windows(self, vectors: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        """Logits, (N, C), of the middle frame of each window (N, 2 * reach + 1, D); `present` (N, 2 * reach + 1) is
        False where the window reaches over the clip's end. Equal to `forward` on the whole clip at that frame."""
        logits = self.frame(self.standardised(vectors))
        if not self.reach:
            return logits[:, 0]
        weights = self.kernel.softmax(0)[None] * present
        return (logits * (weights / weights.sum(1, keepdim=True))[..., None]).sum(1)

    def standardised(self, vectors: torch.Tensor) -> torch.Tensor:
        """Vectors in standard deviations of the training set, clipped; for the kind `linear` as they are."""
        if self.kind == "linear":
            return vectors
        return ((vectors - self.mean) / self.deviation).clamp(-CLIP, CLIP)

    def weights(self) -> list[torch.Tensor]:
        """The matrices that the elastic net penalises: no biases, no temporal kernel."""
        return [layer.weight for layer in self.frame if isinstance(layer, nn.Linear)]


def elastic_net(head: Head, penalty: float, l1_ratio: float) -> torch.Tensor:
    """penalty * (l1_ratio * |w| + (1 - l1_ratio) / 2 * w²), summed (Zou and Hastie, 2005; as in Spark ML)."""
    terms = [l1_ratio * w.abs().sum() + (1 - l1_ratio) / 2 * w.square().sum() for w in head.weights()]
    return penalty * torch.stack(terms).sum()
