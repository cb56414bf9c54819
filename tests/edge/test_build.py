"""The archive: what is in it, what is said of its graphs, and what is refused."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import onnx
import pytest

from components.core.errors import SightlineError
from components.core.recipe import load_recipe
from components.edge.archive import write_archive
from components.edge.build import build
from components.edge.device.model import Given, load
from components.edge.device.release import MANIFEST, read_release, unpack
from components.edge.device.selftest import selftest
from components.edge.device.update import environment
from components.tasks.classification.metrics import frame_metrics
from tests.deployment import detecting
from tests.edge import making


def test_the_same_champion_gives_the_same_bytes(root, archive, tmp_path):
    build(load_recipe(making.RECIPE), tmp_path / "again.tar.gz", 0.5)
    assert (tmp_path / "again.tar.gz").read_bytes() == archive.read_bytes()


def test_accuracy_is_that_of_the_held_out_frames(root, unpacked):
    """Worked out once more: whole sequences through the service's model, and the evaluation's own metrics."""
    labels, probabilities = [], []
    annotations = making.pq.read_table(root / "data" / making.RECIPE / "annotations").to_pylist()
    for number, split in enumerate(making.HELD_OUT):
        if split == "test":
            asset = f"{number:016x}"
            bundle = root / ".sightline" / "deployed" / making.RECIPE / "v3"
            shard = root / "data" / making.RECIPE / "frames" / f"{asset}.parquet"
            probabilities.append(making.asset_scores(bundle, shard))
            labels += [row["class"] == "suspicious" for row in annotations if row["asset_id"] == asset]
    wanted = frame_metrics(np.array(labels, int), np.concatenate(probabilities), 1, unpacked.bundle.threshold)
    model = unpacked.manifest["model"]
    assert model["frames"] == len(labels) == 2 * making.FRAMES
    assert model["float32"]["frame_auc"] == pytest.approx(wanted["frame_auc"], abs=1e-5)
    assert model["float32"]["accuracy"] == pytest.approx(wanted["accuracy"], abs=1e-5)
    assert set(model["int8"]) == set(model["float32"]) == {"accuracy", "balanced_accuracy", "frame_auc"}
    assert 0.6 < wanted["frame_auc"] < 0.95, "the labels of this test say nothing"


def test_int8_is_the_default_within_the_limit_alone(root, unpacked, tmp_path):
    assert unpacked.default == "int8" and "within the limit of 0.5" in unpacked.manifest["model"]["why"]
    strict = build(load_recipe(making.RECIPE), tmp_path / "strict.tar.gz", -1.0)["model"]
    assert strict["default"] == "float32" and "loses more than the limit" in strict["why"]
    assert "vectors.int8.onnx" in unpack(tmp_path / "strict.tar.gz", tmp_path / "strict").manifest["files"]


def test_int8_is_right_on_every_processor_unless_it_is_for_vnni_alone(root, unpacked, tmp_path, monkeypatch):
    """A processor without VNNI adds two products in 16 bits: of 255 by 127 they are cut off, of 255 by 64 they fit."""
    assert unpacked.manifest["model"]["int8_for"] == "any" and 60 < largest_weight(unpacked) <= 64
    build(load_recipe(making.RECIPE), tmp_path / "vnni.tar.gz", 0.5, int8_for="vnni")
    release = unpack(tmp_path / "vnni.tar.gz", tmp_path / "vnni")
    assert release.manifest["model"]["int8_for"] == "vnni" and 64 < largest_weight(release) <= 127
    cpuinfo = tmp_path / "cpuinfo"
    monkeypatch.setattr("components.edge.device.release.CPUINFO", cpuinfo)
    for machine, flags, wanted in (
        ("x86_64", "fpu avx2 avx512_vnni", "int8"), ("x86_64", "fpu avx2 avx_vnni", "int8"),
        ("x86_64", "fpu avx2 avx512f", "float32"), ("x86_64", None, "float32"), ("aarch64", None, "int8"),
    ):  # fmt: skip
        cpuinfo.write_text(f"processor\t: 0\nflags\t\t: {flags}\n") if flags else cpuinfo.unlink(missing_ok=True)
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        assert release.precision("auto") == wanted, (machine, flags)
        assert release.precision("int8") == unpacked.precision("auto") == "int8"


def largest_weight(release) -> int:
    """Of the int8 graph's convolutions, whose weights are the only int8 of more than a dimension."""
    graph = onnx.load(release.folder / "vectors.int8.onnx").graph
    weights = [onnx.numpy_helper.to_array(one) for one in graph.initializer if one.data_type == onnx.TensorProto.INT8]
    return max(int(np.abs(one.astype(int)).max()) for one in weights if one.ndim == 4)


def test_without_tables_float32_alone(root, tmp_path, monkeypatch):
    (tmp_path / "bare").mkdir()
    for name in ("params.yaml", "dvc.yaml", ".sightline"):
        (tmp_path / "bare" / name).symlink_to(root / name)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path / "bare"))
    recipe = load_recipe(making.RECIPE)
    with pytest.raises(SightlineError, match="the table is not there"):
        build(recipe, tmp_path / "a.tar.gz", 0.01)
    assert not (tmp_path / "a.tar.gz").exists()
    made = build(recipe, tmp_path / "a.tar.gz", 0.01, int8=False)
    assert made["model"]["default"] == "float32" and "vectors.int8.onnx" not in made["files"]
    assert list(selftest(unpack(tmp_path / "a.tar.gz", tmp_path / "a"))) == ["float32"]


def test_a_recipe_without_a_champion(root, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    with pytest.raises(SightlineError, match="has no champion here"):
        build(making.making.write_params(tmp_path), tmp_path / "a.tar.gz", 0.01)


def test_a_detector_goes_as_float32_with_the_reason(tmp_path, monkeypatch):
    root = tmp_path / "detector"
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    recipe = making.detector_champion(root)
    made = build(recipe, tmp_path / "found.tar.gz", 0.01)
    assert made["model"]["default"] == "float32" and "detector" in made["model"]["why"]
    release = unpack(tmp_path / "found.tar.gz", tmp_path / "found")
    assert selftest(release)["float32"] < 1e-4
    model, service = load(release, "float32", 1), making.served(root / ".sightline/deployed" / recipe.name / "v1")
    rgb = detecting.picture(1, scale=2)[0]
    (found,) = model.answers([Given(model.prepare(rgb), rgb.shape[:2])])
    (wanted,) = service.answers([service.prepare(rgb)], [rgb.shape[:2]], None)
    assert found["boxes"] and found == wanted


def test_it_runs_without_the_project_and_all_that_it_needs(unpacked):
    """In a process that finds the archive's code first: what it imports is its own, numpy, ONNX Runtime and OpenCV."""
    code = (
        "import sys, json, edge.__main__, components.edge.device.runner as runner\n"
        "from components.edge.device.command import here\n"
        "from components.edge.device.model import load\n"
        "load(here(), 'int8', 1)\n"
        "print(json.dumps([runner.__file__, sorted({name.split('.')[0] for name in sys.modules})]))"
    )
    reply = subprocess.run(
        [sys.executable, "-c", code], cwd=unpacked.folder, env=environment(unpacked.folder), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    file, modules = json.loads(reply.stdout)
    assert file.startswith(str(unpacked.folder))
    heavy = {"torch", "fastapi", "starlette", "pydantic", "pyarrow", "pandas", "av", "scipy", "onnx", "cryptography"}
    assert not heavy & set(modules)


def test_what_is_pinned_is_what_it_needs(unpacked):
    lines = (unpacked.folder / "requirements.txt").read_text().split()
    names = {line.partition("==")[0] for line in lines}
    assert {"numpy", "onnxruntime", "opencv-python-headless", "cryptography", "cffi"} <= names
    assert all("==" in line for line in lines) and len(lines) < 15


@pytest.mark.parametrize("name", ["vectors.onnx", "components/edge/device/runner.py", "config.toml"])
def test_a_changed_file_is_named(unpacked, tmp_path, name):
    making.shutil.copytree(unpacked.folder, tmp_path / "copy")
    file = tmp_path / "copy" / name
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(SightlineError, match=name.rpartition("/")[2]):
        read_release(tmp_path / "copy")


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([MANIFEST, "../outside"], "not a plain file"),
        ([MANIFEST, "/tmp/outside"], "not a plain file"),
        (["edge/__init__.py", MANIFEST], "does not begin with a manifest"),
        ([MANIFEST, "more.py"], "not what the manifest names"),
        ([MANIFEST], "is missing"),
        ([], "is missing"),
    ],
)
def test_an_archive_that_holds_other_than_it_names(tmp_path, names, says):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        for name in names:
            body = json.dumps({"format": 1, "files": {"one": "0"}}).encode() if name == MANIFEST else b"x"
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    with pytest.raises(SightlineError, match=says):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


def test_a_truncated_archive(archive, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(archive.read_bytes()[:-5000])
    with pytest.raises(SightlineError, match="cannot be unpacked"):
        unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    (tmp_path / "b.tar.gz").write_bytes(b"no archive")
    with pytest.raises(SightlineError, match="cannot be unpacked"):
        unpack(tmp_path / "b.tar.gz", tmp_path / "b")


def test_files_of_one_size_differ_in_their_times(tmp_path):
    """Else who builds an image of the next release in the folder of the one before gets the model of the one before."""
    times = []
    for content in (b"one", b"two"):
        (tmp_path / "files").mkdir(exist_ok=True)
        (tmp_path / "files" / "model").write_bytes(content)
        write_archive(tmp_path / "files", tmp_path / "archive.tar.gz")
        with tarfile.open(tmp_path / "archive.tar.gz") as archive:
            times.append(archive.getmember("model").mtime)
    assert times[0] != times[1]
