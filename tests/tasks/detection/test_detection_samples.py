"""Frames with boxes: what takes part, in which units, and the batches that training streams."""

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from components.core import tables
from components.core.recipe import Task, load_recipe
from components.tasks.classification.labels import UNLABELLED
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import _without_ignored
from components.tasks.detection.samples import (
    NOBODY,
    NOTHING,
    Boxes,
    BoxSource,
    BoxStream,
    _with_identities,
    box_source,
    frame_boxes,
    frame_class,
    middles,
)
from tests.tasks.detection.drawn import CLASSES, RECIPE, make_workspace, picture
from tests.tasks.detection.drawn import recipe as parse

TASK = Task(classes=CLASSES)
SIZES = {"a": (200, 100), "b": (10, 10)}
SIZE = (64, 96)


def annotations(*rows: dict) -> pa.Table:
    base = {"asset_id": "a", "first_pts": 0, "last_pts": 0, "class": "red", "source": "human", "weight": 1.0}
    return pa.Table.from_pylist([base | row for row in rows], schema=tables.ANNOTATIONS)


def shown(table: pa.Table, *frames: tuple[str, int]):
    assets, pts = (np.array(column) for column in zip(*frames, strict=True))
    return frame_boxes(table, SIZES, assets.astype(object), pts, TASK)


def test_boxes_are_in_units_of_the_source_and_cut_at_its_edge():
    table = annotations(
        {"x": 20.0, "y": 10.0, "w": 40.0, "h": 50.0, "weight": 0.25, "class": "blue"},
        {"x": 180.0, "y": -5.0, "w": 40.0, "h": 15.0, "track_id": 7},
    )
    (boxes,) = shown(table, ("a", 0))
    assert boxes.boxes.dtype == np.float32
    assert np.allclose(boxes.boxes, [[0.1, 0.1, 0.3, 0.6], [0.9, 0, 1, 0.1]])
    assert boxes.classes.tolist() == [2, 1] and boxes.weights.tolist() == [0.25, 1.0]


def test_frames_with_boxes_or_called_background_take_part_and_no_other():
    box = {"x": 1.0, "y": 1.0, "w": 5.0, "h": 5.0}
    table = annotations(
        box | {"first_pts": 10, "last_pts": 20}, box | {"first_pts": 20, "last_pts": 30, "class": "blue"},
        {"first_pts": 20, "last_pts": 50, "class": "background"}, {"first_pts": 60, "last_pts": 60, "class": "red"},
        box | {"first_pts": 70, "last_pts": 70, "class": "plant"}, box | {"asset_id": "b"},
    )  # fmt: skip
    frames = [("a", 30), ("b", 0), ("a", 9), ("a", 10), ("a", 20), ("a", 40), ("a", 60), ("a", 70), ("b", 1)]
    found = shown(table, *frames)
    counts = [None if boxes is None else len(boxes) for boxes in found]
    assert counts == [1, 1, None, 1, 2, 0, None, None, None]
    assert found[0].classes.tolist() == [2] and found[4].classes.tolist() == [1, 2]
    assert [frame_class(boxes) for boxes in found] == [2, 1, -1, 1, 1, 0, -1, -1, -1]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("boxes") / "workspace", {"train": 30, "val": 5, "test": 5})


@pytest.fixture
def recipe(root, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    return load_recipe(RECIPE)


def test_an_epoch_shows_the_known_pictures_with_their_boxes(recipe):
    stream = BoxStream(box_source(recipe, "train"), SIZE, 8, seed=3)
    assert len(stream.known) == 24 and stream.counts.sum() == 24 and stream.steps == 3
    batches = list(stream.epoch(0))
    assert sum(len(batch.pixels) for batch in batches) == 24
    assert len(np.unique(torch.cat([batch.pixels for batch in batches]).flatten(1).numpy(), axis=0)) == 24
    known = [(rgb, boxes) for rgb, boxes in (picture(10_000 + number) for number in range(30) if number % 5 < 4)]
    assert sum(len(batch.boxes) for batch in batches) == sum(len(boxes) for _, boxes in known)
    for batch in batches:
        assert (batch.weights == 0.5).all() and batch.pixels.shape[1:] == (3, *SIZE)
        for at, pixels in enumerate(batch.pixels):
            off = [float((pixels - torch.from_numpy(rgb).permute(2, 0, 1) / 255).abs().mean()) for rgb, _ in known]
            boxes = known[int(np.argmin(off))][1]
            own = batch.picture == at
            assert np.allclose(batch.boxes[own], boxes.boxes, atol=1e-5)
            assert batch.classes[own].tolist() == boxes.classes.tolist()
    again = list(BoxStream(box_source(recipe, "train"), SIZE, 8, seed=3).epoch(0))
    assert all(
        torch.equal(a.pixels, b.pixels) and torch.equal(a.boxes, b.boxes) for a, b in zip(batches, again, strict=True)
    )


def test_once_is_in_the_order_of_what_is_known(recipe):
    whole = BoxStream(box_source(recipe, "train"), SIZE, 7, seed=0)
    for rank, world in ((0, 1), (0, 2), (1, 2)):
        batches, shown = list(whole.once(rank, world)), whole.shown(rank, world)
        assert sum(len(batch.pixels) for batch in batches) == len(shown)
        boxes = np.concatenate([batch.boxes.numpy() for batch in batches])
        assert np.array_equal(boxes, np.concatenate([truth.boxes for truth in shown]))
    assert len(whole.shown(0, 2)) + len(whole.shown(1, 2)) == 24


def test_ranks_divide_the_pictures_and_take_equal_steps(recipe):
    streams = [BoxStream(box_source(recipe, "train"), SIZE, 4, 0, rank, 2) for rank in range(2)]
    assert sum(len(stream.known) for stream in streams) == 24 and len({stream.steps for stream in streams}) == 1
    assert all(len(batch.pixels) == 4 for stream in streams for batch in stream.epoch(1))


def test_only_annotations_of_the_sources_asked_for_count(recipe):
    source = box_source(recipe, "train", drawn_by=("search",))
    truths = [truth for group in source.groups for truth in source.truths(group)]
    assert {len(truth) for truth in truths if truth is not None} == {0}
    assert all(truth is NOTHING for truth in truths if truth is not None) and any(truth is None for truth in truths)


def test_boxes_to_be_ignored_are_neither_found_nor_missed():
    true = Boxes(np.array([[0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1]], np.float32), np.array([1, 1]), np.array([1.0, 0.0]))
    found = Detections(
        np.array([[[0.5, 0.5, 1, 1], [0, 0, 0.4, 0.4], [0, 0, 0, 0]]], np.float32),
        np.array([[0.9, 0.8, 0]], np.float32), np.array([[1, 1, 0]]), np.zeros((1, 2), np.float32),
    )  # fmt: skip
    kept = _without_ignored(true, found, 0)
    assert kept.boxes.tolist() == true.boxes[:1].tolist()
    assert found.scores[0].tolist() == pytest.approx([0.8, 0, 0])
    assert found.boxes[0, 0].tolist() == true.boxes[0].tolist()
    assert _without_ignored(true.at(np.array([1])), found, 0) is None
    assert frame_class(true.at(np.array([1]))) == UNLABELLED


def test_the_halves_of_a_sequence_share_no_frame(tmp_path, monkeypatch):
    """Of pictures of one folder: by their names."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(make_workspace(tmp_path / "workspace", {"train": 10})))
    recipe = load_recipe(RECIPE)
    parts = [[one for group in source.groups for one in source.truths(group)] for source in (
        box_source(recipe, "train"),
        box_source(recipe, "train", half="first"),
        box_source(recipe, "train", half="second"),
    )]  # fmt: skip
    counts = [sum(one is not None for one in part) for part in parts]
    assert counts[0] == 8 and counts[1] + counts[2] == 8 and min(counts) > 0
    for whole, first, second in zip(*parts, strict=True):
        assert first is None or second is None
        assert (whole is None) == (first is None and second is None)


def test_halves_are_of_time_for_videos_and_of_names_for_pictures():
    rows = [{"asset_id": "v", "name": "v.mp4", "kind": "video", "first_pts": 10, "last_pts": 90}]
    rows += [{"asset_id": f"p{n}", "name": f"s/{n}.jpg", "kind": "picture"} for n in (3, 1, 2)]
    assert middles(rows) == {"v": 50, "p1": math.inf, "p2": math.inf, "p3": -math.inf}


def test_identities_are_numbered_over_the_split_and_boxes_without_stay_nobody():
    rows = [{"x": 1.0, "y": 1.0, "w": 5.0, "h": 5.0, "track_id": track} for track in (900, None, 7)]
    rows.append({"x": 1.0, "y": 1.0, "w": 5.0, "h": 5.0, "track_id": 3, "class": "something else"})
    source = BoxSource((), frozenset("a"), annotations(*rows), parse(), SIZES)
    assert source.identities().tolist() == [7, 900]
    (boxes,) = shown(source.annotations, ("a", 0))
    assert sorted(boxes.identities.tolist()) == [NOBODY, 7, 900]


def test_a_pictures_box_without_a_track_can_be_an_identity_of_its_own():
    rows = [{"x": 1.0, "y": 1.0, "w": 5.0, "h": 5.0, "track_id": track} for track in (None, None, 7)]
    rows.append({"x": 1.0, "y": 1.0, "w": 5.0, "h": 5.0, "asset_id": "b"})  # of a video
    found = _with_identities(annotations(*rows), {"a"})["track_id"].to_pylist()
    assert found[2:] == [7, None] and len({*found[:2], NOBODY, 7}) == 4 and max(found[:2]) < NOBODY
