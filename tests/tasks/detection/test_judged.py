"""What a detector in training is judged by: boxes where people drew them or frames tell nothing, else frames."""

import numpy as np
import pyarrow as pa
import pytest

from components.core import tables
from components.core.errors import SightlineError
from components.core.recipe import parse_recipe
from components.tasks.detection.judged import box_figures, box_threshold, by_boxes
from components.tasks.detection.samples import NOTHING, Boxes, BoxSource
from tests.tasks.detection.test_detection_metrics import found, truth

HERE, THERE = (0.1, 0.1, 0.4, 0.4), (0.6, 0.6, 0.9, 0.9)


def source(*drawn_by: str, positive: str | None = "animal", weights: tuple = ()) -> BoxSource:
    """A validation split with a box by each of these."""
    task = {"kind": "detection", "classes": ["nothing", "animal", "plant"][: 2 if positive == "animal" else 3]}
    body = {"task": task | {"positive": positive}, "source": "x", "features": {"parts": ["mean"]}}
    recipe = parse_recipe("r", body | {"training": {"head": "detector", "lr": 0.1, "penalty": 0.0}})
    row = {"asset_id": "a", "first_pts": 0, "last_pts": 0, "class": "animal", "x": 0.0, "y": 0.0, "w": 1.0, "h": 1.0}
    rows = [row | {"source": who, "weight": 1.0} for who in drawn_by]
    for one, weight in zip(rows, weights, strict=False):
        one["weight"] = weight
    return BoxSource((), frozenset("a"), pa.Table.from_pylist(rows, schema=tables.ANNOTATIONS), recipe)


def one(kind: int = 1, weight: float = 1.0) -> Boxes:
    return Boxes(np.array([HERE], np.float32), np.array([kind]), np.array([weight], np.float32))


ALL, MIXED = [one(), one()], [one(), NOTHING]


@pytest.mark.parametrize(
    ("drawn_by", "shown", "boxes"),
    [
        (("lime", "lime"), MIXED, False),
        (("lime", "human"), MIXED, False),
        (("human", "review"), MIXED, True),
        (("human", "human"), ALL, True),
        (("lime", "lime"), ALL, True),
        (("lime",), [one(), one(weight=0.0)], True),
        (("lime",), [NOTHING, NOTHING], True),
    ],
    ids=["lime, both sides", "some by people", "by people", "all show something", "by lime, all show something",
         "what is ignored is no side", "nothing shown at all"],
)  # fmt: skip
def test_frames_only_where_they_tell_and_nobody_drew_all_boxes(drawn_by, shown, boxes):
    assert by_boxes(source(*drawn_by), shown) is boxes


def test_a_box_that_does_not_count_was_drawn_by_nobody():
    assert by_boxes(source("human", "lime", weights=(1.0, 0.0)), MIXED)


def test_without_a_positive_class_background_is_one_side_and_any_class_the_other():
    taught = source("lime", positive=None)
    assert not by_boxes(taught, [one(), NOTHING]) and by_boxes(taught, [one(1), one(2)])
    assert by_boxes(source("lime", positive="plant"), [one(1), NOTHING]), "no frame shows the positive class"


def test_figures_and_threshold_leave_out_what_is_to_be_ignored():
    """A box of weight 0 is no miss, and what is found in its place no mistake; a picture with nothing else is out."""
    both = Boxes(np.array([HERE, THERE], np.float32), np.array([1, 1]), np.array([1, 0], np.float32))
    shown = [both, one(weight=0.0), truth((*HERE, 1))]
    detections = found(
        [(*HERE, 1, 0.9), (*THERE, 1, 0.8)], [(*THERE, 1, 0.95), (*HERE, 1, 0.7)], [(*HERE, 1, 0.6), (*THERE, 1, 0.3)]
    )
    before = detections.scores.copy()
    figures = box_figures(shown, detections, 2)
    assert figures == {"ap50": 1.0, "ap": pytest.approx(1.0), "corloc": 1.0, "mean_iou": 1.0, "recall50": 1.0}
    assert box_threshold(shown, detections, 2) == pytest.approx((0.6 + 0.3) / 2)
    assert np.array_equal(detections.scores, before), "what was found stays as it was"


def test_a_split_without_a_box_is_refused_with_the_remedy():
    with pytest.raises(SightlineError, match="ingest.split"):
        box_figures([NOTHING], found([]), 2)
