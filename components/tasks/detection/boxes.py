"""Boxes as tensors, (left, top, right, bottom): overlap, suppression in a graph of fixed shapes, a frame as a whole."""

from typing import NamedTuple

import torch
import torch.nn.functional as F

EPSILON = 1e-9
CHAIN = 48  # steps of suppression at most: far more than a chain of boxes is long


class Detections(NamedTuple):
    """What a detector finds in B pictures, at most K boxes in each, best first; the rest is filled up with zeros.

    boxes (B, K, 4) float32 in units of the picture, 0..1; scores (B, K) float32, 0 where there is no box; classes
    (B, K) int64, 1..C-1; probabilities (B, C) float32 of the frame as a whole, class 0 the background. Networks give
    tensors; what looks at them afterwards (metrics, self-training) takes the same as numpy arrays.
    """

    boxes: torch.Tensor
    scores: torch.Tensor
    classes: torch.Tensor
    probabilities: torch.Tensor


def overlaps(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Intersection over union, (..., N, M), of boxes (..., N, 4) and (..., M, 4); 0 where neither has an area."""
    shared = _areas(_common(boxes[..., :, None, :], others[..., None, :, :]))
    return shared / (_areas(boxes)[..., :, None] + _areas(others)[..., None, :] - shared).clamp(min=EPSILON)


def giou_loss(found: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """1 - generalised intersection over union, (N,) in 0..2, of pairs of boxes (N, 4) (Rezatofighi et al., 2019)."""
    shared = _areas(_common(found, truth))
    union = (_areas(found) + _areas(truth) - shared).clamp(min=EPSILON)
    low, high = torch.minimum(found[:, :2], truth[:, :2]), torch.maximum(found[:, 2:], truth[:, 2:])
    hull = (high - low).prod(1).clamp(min=EPSILON)
    return 1 - shared / union + (hull - union) / hull


def survivors(boxes: torch.Tensor, alike: torch.Tensor | None, threshold: float, steps: int) -> torch.Tensor:
    """Which boxes (B, M, 4), best first, non-maximum suppression keeps: (B, M) bool. Shapes are those of the input.

    A box goes where its overlap with a better one that stays is above `threshold` and `alike` (B, M, M) says that the
    two compete (None: all do). Every step settles one more link of every chain of boxes that suppress one another
    (cluster NMS: Zheng et al., 2021): with M steps this is the greedy algorithm, and chains are short, so with far
    fewer it nearly always is.
    """
    above = overlaps(boxes, boxes) > threshold
    if alike is not None:
        above = above & alike
    above = above.float() * torch.ones(above.shape[-2:], device=boxes.device).triu(1)
    kept = torch.ones_like(boxes[:, None, :, 0])
    for _ in range(steps):
        kept = (kept @ above < 0.5).float()
    return kept[:, 0] > 0.5


def settled(
    boxes: torch.Tensor, scores: torch.Tensor, classes: torch.Tensor, most: int, floor: float, threshold: float,
    *carried: torch.Tensor,
) -> tuple[torch.Tensor, ...]:  # fmt: skip
    """Of candidates (B, M, 4), (B, M), (B, M), best first: the `most` best that suppression within a class and the
    floor leave, as boxes, scores and classes of `Detections`, then what is `carried` along, each (B, M, D), zeros
    where there is no box."""
    boxes = boxes.clamp(0, 1)
    kept = survivors(boxes, classes[:, :, None] == classes[:, None, :], threshold, min(int(boxes.shape[1]), CHAIN))
    scores = scores * (kept & (scores >= floor) & (_areas(boxes) > 0)).float()
    scores, order = scores.topk(min(most, int(scores.shape[1])), 1)
    there = scores > 0
    boxes, *carried = (
        rows.gather(1, order[..., None].expand(-1, -1, int(rows.shape[2]))) * there[..., None].float()
        for rows in (boxes, *carried)
    )
    classes = classes.gather(1, order) * there.long()
    missing = most - int(scores.shape[1])
    if missing:  # a picture with fewer places than boxes asked for
        boxes, *carried = (F.pad(rows, (0, 0, 0, missing)) for rows in (boxes, *carried))
        scores, classes = F.pad(scores, (0, missing)), F.pad(classes, (0, missing))
    return boxes, scores, classes, *carried


def frame_probabilities(best: torch.Tensor) -> torch.Tensor:
    """Probabilities (B, C) of the frames from the best score of each class but the background, (B, C-1).

    The background's is that no class is there, the product of 1 - score; rows are then divided by their sum.
    """
    rows = torch.cat([(1 - best).clamp(min=EPSILON).log().sum(1, keepdim=True).exp(), best], 1)
    return rows / rows.sum(1, keepdim=True)


def _common(boxes: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    low, high = torch.maximum(boxes[..., :2], others[..., :2]), torch.minimum(boxes[..., 2:], others[..., 2:])
    return torch.cat([low, high], -1)


def _areas(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)
