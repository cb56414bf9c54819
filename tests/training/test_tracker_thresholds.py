"""A tracker's thresholds: those that do best on the validation split, unless they are to be left alone."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from components.core.errors import UsageError
from components.core.files import file_sha256
from components.core.recipe import Tracker, parse_recipe
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.model import TENSORS, save_detector, with_tracker
from components.tasks.detection.samples import NOBODY, NOTHING, Boxes
from components.tasks.detection.tracking.follow import Sequential
from components.training import tracker

RECIPE = parse_recipe(
    "people",
    {
        "task": {"kind": "detection", "classes": ["nothing", "person"], "positive": "person", "tracks": True},
        "source": "clips",
        "features": {"parts": ["mean"]},
        "training": {"head": "detector", "lr": 0.001, "penalty": 0.0},
    },
)
FRAMES = 10


def samples(score: float, noise: float, truth: bool = True) -> FoundSamples:
    """One who stands still is found with this score in every frame, and somewhere else something that is not there."""
    boxes = np.zeros((FRAMES, 2, 4), np.float32)
    boxes[:, 0], boxes[:, 1] = (0.1, 0.1, 0.2, 0.6), (0.6, 0.1, 0.7, 0.6)
    scores = np.tile(np.array([score, noise], np.float32), (FRAMES, 1))
    found = Detections(boxes, scores, np.ones((FRAMES, 2), np.int64), np.zeros((FRAMES, 2), np.float32))
    one = Boxes(boxes[0, :1], np.array([1]), np.ones(1, np.float32), np.array([5]))
    marked = [one if truth else NOTHING] * FRAMES
    rows = np.arange(FRAMES)
    return FoundSamples(
        ["a"], np.array([0, FRAMES]), np.zeros((FRAMES, 1)), np.ones(FRAMES, np.int64), rows, rows, [""] * FRAMES,
        found=found, truths=marked, seen=found, marked=marked, sequences=[Sequential("a", rows, rows, (640, 480))],
    )  # fmt: skip


@pytest.fixture
def asked(monkeypatch):
    """Has the detector of `fitted` find these samples; returns what it chose."""

    def ask(given: Tracker, held: FoundSamples) -> dict:
        detector = SimpleNamespace(followed=lambda recipe, params, split: held.followed(params))
        monkeypatch.setattr(tracker, "load_detector", lambda folder: detector)
        return tracker.fitted(RECIPE, given, "model")

    return ask


@pytest.mark.parametrize("score, noise", [(0.45, 0.33), (0.27, 0.17), (0.9, 0.57)])
def test_thresholds_lie_between_what_is_there_and_what_is_not(asked, score, noise):
    chosen = asked(Tracker(lost_frames=12), samples(score, noise))
    assert noise < chosen["new_score"] <= score and chosen["high_score"] <= score
    assert chosen["lost_frames"] == 12 and Tracker(**chosen).low_score <= chosen["high_score"]


def test_what_is_given_stays_where_nothing_is_to_be_tuned(asked):
    given = Tracker(tuned=False, high_score=0.7, new_score=0.8)
    assert Tracker(**asked(given, samples(0.4, 0.3))) == given


def test_a_split_without_tracks_is_refused_with_the_remedy(asked):
    with pytest.raises(UsageError, match="no tracks to choose"):
        asked(Tracker(), samples(0.1, 0.1, truth=False))
    nobody = samples(0.45, 0.1)
    for one in nobody.marked:
        one.identities[:] = NOBODY
    with pytest.raises(UsageError, match="no tracks to choose"):
        asked(Tracker(), nobody)


def test_another_tracker_makes_another_model_of_the_same_network(tmp_path):
    """Its digest is what the registry knows a model by: what is followed otherwise must pass the gates anew."""
    meta = {"detector": {}, "classes": ["nothing", "person"]}
    save_detector(tmp_path, {"body.weight": torch.ones(3)}, meta)
    digests = [file_sha256(tmp_path / TENSORS)]
    for hits in (2, 3, 3):
        with_tracker(tmp_path, Tracker(min_hits=hits).model_dump(mode="json"))
        digests.append(file_sha256(tmp_path / TENSORS))
    assert len(set(digests[:3])) == 3 and digests[2] == digests[3]
    written = json.loads((tmp_path / "model.json").read_text())
    assert written["tensors"]["sha256"] == digests[3] and written["tracker"]["min_hits"] == 3
    assert torch.equal(load_file(tmp_path / TENSORS)["body.weight"], torch.ones(3))
