"""Self-training: what the detector does not find goes, what it is sure of comes, negatives stay."""

import numpy as np

from components.tasks.detection.boxes import Detections
from components.tasks.detection.samples import NOTHING, Boxes
from components.tasks.detection.selftrain import corrected

HERE, THERE = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)


def taught(*boxes: tuple, kind: int = 1, weight: float = 0.5) -> Boxes:
    return Boxes(
        np.array(boxes, np.float32), np.full(len(boxes), kind, np.int64), np.full(len(boxes), weight, np.float32)
    )


def seen(*boxes: tuple, kind: int = 1) -> Detections:
    """One picture's detections, (left, top, right, bottom, score) each, filled up with one place more."""
    rows = np.array([*boxes, (0, 0, 0, 0, 0)], np.float32)
    classes = np.where(rows[:, 4] > 0, kind, 0)
    return Detections(rows[None, :, :4], rows[None, :, 4], classes[None], np.zeros((1, 2), np.float32))


def test_a_confirmed_box_stays_as_it_was():
    (boxes,) = corrected([taught(HERE)], seen((*HERE, 0.3)))
    assert len(boxes) == 1 and boxes.weights.tolist() == [0.5]
    assert np.array_equal(boxes.boxes, np.array([HERE], np.float32))


def test_a_picture_whose_boxes_nothing_confirms_is_unlabelled_not_negative():
    assert corrected([taught(HERE)], seen()) == [None]
    assert corrected([taught(HERE)], seen((*HERE, 0.1))) == [None]
    assert corrected([taught(HERE)], seen((*HERE, 0.6), kind=2)) == [None]


def test_beside_a_confirmed_box_an_unconfirmed_one_becomes_no_mans_land():
    (boxes,) = corrected([taught(HERE, THERE)], seen((*HERE, 0.3)))
    assert boxes.weights.tolist() == [0.5, 0.0]


def test_what_the_detector_is_sure_of_is_added_with_its_score():
    (boxes,) = corrected([taught(HERE)], seen((*THERE, 0.75), (*HERE, 0.7)))
    assert boxes.weights.tolist() == [0.5, 0.75] and boxes.classes.tolist() == [1, 1]
    assert np.allclose(boxes.boxes[1], THERE)
    (unsure,) = corrected([taught(HERE)], seen((*HERE, 0.7), (*THERE, 0.6)))
    assert len(unsure) == 1


def test_a_picture_known_to_be_empty_stays_so_and_an_unlabelled_one_may_gain_boxes():
    assert corrected([NOTHING], seen((*HERE, 0.99))) == [NOTHING]
    assert corrected([None], seen((*HERE, 0.5))) == [None]
    (boxes,) = corrected([None], seen((*HERE, 0.9)))
    assert boxes.weights.tolist() == [np.float32(0.9)]
