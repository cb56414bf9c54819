"""What belongs together: costs between N tracks and M detections, and the assignment of least cost."""

from collections.abc import Callable

import numpy as np

from components.tracks.kalman import GATE

Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # as scipy.optimize.linear_sum_assignment

APPEARANCE_WEIGHT = 0.98  # lambda of JDE and FairMOT; the rest is motion's


def iou_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """1 - IoU, (N, M) float64, of boxes (N, 4) and (M, 4) left, top, right, bottom. Boxes without area are at 1."""
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    upper = np.maximum(first[:, None, :2], second[None, :, :2])
    lower = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.maximum(lower - upper, 0).prod(axis=2)
    union = _areas(first)[:, None] + _areas(second)[None] - shared
    return 1 - np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Embeddings (N, D) scaled to length 1, float64. Those of length 0 stay."""
    embeddings = np.asarray(embeddings, np.float64)
    lengths = np.sqrt(np.square(embeddings).sum(axis=1, keepdims=True))
    return np.divide(embeddings, lengths, out=np.zeros_like(embeddings), where=lengths > 0)


def embedding_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine distances, (N, M) float64 in 0..2, of `unit` embeddings (N, D) and (M, D); one of length 0 is at 1."""
    return np.maximum(1 - first @ second.T, 0)


def fuse_motion(cost: np.ndarray, gating: np.ndarray, weight: float = APPEARANCE_WEIGHT) -> np.ndarray:
    """weight * cost + (1 - weight) * gating, (N, M), and inf where the squared Mahalanobis distance exceeds GATE."""
    return np.where(gating > GATE, np.inf, weight * cost + (1 - weight) * gating)


def assign(cost: np.ndarray, most: float, solve: Solve | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pairs (K, 2) of row and column by row, rows without a partner, columns without a partner), all int64.

    Only pairs that cost less than `most`, which is finite, are made; inf in `cost` forbids a pair. Of all sets of such
    pairs the one of least cost is taken, where whatever stays alone costs `most`. The same input gives the same pairs.
    `solve`: what finds it, SciPy's unless another one is given.
    """
    count, width = cost.shape
    if count == 0 or width == 0:
        return np.zeros((0, 2), np.int64), np.arange(count), np.arange(width)
    if solve is None:
        from scipy.optimize import linear_sum_assignment as solve  # not before: devices are without
    rows, columns = solve(np.minimum(cost, most))
    near = cost[rows, columns] < most
    pairs = np.array((rows[near], columns[near])).T
    lone_rows, lone_columns = np.ones(count, bool), np.ones(width, bool)
    lone_rows[pairs[:, 0]] = lone_columns[pairs[:, 1]] = False
    return pairs, lone_rows.nonzero()[0], lone_columns.nonzero()[0]


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
