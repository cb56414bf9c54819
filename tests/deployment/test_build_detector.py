"""Bundles of detectors: what they hold, the check that the graph is the model, and what distinguishes the kinds."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from components.core import tracking
from components.core.bundle import GRAPH, Bundle, read_bundle, read_pointer, write_manifest
from components.core.errors import SightlineError
from components.core.files import file_sha256, tree_sha256
from components.deployment import __main__ as stage
from components.deployment import detector, parity_boxes
from components.deployment.build import build_bundle
from components.deployment.parity import pictures
from components.tasks.detection.boxes import Detections
from components.tasks.detection.model import load_detector
from components.tasks.trained import tensors_file
from tests.deployment import detecting, making

OLD = "b82b0fb0cdee864fa9833d2b09739cd135e07725ca3c793f009eeb45f0973e5a"  # as the first version of bundle.json gave it


@pytest.fixture(scope="module")
def made():
    return detecting.workspace()


@pytest.fixture
def own(tmp_path, made, monkeypatch):
    """(recipe, data folder) of a workspace that a test may change: a copy, the current one for the test."""
    recipe, data = made
    root = tmp_path / "workspace"
    shutil.copytree(data.parents[1], root)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    return recipe, root / "data" / data.name


def built(recipe, data: Path, folder: Path) -> tuple[Bundle, float]:
    folder.mkdir()
    return build_bundle(recipe, data, folder, {"ap50": 0.875})


def test_a_detectors_bundle_holds_all_that_serving_needs(made, tmp_path):
    recipe, data = made
    bundle, difference = built(recipe, data, tmp_path / "one")
    names = sorted(file.name for file in (tmp_path / "one").iterdir())
    assert names == ["bundle.json", "detector.safetensors", "model.onnx"]
    assert read_bundle(tmp_path / "one") == bundle and bundle.finds_boxes
    assert bundle.digest == file_sha256(tmp_path / "one/bundle.json")
    assert (bundle.height, bundle.width, bundle.max_side, bundle.window_frames) == (64, 96, 160, 1)
    assert bundle.threshold == bundle.box_threshold == detecting.THRESHOLD
    digest = load_detector(data / "model").digest
    assert bundle.lineage["weights"] == file_sha256(tmp_path / "one/detector.safetensors") == digest
    assert 0 <= difference < 1e-5
    built(recipe, data, tmp_path / "two")
    assert tree_sha256(tmp_path / "one") == tree_sha256(tmp_path / "two")


def test_parity_is_asked_on_pictures_in_batches_and_one_by_one(made):
    _, data = made
    shapes = [batch.shape[1:] for batch in pictures(data / "frames", (64, 96))]
    counts = [len(batch) for batch in pictures(data / "frames", (64, 96))]
    assert set(shapes) == {(64, 96, 3)} and len(counts) == 6 and counts[3:] == [1, 1, 1]


@pytest.mark.parametrize(
    ("tensor", "shift", "says"),
    [
        ("heat.4.bias", 0.05, "differ by .* more than deployment.parity"),
        ("sides.4.bias", 0.3, "only one finds a box of class"),
    ],
)
def test_a_graph_that_is_not_the_detector_is_refused(made, tmp_path, monkeypatch, tensor, shift, says):
    recipe, data = made
    other = load_detector(data / "model")
    with torch.no_grad():
        other.network.get_parameter(tensor).add_(shift)
    export = detector.export_onnx
    monkeypatch.setattr(detector, "export_onnx", lambda model, path: export(other, path))
    with pytest.raises(SightlineError, match=says):
        built(recipe, data, tmp_path / "bundle")
    assert not (tmp_path / "bundle/bundle.json").exists()


class Says(torch.nn.Module):
    """Finds the same, whatever it is shown."""

    def __init__(self, detections: Detections):
        super().__init__()
        self.detections = detections

    def forward(self, frames):
        return self.detections


def detections(*rows: tuple[float, float]) -> Detections:
    """One picture's detections of (left side, score) each, all else being equal, filled up to three places."""
    boxes, scores = torch.zeros(1, 3, 4), torch.zeros(1, 3)
    for place, (left, score) in enumerate(rows):
        boxes[0, place], scores[0, place] = torch.tensor([left, 0.1, 0.9, 0.9]), score
    return Detections(boxes, scores, (scores > 0).long(), torch.tensor([[0.5, 0.5]]))


def graph_of(path: Path, found: Detections) -> Path:
    """A graph that finds the same, whatever it is shown."""
    outputs, nodes = [], []
    for name, part in found._asdict().items():
        kind = TensorProto.INT64 if part.dtype == torch.int64 else TensorProto.FLOAT
        outputs.append(helper.make_tensor_value_info(name, kind, list(part.shape)))
        nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(part.numpy())))
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", 2, 2, 3])
    graph = helper.make_graph(nodes, "constant", [frames], outputs)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


FULL = [(0.1, 0.9), (0.2, 0.8), (0.3, 0.7)]


@pytest.mark.parametrize(
    ("exported", "trained", "difference"),
    [
        ([(0.1, 0.9)], [(0.1, 0.9)], 0),
        ([(0.1, 0.90005)], [(0.1001, 0.9)], 5e-5),
        # of equals, the order says nothing
        ([(0.1, 0.90001), (0.5, 0.9)], [(0.5, 0.90001), (0.1, 0.9)], 1e-5),
        # a hair above the floor in one, below it in the other
        ([(0.1, 0.9), (0.5, 0.05003)], [(0.1, 0.9)], 0),
        ([(0.1, 0.9), (0.5, 0.06)], [(0.1, 0.9)], None),
        ([(0.1, 0.9)], [(0.1, 0.9), (0.5, 0.06)], None),
        # all places taken: which box had the last one is a matter of a hair too
        ([*FULL[:2], (0.5, 0.70001)], FULL, 0),
        ([*FULL[:2], (0.5, 0.75)], FULL, None),
        ([(0.1, 0.9)], [(0.12, 0.9)], None),
        ([(0.1, float("nan"))], [(0.1, 0.9)], float("inf")),
    ],
)
def test_boxes_are_compared_with_their_likes(tmp_path, exported, trained, difference):
    """What two runs of one network may differ in, and what not. None: refused."""
    graph, shown = graph_of(tmp_path / GRAPH, detections(*exported)), iter([np.zeros((1, 2, 2, 3), np.uint8)])

    def measured() -> float:
        return parity_boxes.largest_difference(graph, Says(detections(*trained)), shown, 1e-4, 0.05)

    if difference is None:
        with pytest.raises(SightlineError, match="only one finds a box"):
            measured()
    else:
        assert measured() == pytest.approx(difference, abs=1e-6)


def test_a_detector_of_another_recipe_is_refused(own, tmp_path):
    _, data = own
    root = data.parents[1]
    other = detecting.write_params(root, task={"kind": "detection", "classes": ["background", "cat", "dog"]})
    with pytest.raises(SightlineError, match="was trained for .*red.*now asks for .*cat"):
        built(other, data, tmp_path / "bundle")
    classifier = detecting.write_params(
        root, task={"classes": ["red", "blue"]}, training={"lr": 0.1, "penalty": 0.0, "head": "logistic"}
    )
    with pytest.raises(SightlineError, match="not a model"):
        built(classifier, data, tmp_path / "other")


def test_a_classifiers_manifest_is_what_it_was_before_there_were_detectors(tmp_path):
    """Bundles that were published then are read, their pointers' digests hold, and built anew they are the same."""
    bundle = Bundle("made", ("a", "b"), "b", 0.5, 4, 4, None, None, 1, {}, {"accuracy": 0.5})
    (tmp_path / GRAPH).write_bytes(b"graph")
    written = write_manifest(tmp_path, bundle)
    assert "kind" not in json.loads((tmp_path / "bundle.json").read_text())
    assert written.digest == read_bundle(tmp_path).digest == OLD
    assert not read_bundle(tmp_path).finds_boxes


def test_a_kind_that_is_not_known_is_refused(tmp_path):
    bundle = Bundle("made", ("a", "b"), "b", 0.5, 4, 4, None, None, 1, {}, {}, kind="detection")
    (tmp_path / GRAPH).write_bytes(b"graph")
    write_manifest(tmp_path, bundle)
    manifest = tmp_path / "bundle.json"
    manifest.write_text(manifest.read_text().replace("detection", "telepathy"))
    with pytest.raises(SightlineError, match="kind 'telepathy' is not known"):
        read_bundle(tmp_path)


def test_a_detector_is_published_and_pointed_to(own, capsys):
    recipe, data = own
    making.give_store(data.parents[1])
    digest = file_sha256(tensors_file(data / "model"))
    client = tracking.client()
    client.create_registered_model(recipe.name)
    client.create_model_version(recipe.name, str(data / "model"), tags={tracking.MODEL_DIGEST: digest})
    client.set_registered_model_alias(recipe.name, tracking.CHAMPION, "1")
    decision = {"promoted": True, "model_version": 1, "model_digest": digest}
    (data / "decision.json").write_text(json.dumps(decision | {"model_digest": "0" * 64}))
    with pytest.raises(SightlineError, match="decides on another model"):
        stage.main(recipe)
    (data / "decision.json").write_text(json.dumps(decision))
    stage.main(recipe)
    deployed = data.parents[1] / ".sightline" / "deployed" / recipe.name
    assert read_pointer(deployed).digest == read_bundle(deployed / "v1").digest
    assert read_bundle(deployed / "v1").metrics == {"ap50": 0.875}
    assert "to be served: version 1" in capsys.readouterr().out


def test_the_tensors_of_a_models_folder(tmp_path):
    with pytest.raises(SightlineError, match="holds neither"):
        tensors_file(tmp_path)
    (tmp_path / "head.safetensors").touch()
    assert tensors_file(tmp_path).name == "head.safetensors"
    (tmp_path / "detector.safetensors").touch()
    with pytest.raises(SightlineError, match="holds both"):
        tensors_file(tmp_path)
    (tmp_path / "head.safetensors").unlink()
    assert tensors_file(tmp_path).name == "detector.safetensors"
