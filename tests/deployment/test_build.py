import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from components.core import bundle as bundles
from components.core.bundle import Bundle, read_bundle
from components.core.errors import SightlineError
from components.core.files import file_sha256, tree_sha256
from components.deployment import classifier
from components.deployment.build import build_bundle
from components.deployment.parity import largest_difference, sequences
from components.tasks.classification.export import scorer
from components.tasks.classification.model import load_model
from tests.deployment import making

ROOT = Path(__file__).parents[2]
AGAIN = """
import sys
from pathlib import Path
from components.core.recipe import load_recipe
from components.deployment.build import build_bundle
build_bundle(load_recipe("toy"), Path("data/toy"), Path(sys.argv[1]), {"frame_auc": 0.5})
"""


def built(recipe, data: Path, folder: Path) -> tuple[Bundle, float]:
    folder.mkdir()
    return build_bundle(recipe, data, folder, {"frame_auc": 0.5})


def test_a_bundle_holds_all_that_serving_needs(trained, tmp_path):
    recipe, data = trained
    bundle, difference = built(recipe, data, tmp_path / "bundle")
    assert sorted(file.name for file in (tmp_path / "bundle").iterdir()) == [
        "bundle.json", "head.safetensors", "model.onnx",
    ]  # fmt: skip
    assert read_bundle(tmp_path / "bundle") == bundle
    assert (bundle.height, bundle.width, bundle.max_side, bundle.fps) == (48, 64, 96, "30000/1001")
    assert (bundle.classes, bundle.positive, bundle.threshold) == (making.CLASSES, "suspicious", 0.5)
    assert bundle.window_frames == 5
    assert file_sha256(tmp_path / "bundle/head.safetensors") == load_model(data / "model").digest
    assert difference <= recipe.deployment.parity
    for table in ("catalog", "annotations", "frames", "features", "model"):
        assert bundle.lineage[table] == tree_sha256(data / table)
    assert bundle.digest == file_sha256(tmp_path / "bundle/bundle.json")


def test_the_whole_model_gives_the_same_bytes_in_another_process(root, tmp_path):
    """Exporters leave stack traces, paths and counters behind; none may be left in what is versioned."""
    recipe = making.write_params(root, features={"parts": ["mean", "max", "motion"]})
    data = root / "data" / making.RECIPE
    making.write_tables(data)
    making.write_model(data, recipe, 1)
    bundle, difference = built(recipe, data, tmp_path / "here")
    assert difference <= recipe.deployment.parity
    assert bundle.lineage["weights"] == "random-0"
    (tmp_path / "there").mkdir()
    subprocess.run(
        [sys.executable, "-c", AGAIN, str(tmp_path / "there")],
        env={
            "PYTHONPATH": str(ROOT),
            "PATH": "",
            "SIGHTLINE_WORKSPACE": str(tmp_path),
            "PYTHONHASHSEED": "7",
            "OMP_NUM_THREADS": "1",
        },
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    assert tree_sha256(tmp_path / "there") == tree_sha256(tmp_path / "here")
    graph = (tmp_path / "here/model.onnx").read_bytes()
    assert str(ROOT).encode() not in graph and b"site-packages" not in graph and b"/components/" not in graph


def test_the_graph_tells_pictures_apart(trained, tmp_path):
    recipe, data = trained
    built(recipe, data, tmp_path / "bundle")
    pictures = np.stack([making.picture(1), making.picture(2)])[:, None]
    session = onnxruntime.InferenceSession(str(tmp_path / "bundle/model.onnx"), providers=["CPUExecutionProvider"])
    one, other = session.run(["probabilities"], {"frames": pictures})[0][:, 0]
    assert one.sum() == pytest.approx(1, abs=1e-5) and abs(one - other).max() > 1e-4


def test_parity_is_asked_in_the_shapes_that_serving_uses(trained):
    _, data = trained
    shapes = [batch.shape for batch in sequences(data / "frames", (48, 64), 5)]
    assert shapes == [(1, 5, 48, 64, 3)] * 3 + [(3, 1, 48, 64, 3)]
    clips = list(sequences(data / "frames", (48, 64), 5))
    assert len({clip.tobytes() for clip in clips}) == 4


def test_a_graph_that_is_not_the_model_is_refused(trained, tmp_path, monkeypatch):
    recipe, data = trained
    other = load_model(data / "model")
    export = classifier.export_onnx

    def another(features, model, path):
        with torch.no_grad():
            other.head.frame[1].bias[1].add_(0.05)
        export(features, other, path)

    monkeypatch.setattr(classifier, "export_onnx", another)
    with pytest.raises(SightlineError, match="differ by .* more than deployment.parity"):
        built(recipe, data, tmp_path / "bundle")
    assert not (tmp_path / "bundle/bundle.json").exists()


def test_a_difference_that_is_no_number_is_infinite(trained, tmp_path):
    recipe, data = trained
    built(recipe, data, tmp_path / "bundle")

    class Broken(torch.nn.Module):
        def forward(self, frames):
            return scorer(recipe.features, load_model(data / "model"))(frames) * float("nan")

    batches = sequences(data / "frames", (48, 64), 3)
    assert largest_difference(tmp_path / "bundle/model.onnx", Broken(), batches) == float("inf")


def test_no_frames_to_compare_on_is_an_error(trained, tmp_path):
    recipe, data = trained
    for shard in (data / "frames").iterdir():
        shard.unlink()
    with pytest.raises(SightlineError, match="no shards"):
        built(recipe, data, tmp_path / "bundle")


def test_a_model_of_other_features_is_refused(trained, tmp_path, root):
    _, data = trained
    with pytest.raises(SightlineError, match="was trained on other features"):
        built(making.write_params(root, features={"parts": ["max"]}), data, tmp_path / "bundle")


@pytest.mark.parametrize("name", ["model.onnx", "head.safetensors"])
def test_a_changed_file_is_refused_by_name(trained, tmp_path, name):
    recipe, data = trained
    built(recipe, data, tmp_path / "bundle")
    file = tmp_path / "bundle" / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(SightlineError, match=name):
        read_bundle(tmp_path / "bundle")
    file.unlink()
    with pytest.raises(SightlineError, match=name):
        read_bundle(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "cannot be read"), ("[]", "not a mapping"), ('{"format": 9}', "format 9"), ('{"format": 1}', "not a bundle")],
)
def test_a_manifest_of_another_form_is_refused(tmp_path, text, says):
    (tmp_path / bundles.MANIFEST).write_text(text)
    with pytest.raises(SightlineError, match=says):
        read_bundle(tmp_path)
