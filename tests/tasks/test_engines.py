"""Engines: each gives torch's float32 vectors, the choice between them is kept, and what cannot be is said."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from components.core.errors import SightlineError, UsageError
from components.core.recipe import Features
from components.tasks import engines
from components.tasks.backbones import KINDS
from components.tasks.engines import Plan, choice, graph, runtimes
from components.tasks.engines.choice import before, largest_distance, planned, probe_pictures
from components.tasks.featurizer import build_featurizer, featurizer_digest

SHIPPED = Features(size=(96, 128))
TINY = {"vit_small_dinov2": (56, 70), "inception_v3": (75, 80)}
PLAIN = ("torch", "onnxruntime", "openvino")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A work cache that the tests share: a graph is exported once."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch, exported):
    """A workspace and a user's cache of its own, and one thread."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / ".sightline").mkdir()
    (tmp_path / ".sightline" / "work").symlink_to(exported)
    torch.set_num_threads(1)


def loaded(params: Features, engine: str, precision: str = "float32", threads: int = 1):
    """(the engine, its plan)."""
    plan = graph.ready(
        choice._plan(params.model_copy(update={"precision": precision}), engine, featurizer_digest(params))
    )
    plan = Plan.parse(plan.text())  # as a worker gets it
    return engines.load(plan, threads), plan


def distance(params: Features, engine: str, precision: str = "float32", threads: int = 1, frames: int = 5) -> float:
    """The largest cosine distance, part by part, of an engine's vectors from the featurizer's own in float32."""
    model = build_featurizer(params)
    pictures = probe_pictures(params.size, frames)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(pictures)[None])[0].numpy()
    run, plan = loaded(params, engine, precision, threads)
    assert plan.dimension == model.dimension
    vectors = run(pictures, np.arange(frames), before(frames))
    assert vectors.dtype == np.float32 and vectors.shape == wanted.shape
    return largest_distance(vectors, wanted, model.places)


@pytest.mark.parametrize("engine", PLAIN)
def test_every_engine_gives_torchs_float32_vectors(engine):
    assert distance(SHIPPED, engine) < 1e-6
    assert distance(SHIPPED.model_copy(update={"parts": ("motion", "max")}), engine) < 1e-6
    assert distance(SHIPPED.model_copy(update={"parts": ("motion",)}), engine) < 1e-6


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_backbone_runs_in_onnx_runtime_and_openvino(name):
    size = TINY.get(name, (64, 80))
    params = Features(backbone=name, weights="none", size=size, parts=("mean", "max"))
    for engine in ("onnxruntime", "openvino"):
        assert distance(params, engine, frames=2) < 1e-3


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_bfloat16_is_near_and_is_not_float32(engine):
    """8 bits of mantissa: 0.4 % a number, which averages out over a vector; choice.SOUND allows 1e-2."""
    try:
        apart = distance(SHIPPED, engine, "bfloat16")
    except SightlineError as error:
        assert "bfloat16 arithmetic" in error.remedy  # a CPU without it says so, and is not given float32 instead
        return
    assert 1e-8 < apart < 1e-3


def test_onnx_runtime_has_no_bfloat16():
    with pytest.raises(UsageError, match="bfloat16"):
        planned(SHIPPED.model_copy(update={"engine": "onnxruntime", "precision": "bfloat16"}), 1)


@pytest.mark.slow
def test_compiled_gives_torchs_float32_vectors_and_fills_up_short_batches(monkeypatch):
    """torch.compile takes half a minute for the smallest backbone."""
    params = SHIPPED.model_copy(update={"parts": ("mean",), "batch_size": 4})
    assert distance(params, "compiled", frames=3) < 1e-6
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(SightlineError, match="no C\\+\\+ compiler"):
        loaded(params, "compiled")


@pytest.mark.parametrize("engine", PLAIN)
def test_batches_do_not_show_and_threads_share_the_work(engine):
    run, _ = loaded(SHIPPED, engine)
    pictures = probe_pictures(SHIPPED.size, 7)
    against = before(7)
    whole = run(pictures, np.arange(7), against)
    np.testing.assert_array_equal(whole, run(pictures, np.arange(7), against))
    halves = np.concatenate([run(pictures, rows, against[rows]) for rows in (np.arange(4), np.arange(4, 7))])
    np.testing.assert_allclose(halves, whole, rtol=1e-3, atol=1e-4)
    assert distance(SHIPPED, engine, threads=2) < 1e-6
    torch.set_num_threads(1)


def record(root) -> dict:
    (file,) = (root / ".sightline" / "engines").glob("*.json")
    return json.loads(file.read_text())


def test_little_work_is_not_measured_and_the_choice_stays(tmp_path, monkeypatch):
    first = planned(SHIPPED, 1000)
    assert record(tmp_path)["measured"] is False and list(record(tmp_path)["probes"]) == [first.params.engine]
    assert first.params.engine == "onnxruntime" and first.name.endswith(" float32")
    monkeypatch.setattr(choice, "_found", lambda *_: pytest.fail("chosen a second time"))
    assert planned(SHIPPED, 10**9) == first


def test_much_work_is_measured_and_the_fastest_taken(tmp_path):
    chosen = planned(SHIPPED, 10**9)
    found = record(tmp_path)
    assert found["measured"] is True and set(found["probes"]) == set(PLAIN)
    assert (
        found["engine"]
        == chosen.params.engine
        == choice.fastest({name: probe["rate"] for name, probe in found["probes"].items()})
    )
    assert all(probe["distance"] < 1e-6 for probe in found["probes"].values())


def test_a_tie_goes_to_the_engine_preferred():
    assert choice.fastest({"a": 10.0, "b": 10.2, "c": 9.0}) == "a"
    assert choice.fastest({"a": 10.0, "b": 10.5, "c": 10.6}) == "b"


def test_an_unsound_engine_is_passed_over_by_auto_and_an_error_by_name(tmp_path, monkeypatch, capsys):
    sound = runtimes.onnx_runtime
    monkeypatch.setattr(runtimes, "onnx_runtime", lambda *given: lambda *arrays: sound(*given)(*arrays)[:, ::-1])
    with pytest.raises(SightlineError, match="cosine distance"):
        planned(SHIPPED.model_copy(update={"engine": "onnxruntime", "parts": ("mean",)}), 1)
    assert not list((tmp_path / ".sightline" / "engines").glob("*.json"))
    assert planned(SHIPPED.model_copy(update={"parts": ("mean",)}), 1).params.engine == "openvino"
    assert "onnxruntime" in capsys.readouterr().err


def test_a_worker_that_runs_a_graph_imports_no_torch():
    """It takes longer than the rest of a worker's start."""
    _, plan = loaded(SHIPPED, "onnxruntime")
    code = f"import sys; from components.features.extract import _engine; _engine({plan.text()!r}, 1)"
    code += "; assert 'onnxruntime' in sys.modules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_engine_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(runtimes, "installed", lambda name: name not in ("openvino",))
    with pytest.raises(SightlineError, match="openvino or onnx is not installed"):
        planned(SHIPPED.model_copy(update={"engine": "openvino"}), 1)


def test_distance_sees_what_a_mean_would_hide():
    parts = {"mean": slice(0, 3), "motion": slice(3, 5)}
    wanted = np.array([[100.0, 100, 100, 1, 0]], np.float32)
    turned = wanted[:, [0, 1, 2, 4, 3]]
    assert largest_distance(wanted, wanted, parts) < 1e-12
    assert largest_distance(turned, wanted, parts) == 1.0
    assert largest_distance(wanted * np.nan, wanted, parts) == float("inf")
    assert largest_distance(wanted * 0, wanted, parts) == 1.0 and largest_distance(wanted * 0, wanted * 0, parts) == 0
