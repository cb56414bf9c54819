"""From what is found frame by frame to tracks: sequences in order, identities kept, and what is compared with what."""

from types import SimpleNamespace

import numpy as np
import pytest

from components.core.recipe import Tracker
from components.tasks.detection.boxes import Detections
from components.tasks.detection.samples import NOBODY, Boxes
from components.tasks.detection.tracking.follow import Sequential, follow, measurable, sequentials
from components.tasks.detection.tracking.metrics import tracking_metrics

SIZE = (200, 100)  # width, height
PARAMS = Tracker(min_hits=1)


def walkers(frames: int, count: int = 2, places: int = 4) -> tuple[Detections, list[Boxes]]:
    """(what is found, what is there): `count` boxes that walk apart, in changing order and with empty places behind."""
    boxes = np.zeros((frames, places, 4), np.float32)
    scores, classes = np.zeros((frames, places), np.float32), np.zeros((frames, places), np.int64)
    truths = []
    for frame in range(frames):
        left = np.arange(count) * 0.4 + 0.005 * frame
        whole = np.stack([left, np.full(count, 0.2), left + 0.1, np.full(count, 0.8)], 1).astype(np.float32)
        order = np.random.default_rng(frame).permutation(count)
        boxes[frame, :count], scores[frame, :count], classes[frame, :count] = whole[order], 0.9, 1
        truths.append(Boxes(whole, np.ones(count, np.int64), np.ones(count, np.float32), np.arange(count) + 70))
    return Detections(boxes, scores, classes, np.zeros((frames, 2), np.float32)), truths


def test_everybody_keeps_an_identity_and_boxes_are_the_detections_own():
    found, truths = walkers(12)
    one = Sequential("clip", np.arange(12), np.arange(12) * 512, SIZE)
    tracks = follow(found, one, PARAMS)
    assert [len(shown) for shown in tracks] == [2] * 12
    for shown, truth in zip(tracks, truths, strict=True):
        assert shown.identities.tolist() == [1, 2]
        assert np.array_equal(np.sort(shown.boxes, 0), truth.boxes) and (shown.weights == np.float32(0.9)).all()
    figures = tracking_metrics(measurable("clip", truths, tracks, ("nothing", "person")))
    assert figures["hota"] == figures["mota"] == figures["idf1"] == pytest.approx(1)


def test_time_is_that_of_the_frames_and_not_their_number():
    """Of twelve frames every other one is missing at the end: who walks on is still known, by the time that passed."""
    found, _ = walkers(24)
    rows = np.array([*range(12), *range(13, 24, 2)])
    tracks = follow(found, Sequential("clip", rows, rows * 40, SIZE), PARAMS)
    assert {tuple(shown.identities.tolist()) for shown in tracks} == {(1, 2)}


def test_what_has_no_area_is_no_detection_and_a_frame_may_be_empty():
    found, _ = walkers(3, places=3)
    found.boxes[1, 0, 2] = found.boxes[1, 0, 0]
    found.scores[2] = 0
    tracks = follow(found, Sequential("clip", np.arange(3), np.arange(3), SIZE), PARAMS)
    assert [len(shown) for shown in tracks] == [2, 1, 0]


def test_a_video_is_a_sequence_and_so_are_the_pictures_of_a_folder():
    samples = SimpleNamespace(
        asset_ids=["a", "b", "c", "d"], starts=np.array([0, 3, 4, 5, 6]), pts=np.array([0, 5, 10, 0, 0, 0])
    )
    kinds = {"a": ("cam/x.mp4", "video"), "b": ("s/img1/2.jpg", "picture"), "c": ("s/img1/1.jpg", "picture")}
    kinds["d"] = ("t/img1/1.jpg", "picture")
    catalog = [
        {"asset_id": key, "name": name, "kind": kind, "width": 200, "height": 100}
        for key, (name, kind) in kinds.items()
    ]
    found = sequentials(samples, catalog)
    assert [(one.name, one.rows.tolist(), one.times.tolist()) for one in found] == [
        ("cam/x.mp4", [0, 1, 2], [0, 5, 10]),
        ("s/img1", [4, 3], [0, 1]),
        ("t/img1", [5], [0]),
    ]


def test_classes_are_measured_apart_and_what_is_ignored_counts_neither_way():
    found, truths = walkers(4)
    tracks = follow(found, Sequential("clip", np.arange(4), np.arange(4), SIZE), PARAMS)
    kinds = np.array([1, 2])
    mixed = [Boxes(t.boxes, kinds, t.weights, t.identities) for t in truths]
    mine = [Boxes(t.boxes, kinds[np.argsort(np.argsort(t.boxes[:, 0]))], t.weights, t.identities) for t in tracks]
    pairs = measurable("clip", mixed, mine, ("nothing", "person", "bag"))
    assert set(pairs) == {"clip/person", "clip/bag"} and tracking_metrics(pairs)["mota"] == 1
    unknown = [Boxes(t.boxes, t.classes, t.weights, np.array([70, NOBODY])) for t in truths]
    pairs = measurable("clip", [None, *unknown[1:]], tracks, ("nothing", "person"))
    figures = tracking_metrics(pairs)
    assert (figures["mota"], figures["false_positives"], figures["misses"]) == (1, 0, 0)
    assert len(pairs["clip"][0]) == 6, "of the first frame nothing is known"
