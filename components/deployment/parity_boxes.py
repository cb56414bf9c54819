"""Does a detector's graph find what the trained detector finds? Boxes are compared with their likes, not by rank.

Two runs of one network differ in the last digits. Where that decides between a box and none, they may differ in a box:
at the score from which the detector keeps boxes, and at the last place where it found as many as it may.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from components.core.errors import SightlineError
from components.deployment.parity import answers, gap

SIDES = 1e-3  # of the picture: so far a side may be off
LOOKS = 1e-4  # cosine distance, an angle of 0.8 degrees: so far a box's embedding may be off
SEE = "see which operation is exported inexactly"


class Found(NamedTuple):
    """What a detector finds, as `components.core.bundle.Bundle` says: of B pictures, or without B of one."""

    boxes: np.ndarray  # (B, K, 4)
    scores: np.ndarray  # (B, K)
    classes: np.ndarray  # (B, K)
    probabilities: np.ndarray  # (B, C)
    embeddings: np.ndarray | None = None  # (B, K, D)


def largest_difference(
    graph: Path, finder: torch.nn.Module, pictures: Iterator[np.ndarray], tolerance: float, floor: float
) -> float:
    """The largest absolute difference between ONNX Runtime on `graph` and `finder` in torch, in a probability or in the
    score of a box that both find.

    `floor`: the score from which the detector keeps boxes. Raises SightlineError where only one of them finds a box
    whose score is more than `tolerance` above what decides on its being kept, and where the embeddings of a box that
    both find are more than LOOKS apart.
    """
    largest = 0.0
    for both in answers(graph, finder, pictures):
        exported, trained = (Found(*parts) for parts in both)
        largest = max(largest, gap(exported.probabilities, trained.probabilities))
        for picture in range(len(exported.scores)):
            one, other = (Found(*(part[picture] for part in parts)) for parts in both)
            for ours, others in ((one, other), (other, one)):
                largest = max(largest, _scores_gap(graph, ours, others, tolerance, floor))
    return largest


def _scores_gap(graph: Path, ours: Found, others: Found, tolerance: float, floor: float) -> float:
    """The largest difference in score between boxes of one picture and their likes among the others' boxes."""
    if not all(np.isfinite(part).all() for part in ours if part is not None):
        return float("inf")
    lowest, largest = others.scores.min(), 0.0  # the lowest is 0 where not all places are taken
    for row, (box, score, kind) in enumerate(zip(ours.boxes, ours.scores, ours.classes, strict=True)):
        alike = (others.scores > 0) & (others.classes == kind) & (np.abs(others.boxes - box).max(1) <= SIDES)
        if alike.any():
            like = int(np.where(alike, np.abs(others.scores - score), np.inf).argmin())
            largest = max(largest, float(np.abs(others.scores[like] - score)))
            if score > 0 and ours.embeddings is not None:
                _check_looks(graph, box, ours.embeddings[row], others.embeddings[like])
        elif score > max(lowest, floor) + tolerance:
            raise SightlineError(
                f"{graph}: of ONNX Runtime and the trained detector only one finds a box of class {kind} and score "
                f"{score:.3f} at {_place(box)}",
                SEE,
            )
    return largest


def _check_looks(graph: Path, box: np.ndarray, ours: np.ndarray, others: np.ndarray) -> None:
    ours, others = ours.astype(np.float64), others.astype(np.float64)
    lengths = np.linalg.norm(ours) * np.linalg.norm(others)
    apart = 1 - float(ours @ others) / lengths if lengths else 1.0  # without a length it looks like nothing
    if apart > LOOKS:
        raise SightlineError(
            f"{graph}: the embeddings that ONNX Runtime and the trained detector give of the box at {_place(box)} are "
            f"{apart:.1e} apart by the cosine, more than {LOOKS:.0e}",
            SEE,
        )


def _place(box: np.ndarray) -> str:
    left, top, right, bottom = box
    return f"left {left:.3f}, top {top:.3f}, right {right:.3f}, bottom {bottom:.3f}"
