"""Bundles of models that follow what they find: tracker and embeddings in them, and the check of the embeddings."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from components.core.bundle import GRAPH, Bundle, Pointer, read_bundle, write_manifest
from components.core.errors import SightlineError
from components.core.files import tree_sha256
from components.core.recipe import Recipe, Tracker
from components.deployment import detector, parity_boxes
from components.deployment.build import build_bundle
from components.serving.load import load_model
from components.tasks.detection.model import detector_form, load_detector, new_network, save_detector
from components.tasks.detection.tracking.fairmot import Embedded
from tests.deployment import detecting
from tests.deployment.test_build_detector import Says, detections, graph_of
from tests.tasks.detection.drawn import CLASSES

# The digest of a detector's manifest as it was before there were trackers.
DETECTOR = "d590eb61d2825ac4bedc23516ea0ec2b2b15837641c724978822862070c79bc4"
TRACKER = Tracker(tuned=False, high_score=0.35, new_score=0.45)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Recipe, Path]:
    """(recipe, data folder) of a recipe that tracks, with a light FairMOT that was never trained."""
    root = tmp_path_factory.mktemp("tracking") / "workspace"
    shutil.copytree(detecting.workspace()[1].parents[1], root)
    return written(root)


def written(root: Path, tracks: bool = True, tracker: Tracker | None = TRACKER) -> tuple[Recipe, Path]:
    recipe = detecting.write_params(
        root, task={"kind": "detection", "classes": list(CLASSES), "tracks": tracks},
        training={"head": "detector", "lr": 0.004, "penalty": 0.0, "detector": {"model": "fairmot", "max_boxes": 6}},
    )  # fmt: skip
    data = root / "data" / recipe.name
    shutil.rmtree(data / "model")
    form = detector_form(recipe, recipe.training.detector)
    meta = {"detector": form, "classes": list(CLASSES), "positive": None, "threshold": None}
    meta |= {"tracker": tracker.model_dump(mode="json")} if tracker else {}
    save_detector(data / "model", new_network(form, "none", 3).state_dict(), meta)
    return recipe, data


def built(recipe: Recipe, data: Path, folder: Path) -> tuple[Bundle, float]:
    folder.mkdir()
    return build_bundle(recipe, data, folder, {"mota": 0.875})


def test_a_bundle_that_tracks_holds_its_tracker_and_looks(made, tmp_path):
    bundle, difference = built(*made, tmp_path / "v1")
    assert bundle.tracks and bundle.finds_boxes and Tracker(**bundle.tracker) == TRACKER
    assert read_bundle(tmp_path / "v1") == bundle
    assert 0 <= difference < 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "v1" / GRAPH), providers=["CPUExecutionProvider"])
    shown = np.random.default_rng(0).integers(0, 255, (3, 64, 96, 3), np.uint8)
    found = dict(zip([one.name for one in session.get_outputs()], session.run(None, {"frames": shown}), strict=True))
    assert list(found) == list(Embedded._fields)
    assert found["embeddings"].shape == (3, 6, 64)
    lengths = np.linalg.norm(found["embeddings"], axis=2)
    np.testing.assert_allclose(lengths, found["scores"] > 0, atol=1e-5)
    built(*made, tmp_path / "again")
    assert tree_sha256(tmp_path / "v1") == tree_sha256(tmp_path / "again")
    model = load_model(tmp_path, Pointer(1, "v1", bundle.digest), 1)
    assert model.params == TRACKER
    assert model.follow(model.begin(), model.find(list(shown)).of(1), (640, 960), 1.0) == []  # nothing scores so high


def test_a_graph_that_finds_other_looks_is_refused(made, tmp_path, monkeypatch):
    recipe, data = made
    other = load_detector(data / "model")
    with torch.no_grad():
        other.network.id[-1].bias.add_(0.05)
    export = detector.export_onnx
    monkeypatch.setattr(detector, "export_onnx", lambda model, path: export(other, path))
    with pytest.raises(SightlineError, match="embeddings .* are .* apart by the cosine, more than 1e-04"):
        built(recipe, data, tmp_path / "bundle")
    assert not (tmp_path / "bundle/bundle.json").exists()


@pytest.mark.parametrize(("tracks", "tracker"), [(True, None), (False, TRACKER)])
def test_a_model_that_tracks_where_the_recipe_does_not_is_refused(tmp_path, tracks, tracker):
    root = tmp_path / "workspace"
    shutil.copytree(detecting.workspace()[1].parents[1], root)
    with pytest.raises(SightlineError, match=f"was trained for .*'tracks': {not tracks}.* now asks for .*{tracks}"):
        built(*written(root, tracks, tracker), tmp_path / "bundle")


def looks(*rows: tuple[float, float], turned: float = 0.0) -> Embedded:
    """`detections` with embeddings in the plane, a quarter turn apart, and `turned` by so many degrees."""
    found = detections(*rows)
    angles = torch.deg2rad(90.0 * torch.arange(3) + turned)
    embeddings = torch.stack([angles.cos(), angles.sin()], -1)[None] * (found.scores > 0).float()[..., None]
    return Embedded(*found, embeddings)


@pytest.mark.parametrize(
    ("exported", "trained", "refused"),
    [
        (looks((0.1, 0.9), (0.5, 0.8)), looks((0.1, 0.9), (0.5, 0.8)), ""),
        (looks((0.1, 0.9), turned=0.7), looks((0.1, 0.9)), ""),
        (looks((0.1, 0.9), turned=1), looks((0.1, 0.9)), "1.5e-04 apart"),
        (looks((0.1, 0.9), (0.5, 0.9)), looks((0.5, 0.9), (0.1, 0.9)), "1.0e.00 apart"),
        (looks((0.1, 0.9))._replace(embeddings=torch.zeros(1, 3, 2)), looks((0.1, 0.9)), "1.0e.00 apart"),
        # only one of them finds the second, and may: there is nothing to compare its looks with
        (looks((0.1, 0.9), (0.5, 0.05003)), looks((0.1, 0.9)), ""),
    ],
)
def test_looks_are_compared_box_by_box(tmp_path, exported, trained, refused):
    graph, shown = graph_of(tmp_path / GRAPH, exported), iter([np.zeros((1, 2, 2, 3), np.uint8)])

    def measured() -> float:
        return parity_boxes.largest_difference(graph, Says(trained), shown, 1e-4, 0.05)

    if refused:
        with pytest.raises(SightlineError, match=refused):
            measured()
    else:
        assert measured() < 1e-4


def test_a_look_that_is_no_number_is_no_parity(tmp_path):
    broken = looks((0.1, 0.9))
    broken.embeddings[0, 0, 0] = float("nan")
    graph, shown = graph_of(tmp_path / GRAPH, broken), iter([np.zeros((1, 2, 2, 3), np.uint8)])
    assert parity_boxes.largest_difference(graph, Says(looks((0.1, 0.9))), shown, 1e-4, 0.05) == float("inf")


def test_a_detectors_manifest_is_what_it_was_before_there_were_trackers(tmp_path):
    bundle = Bundle("made", ("a", "b"), "b", 0.5, 4, 4, None, None, 1, {}, {"ap50": 0.5}, kind="detection")
    (tmp_path / GRAPH).write_bytes(b"graph")
    written = write_manifest(tmp_path, bundle)
    assert "tracker" not in json.loads((tmp_path / "bundle.json").read_text())
    assert written.digest == read_bundle(tmp_path).digest == DETECTOR
    assert not read_bundle(tmp_path).tracks


@pytest.mark.parametrize(("kind", "tracker"), [("classification", {}), ("detection", [])])
def test_a_tracker_of_what_finds_no_boxes_is_refused(tmp_path, kind, tracker):
    bundle = Bundle("made", ("a", "b"), "b", 0.5, 4, 4, None, None, 1, {}, {}, kind=kind, tracker=tracker)
    (tmp_path / GRAPH).write_bytes(b"graph")
    write_manifest(tmp_path, bundle)
    with pytest.raises(SightlineError, match="its tracker has no boxes to follow"):
        read_bundle(tmp_path)
