"""How a detector in training is judged on the validation split: by the boxes that it finds, or by frames as a whole.

Frames tell a good detector from a bad one where some are known to show background, but of a set that mostly shows
something they tell little: what is drawn are boxes, so boxes it is wherever people drew them. Those that a classifier
was asked for are rough, and what is known of the frames says more.
"""

import numpy as np
import pyarrow.compute as pc

from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.metrics import defined
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import counted
from components.tasks.detection.metrics import box_metrics, matches
from components.tasks.detection.samples import BACKGROUND, PEOPLE, Boxes, BoxSource, frame_class


def by_boxes(source: BoxSource, shown: list[Boxes]) -> bool:
    """Whether boxes are judged by: where people drew all of the source's that count, and where frames cannot tell, none
    of them showing background or all being of one side. `shown`: what the source's frames show."""
    labels = np.array([frame_class(truth) for truth in shown], np.int64)
    labels = labels[labels != UNLABELLED]
    tell = bool((labels == BACKGROUND).any()) and defined(labels, source.recipe.task.positive_index)
    return not tell or _by_people(source)


def _by_people(source: BoxSource) -> bool:
    boxes = source.annotations
    boxes = boxes.filter(pc.and_(pc.is_valid(boxes["x"]), pc.greater(boxes["weight"], 0)))
    return set(boxes["source"].to_pylist()) <= set(PEOPLE)


def box_figures(shown: list[Boxes], found: Detections, classes: int) -> dict[str, float]:
    """`box_metrics` of these pictures; boxes of weight 0 count neither way. Raises SightlineError without a true box.

    `found` in numpy; `classes` counts the background.
    """
    return box_metrics(*_known(shown, found), classes)


def box_threshold(shown: list[Boxes], found: Detections, classes: int) -> float:
    """The score from which on calling boxes gives the highest F1 of boxes at IoU .5, all classes together."""
    return matches(*_known(shown, found), classes).best_threshold()


def _known(shown: list[Boxes], found: Detections) -> tuple[list[Boxes], Detections]:
    own = Detections(*(part.copy() for part in found))
    truths = counted(list(shown), own)
    rows = [row for row, truth in enumerate(truths) if truth is not None]
    return [truths[row] for row in rows], Detections(*(part[rows] for part in own))
