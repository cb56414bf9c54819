"""Does a detector's graph find what the trained detector finds? Boxes are compared with their likes, not by rank.

Two runs of one network differ in the last digits. Where that decides between a box and none, they may differ in a box:
at the score from which the detector keeps boxes, and at the last place where it found as many as it may.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from components.core.errors import SightlineError
from components.deployment.parity import answers, gap
from components.tasks.detection.boxes import Detections

SIDES = 1e-3  # of the picture: so far a side may be off


def largest_difference(
    graph: Path, finder: torch.nn.Module, pictures: Iterator[np.ndarray], tolerance: float, floor: float
) -> float:
    """The largest absolute difference between ONNX Runtime on `graph` and `finder` in torch, in a probability or in the
    score of a box that both find.

    `floor`: the score from which the detector keeps boxes. Raises SightlineError where only one of them finds a box
    whose score is more than `tolerance` above what decides on its being kept.
    """
    largest = 0.0
    for both in answers(graph, finder, pictures):
        exported, trained = (Detections(*parts) for parts in both)
        largest = max(largest, gap(exported.probabilities, trained.probabilities))
        for picture in range(len(exported.scores)):
            one, other = (Detections(*(part[picture] for part in found)) for found in (exported, trained))
            for ours, others in ((one, other), (other, one)):
                largest = max(largest, _scores_gap(graph, ours, others, tolerance, floor))
    return largest


def _scores_gap(graph: Path, ours: Detections, others: Detections, tolerance: float, floor: float) -> float:
    """The largest difference in score between boxes of one picture and their likes among the others' boxes."""
    if not all(np.isfinite(part).all() for part in ours):
        return float("inf")
    lowest, largest = others.scores.min(), 0.0  # the lowest is 0 where not all places are taken
    for box, score, kind in zip(ours.boxes, ours.scores, ours.classes, strict=True):
        alike = (others.scores > 0) & (others.classes == kind) & (np.abs(others.boxes - box).max(1) <= SIDES)
        if alike.any():
            largest = max(largest, float(np.abs(others.scores[alike] - score).min()))
        elif score > max(lowest, floor) + tolerance:
            left, top, right, bottom = box
            raise SightlineError(
                f"{graph}: of ONNX Runtime and the trained detector only one finds a box of class {kind} and score "
                f"{score:.3f} at left {left:.3f}, top {top:.3f}, right {right:.3f}, bottom {bottom:.3f}",
                "see which operation is exported inexactly",
            )
    return largest
