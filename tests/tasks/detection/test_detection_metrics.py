"""Metrics of detection: worked examples, and equality with pycocotools on any boxes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask

from components.core.errors import SightlineError
from components.tasks.detection.boxes import Detections
from components.tasks.detection.metrics import (
    box_metrics,
    coco_precision,
    iou_matrix,
    matches,
    recall,
    top_overlaps,
)
from components.tasks.detection.samples import NOTHING, Boxes

CLASSES = 3


def truth(*boxes: tuple) -> Boxes:
    """True boxes of (left, top, right, bottom, class)."""
    rows = np.array(boxes, np.float32).reshape(-1, 5)
    return Boxes(rows[:, :4], rows[:, 4].astype(np.int64), np.ones(len(rows), np.float32))


def found(*pictures: list[tuple], most: int = 6) -> Detections:
    """What is found: of each picture rows (left, top, right, bottom, class, score)."""
    boxes, scores = np.zeros((len(pictures), most, 4), np.float32), np.zeros((len(pictures), most), np.float32)
    classes = np.zeros((len(pictures), most), np.int64)
    for row, entries in enumerate(pictures):
        for at, entry in enumerate(sorted(entries, key=lambda entry: -entry[5])):
            boxes[row, at], classes[row, at], scores[row, at] = entry[:4], entry[4], entry[5]
    return Detections(boxes, scores, classes, np.zeros((len(pictures), CLASSES), np.float32))


side = st.integers(0, 12)
corner = st.tuples(side, side, side, side).map(lambda s: (s[0], s[1], s[0] + s[2], s[1] + s[3]))
box = corner.map(lambda sides: tuple(value / 24 for value in sides))
kind, score = st.integers(1, CLASSES - 1), st.integers(1, 9).map(lambda tenth: tenth / 10)
true_boxes = st.lists(st.tuples(box, kind).map(lambda b: (*b[0], b[1])), max_size=4)
found_boxes = st.lists(st.tuples(box, kind, score).map(lambda b: (*b[0], b[1], b[2])), max_size=6)
pictures = st.lists(st.tuples(true_boxes, found_boxes), min_size=1, max_size=6)


def rows(boxes: list[tuple]) -> np.ndarray:
    return np.array(boxes, np.float32).reshape(-1, 4)


@settings(max_examples=200, deadline=None)
@given(st.lists(box, min_size=1, max_size=5), st.lists(box, min_size=1, max_size=5))
def test_overlap_is_cocos_to_the_last_bit(ours, others):
    wide = [rows(boxes).astype(np.float64) for boxes in (ours, others)]
    sized = [np.concatenate([w[:, :2], w[:, 2:] - w[:, :2]], 1) for w in wide]
    theirs = mask.iou(*sized, [0] * len(others))
    mine = iou_matrix(rows(ours), rows(others))
    assert np.array_equal(mine, np.nan_to_num(theirs))


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_fast_precision_is_cocos(drawn):
    truths, detections = [truth(*true) for true, _ in drawn], found(*(claims for _, claims in drawn))
    theirs = coco_precision(truths, detections, CLASSES)["ap50"]
    assert matches(truths, detections, CLASSES).precision() == pytest.approx(theirs, abs=1e-12, nan_ok=True)


@settings(max_examples=100, deadline=None)
@given(pictures, st.data())
def test_drawing_pictures_again_is_repeating_them(drawn, data):
    """A bootstrap's weights give what COCO gives of the pictures written out as often as they were drawn.

    Scores may be equal between pictures, but not within one.
    """
    drawn = [(true, [(*at[:5], at[5] - row / 1000) for row, at in enumerate(claims)]) for true, claims in drawn]
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(drawn), max_size=len(drawn))))
    truths, detections = [truth(*true) for true, _ in drawn], found(*(claims for _, claims in drawn))
    again = np.repeat(np.arange(len(drawn)), times)
    repeated = Detections(*(part[again] for part in detections))
    theirs = coco_precision([truths[row] for row in again], repeated, CLASSES)["ap50"]
    assert matches(truths, detections, CLASSES).precision(times) == pytest.approx(theirs, abs=1e-12, nan_ok=True)


def test_a_box_of_two_hundred_counts_among_the_first_hundred_only():
    claims = [(0.0, 0.0, 0.1, 0.1, 1, 0.9 - at / 1000) for at in range(199)] + [(0.5, 0.5, 1.0, 1.0, 1, 0.1)]
    truths, detections = [truth((0.5, 0.5, 1, 1, 1))], found(claims, most=200)
    assert matches(truths, detections, CLASSES).precision() == coco_precision(truths, detections, CLASSES)["ap50"] == 0


def test_figures_of_a_worked_example():
    """Four pictures: one found exactly, one by its second box only, one missed, one empty with a false box."""
    truths = [
        truth((0.1, 0.1, 0.5, 0.5, 1)),
        truth((0.5, 0.5, 0.9, 0.9, 1), (0.0, 0.0, 0.2, 0.2, 1)),
        truth((0.2, 0.2, 0.4, 0.4, 1)),
        NOTHING,
    ]
    detections = found(
        [(0.1, 0.1, 0.5, 0.5, 1, 0.9)],
        [(0.3, 0.3, 0.5, 0.5, 1, 0.8), (0.5, 0.5, 0.9, 0.9, 1, 0.7)],
        [],
        [(0.0, 0.0, 1.0, 1.0, 1, 0.6)],
    )
    figures = box_metrics(truths, detections, 2)
    assert figures["corloc"] == pytest.approx(1 / 3) and figures["mean_iou"] == pytest.approx(1 / 3)
    assert figures["recall50"] == 0.5
    # right, wrong, right, wrong of four true boxes: precision 1 to a recall of 1/4, 2/3 to 1/2
    assert figures["ap50"] == pytest.approx((26 * 1 + 25 * 2 / 3) / 101)
    assert figures["ap"] == pytest.approx(figures["ap50"])  # what is right is exact
    assert top_overlaps(truths, detections).tolist() == pytest.approx([1, 0, 0, 0])
    assert recall(truths, detections, 0.01) == 0.5


def f1(true: int, right: int, every: int) -> float:
    return 2 * right / (true + every)


@settings(max_examples=150, deadline=None)
@given(pictures)
def test_the_best_threshold_is_the_best_and_the_curve_holds_every_other(drawn):
    truths, detections = [truth(*true) for true, _ in drawn], found(*(claims for _, claims in drawn))
    right, total = matches(truths, detections, CLASSES), sum(map(len, truths))
    tried = [right.called(threshold)["box_f1"] for threshold in np.arange(0.05, 1.05, 0.05)]
    chosen = right.best_threshold()
    assert right.called(chosen)["box_f1"] == max(tried, default=0.0)
    assert 0 < chosen < 1 and (max(tried) > 0 or chosen == 0.5)
    rows = right.curve()
    assert rows[-1] == (0.0, 1.0, float("inf"))
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    for recall_there, precision, threshold in rows[:-1]:
        figures = right.called(threshold)
        assert (figures["box_recall"], figures["box_precision"]) == pytest.approx((recall_there, precision))
        kept = int((right.score >= threshold).sum())
        assert figures["box_f1"] == pytest.approx(f1(total, round(precision * kept), kept))


def test_the_threshold_of_a_worked_example():
    """Right, wrong, right, wrong of three true boxes: best is to call three, from between the last two scores on."""
    truths = [truth((0.1, 0.1, 0.5, 0.5, 1)), truth((0.1, 0.1, 0.5, 0.5, 2)), truth((0.6, 0.6, 0.9, 0.9, 1))]
    detections = found(
        [(0.1, 0.1, 0.5, 0.5, 1, 0.9), (0.6, 0.6, 0.9, 0.9, 1, 0.5)],
        [(0.1, 0.1, 0.5, 0.5, 1, 0.8), (0.1, 0.1, 0.5, 0.5, 2, 0.75)],
        [],
    )
    right = matches(truths, detections, CLASSES)
    assert right.best_threshold() == pytest.approx((0.75 + 0.5) / 2)
    assert right.called(0.6) == pytest.approx({"box_precision": 2 / 3, "box_recall": 2 / 3, "box_f1": 2 / 3})
    assert right.called(0.95) == {"box_precision": 0.0, "box_recall": 0.0, "box_f1": 0.0}


def test_where_no_box_is_right_any_threshold_is_as_good():
    assert matches([truth((0, 0, 1, 1, 1))], found([]), CLASSES).best_threshold() == 0.5
    assert matches([NOTHING], found([(0, 0, 1, 1, 1, 0.9)]), CLASSES).best_threshold() == 0.5
    assert matches([truth((0, 0, 1, 1, 1))], found([]), CLASSES).curve() == [(0.0, 1.0, float("inf"))]


def test_without_a_true_box_there_is_no_figure():
    with pytest.raises(SightlineError, match="none of 2 pictures has a true box"):
        box_metrics([NOTHING, NOTHING], found([], [(0, 0, 1, 1, 1, 0.5)]), 2)
    assert np.isnan(recall([NOTHING], found([])))


def test_coco_is_silent(capsys):
    coco_precision([truth((0, 0, 1, 1, 1))], found([(0, 0, 1, 1, 1, 0.5)]), 2)
    assert capsys.readouterr().out == ""
