"""Losses of classification by row: cross-entropy, and what bears wrong labels."""

import torch
import torch.nn.functional as F


def row_losses(logits: torch.Tensor, labels: torch.Tensor, q: float = 0.0, smoothing: float = 0.0) -> torch.Tensor:
    """Generalised cross-entropy (Zhang and Sabuncu, 2018) of each row, (N,): sum over classes of t * (1 - p^q) / q.

    logits (N, C); labels (N,) class indices. p: the softmax; t: the label, of which the share `smoothing` is spread
    evenly over all classes (Szegedy et al., 2016). With q = 0, its limit, it is cross-entropy, with q = 1 and without
    smoothing 1 - p. A row's gradient is that of cross-entropy times p^q: the larger q, the less is learned from rows
    that contradict all others, the wrongly labelled ones first and then the hard ones.
    """
    if not q:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
    classes = logits.shape[-1]
    wanted = F.one_hot(labels, classes).to(logits.dtype) * (1 - smoothing) + smoothing / classes
    return -(wanted * torch.expm1(q * logits.log_softmax(-1))).sum(-1) / q
