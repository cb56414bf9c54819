"""Boxes cleaned by the detector that was trained on them: what it does not find goes, what it is sure of comes.

A round of self-training (H. J. Scudder, 1965; for detectors K. Sohn et al., "A simple semi-supervised learning
framework for object detection", 2020): a network that learns slowly from many noisy boxes does not learn the odd ones,
so where it contradicts its teacher the teacher is often wrong.
"""

import numpy as np

from components.tasks.detection.boxes import Detections
from components.tasks.detection.metrics import iou_matrix
from components.tasks.detection.samples import NOBODY, NOTHING, Boxes

AGREE = 0.2  # a detection's score from which on it confirms a box


def corrected(
    taught: list[Boxes | None], found: Detections, iou: float = 0.5, agree: float = AGREE, sure: float = 0.7
) -> list[Boxes | None]:
    """What to teach next: for each picture the boxes it was taught by, corrected by those found in it (numpy).

    A taught box stays where a detection of its class with a score of at least `agree` overlaps it by `iou` or more.
    One that nothing confirms gets weight 0, which makes its place neither object nor background; a picture in which
    nothing is left is unlabelled (None), not a negative. Detections with a score of at least `sure` that overlap no
    taught box of their class by `iou` are added with their score as weight. A picture taught as background stays so: it
    was not drawn, but known. An unlabelled one (None) becomes labelled where there are sure detections in it.
    """
    return [
        _corrected(boxes, found.boxes[row], found.scores[row], found.classes[row], iou, agree, sure)
        for row, boxes in enumerate(taught)
    ]


def _corrected(
    taught: Boxes | None,
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    iou: float,
    agree: float,
    sure: float,
) -> Boxes | None:
    if taught is not None and not len(taught):
        return taught
    if taught is None:
        taught = NOTHING
    meet = (iou_matrix(taught.boxes, boxes) >= iou) & (taught.classes[:, None] == classes)
    confirmed = (meet & (scores >= agree)).any(1)
    new = (scores >= sure) & (scores > 0) & ~meet.any(0)
    if not confirmed.any() and not new.any():
        return None
    return Boxes(
        np.concatenate([taught.boxes, boxes[new]]).astype(np.float32),
        np.concatenate([taught.classes, classes[new]]),
        np.concatenate([np.where(confirmed, taught.weights, 0), scores[new]]).astype(np.float32),
        np.concatenate([taught.identities, np.full(new.sum(), NOBODY)]),
    )
