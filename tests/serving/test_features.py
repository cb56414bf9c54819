"""Pictures as vectors: those that the features stage would write, and who has none."""

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from components.core.bundle import Pointer, read_bundle, write_manifest, write_pointer
from components.core.media import decode_picture, fit, resize
from components.serving import features
from components.tasks.featurizer import build_featurizer
from tests.deployment import making
from tests.serving.asgi import running
from tests.serving.conftest import publish as publish_bundle
from tests.serving.test_service import encoded
from tests.serving.test_track import in_loop
from tests.serving.tracking import frame, jpeg, publish

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="picture"; filename="a"\r\n\r\n%s\r\n'
    b'--x\r\nContent-Disposition: form-data; name="picture"; filename="b"\r\n\r\n%s\r\n--x--\r\n'
)


@pytest.fixture
def deployed(tmp_path: Path, bundles: dict[int, Path]) -> Path:
    """A classifier, published."""
    folder = tmp_path / making.RECIPE
    write_pointer(folder, publish_bundle(folder, bundles[1], 1))
    return folder


@in_loop
async def test_vectors_are_those_of_the_features_stage(deployed, tmp_path):
    recipe = making.write_params(tmp_path / "workspace")
    featurizer, contents = build_featurizer(recipe.features), [encoded(seed, ".jpg") for seed in (1, 2)]
    async with running(deployed) as service:
        answer = await service.ask(
            "POST", "/v1/features", FORM % tuple(contents), content_type="multipart/form-data; boundary=x"
        )
        bad = await service.ask(
            "POST", "/v1/features", FORM % (contents[0], b"no"), content_type="multipart/form-data; boundary=x"
        )
    assert answer.status == 200 and answer.body["model"]["version"] == 1
    assert answer.headers["x-sightline-model"].startswith("toy/v1@")
    assert answer.body["dimension"] == featurizer.dimension == len(answer.body["vectors"][0])
    scaled = [resize(fit(decode_picture(one), recipe.frames.max_side), *recipe.features.size) for one in contents]
    with torch.inference_mode():
        wanted = featurizer(torch.from_numpy(np.stack(scaled)[:, None]))[:, 0].numpy()
    np.testing.assert_allclose(answer.body["vectors"], wanted, rtol=1e-3, atol=1e-4)
    assert not np.allclose(wanted[0], wanted[1], rtol=0.05), "pictures that differ"
    assert np.array_equal(np.float32(answer.body["vectors"]), answer.body["vectors"]), "float32, to the last digit"
    assert (bad.status, bad.body["error"][:20]) == (400, "picture 2 of 2: not ")


@in_loop
async def test_the_answer_is_written_by_the_thread_that_made_it(deployed, monkeypatch):
    threads, written = [], features.JSONResponse

    def watched(*arguments, **named):
        threads.append(threading.current_thread())
        return written(*arguments, **named)

    monkeypatch.setattr(features, "JSONResponse", watched)
    async with running(deployed) as service:
        answer = await service.ask("POST", "/v1/features", jpeg(frame(0)), content_type="image/jpeg")
    assert answer.status == 200 and [thread.name[:7] for thread in threads] == ["predict"]


@in_loop
async def test_a_detector_has_none(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        answer = await service.ask("POST", "/v1/features", jpeg(frame(0)), content_type="image/jpeg")
    assert answer.status == 404 and "finds boxes" in answer.body["error"] and answer.body["remedy"]


@in_loop
async def test_a_bundle_of_before_says_so_and_scores_as_ever(deployed):
    folder = deployed / "v1"
    graph = onnx.load(folder / "model.onnx")
    (vectors,) = [one for one in graph.graph.output if one.name == "vectors"]
    graph.graph.output.remove(vectors)
    onnx.save(graph, folder / "model.onnx")
    write_manifest(folder, read_bundle(folder, verify=False))
    write_pointer(deployed, Pointer(1, "v1", read_bundle(folder).digest))
    async with running(deployed) as service:
        answer = await service.ask("POST", "/v1/features", jpeg(frame(0)), content_type="image/jpeg")
        assert answer.status == 404 and "deployed anew" in answer.body["remedy"]
        assert (await service.ask("POST", "/v1/predict", jpeg(frame(0)), content_type="image/jpeg")).status == 200
