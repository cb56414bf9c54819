"""LIME on request: what the service says a score hangs on, and that it costs nobody else."""

import asyncio
import base64
import os
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote, unquote

import cv2
import numpy as np
import pytest

from components.core import lime
from components.core.bundle import write_pointer
from components.core.errors import SightlineError
from components.core.media import decode_picture
from components.serving import explain
from components.serving.explain import BATCH, COMPACTNESS, PENALTY, SUPERPIXELS, WIDTH, explained
from components.serving.explain_routes import WAITING
from components.serving.options import Options
from tests.deployment import making
from tests.serving.asgi import Answer, Service, running
from tests.serving.conftest import publish as publish_bundle
from tests.serving.test_options import parsed
from tests.serving.test_service import encoded
from tests.serving.test_track import in_loop
from tests.serving.tracking import frame, jpeg, publish

PICTURE = encoded(3, ".jpg")
BLOCK = (slice(24, 48), slice(72, 100))  # rows, columns


class Bright:
    """A model whose second class is the more probable the brighter BLOCK is; takes pictures of half the size."""

    bundle = SimpleNamespace(classes=("dark", "bright"))
    identity = {"recipe": "bright", "version": 1, "digest": "0"}

    def prepare(self, rgb: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(rgb[::2, ::2])

    def predict(self, pictures: list[np.ndarray]) -> np.ndarray:
        second = np.stack(pictures)[(slice(None), *BLOCK)].mean((1, 2, 3)) / 255
        return np.stack([1 - second, second], 1).astype(np.float32)

    def called(self, probabilities: np.ndarray) -> list[dict]:
        return [{"prediction": self.bundle.classes[int(row.argmax())]} for row in probabilities]


def bright() -> np.ndarray:
    """What such a model sees, in twice the size: a bright block on dark noise."""
    rgb = np.random.default_rng(0).integers(0, 40, (192, 256, 3), dtype=np.uint8)
    rgb[2 * BLOCK[0].start : 2 * BLOCK[0].stop, 2 * BLOCK[1].start : 2 * BLOCK[1].stop] = 240
    return rgb


def test_the_weight_lies_on_what_the_score_hangs_on():
    one = explained(Bright(), bright(), None, 200, lambda: None)
    said = one.plain()
    assert (said["class"], one.kind, said["samples"]) == ("bright", 1, 200) and said["probability"] > 0.8
    first, last = said["superpixels"][0], said["superpixels"][-1]
    x, y = first["x"] + first["w"] / 2, first["y"] + first["h"] / 2  # in pixels of the picture as sent
    assert 144 <= x <= 200 and 48 <= y <= 96 and first["weight"] > 0.05 > abs(last["weight"])
    weights = [row["weight"] for row in said["superpixels"]]
    assert weights == sorted(weights, reverse=True) and sum(
        row["area"] for row in said["superpixels"]
    ) == pytest.approx(1)
    labels = read(said["labels"])
    assert labels.shape == (96, 128) and set(np.unique(labels)) == set(range(len(weights)))
    assert (labels == 0).mean() == pytest.approx(first["area"])
    heat = read(said["heat"]).astype(float)
    assert heat.shape == (96, 128) and heat[BLOCK].mean() > 3 * heat.mean()
    against = explained(Bright(), bright(), 0, 200, lambda: None).plain()
    assert against["class"] == "dark" and against["superpixels"][-1]["weight"] < -0.05


def test_a_picture_of_one_colour_is_explained_by_nothing():
    one = explained(Bright(), np.full((192, 256, 3), 200, np.uint8), 1, 20, lambda: None)
    assert all(abs(row["weight"]) < 1e-6 for row in one.plain()["superpixels"]) and not one.map().any()
    assert decode_picture(one.overlay()).shape == (192, 256, 3)


def read(text: str) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def deployed(tmp_path: Path, bundles: dict[int, Path]) -> Path:
    """A classifier, published."""
    folder = tmp_path / making.RECIPE
    write_pointer(folder, publish_bundle(folder, bundles[1], 1))
    return folder


async def asked(service: Service, query: str = "", content: bytes = PICTURE, **headers: str) -> Answer:
    headers = {"content_type": "image/jpeg"} | headers
    return await service.ask("POST", f"/v1/explain{query}", content, **headers)


@in_loop
async def test_the_served_model_is_explained_as_lime_explains_it(deployed):
    async with running(deployed) as service:
        answer = await asked(service, "?samples=40&class=suspicious")
        again = await asked(service, "?samples=40&class=suspicious")
        called = await asked(service, "?samples=40")
        scored = await service.ask("POST", "/v1/predict", PICTURE, content_type="image/jpeg")
        model = service.app.state.champion.model
    assert answer.status == 200 and answer.body == again.body
    small = model.prepare(decode_picture(PICTURE))
    labels = lime.superpixels(small, SUPERPIXELS, COMPACTNESS)
    on = lime.draws(int(labels.max()) + 1, 40, np.random.default_rng(0))
    found = lime.explain(small, labels, on, lambda many: model.predict(list(many))[:, 1], WIDTH, PENALTY, BATCH)
    given = [row["weight"] for row in answer.body["superpixels"]]
    np.testing.assert_allclose(given, np.sort(found.weights)[::-1], atol=1e-6)
    assert answer.body["model"] == scored.body["model"] and answer.body["samples"] == 40
    (result,) = scored.body["results"]
    assert answer.body["probability"] == pytest.approx(result["probabilities"]["suspicious"], abs=1e-5)
    assert called.body["class"] == called.headers["x-sightline-class"] == result["prediction"]


@in_loop
async def test_as_a_picture_it_has_the_size_that_was_sent(deployed):
    async with running(deployed) as service:
        answer = await asked(service, "?samples=10", accept="image/png")
        assert answer.status == 200 and answer.headers["content-type"] == "image/png"
        assert answer.headers["x-sightline-class"] in ("normal", "suspicious")
        assert answer.headers["x-sightline-model"].startswith("toy/v1@")


def test_the_overlay_is_the_picture_and_brighter_where_it_is_hot():
    rgb = decode_picture(explained(Bright(), bright(), 1, 100, lambda: None).overlay())
    assert rgb.shape == (192, 256, 3)
    grown = rgb.astype(int) - bright()
    assert np.abs(grown[:20, :20]).mean() < np.abs(grown[60:84, 160:180]).mean()


@pytest.mark.parametrize(
    ("query", "content", "status", "says"),
    [
        ("?class=cat", PICTURE, 400, "class 'cat' is not known"),
        ("?samples=9", PICTURE, 400, "not one number from 10 to 50"),
        ("?samples=51", PICTURE, 400, "not one number from 10 to 50"),
        ("?samples=ten", PICTURE, 400, "samples=ten"),
        ("?samples=10&samples=20", PICTURE, 400, "samples=10,20"),
        ("", b"none", 400, "not a picture"),
    ],
)
@in_loop
async def test_what_is_refused_and_why(deployed, query, content, status, says):
    async with running(deployed, options=Options(explain=50)) as service:
        answer = await asked(service, query, content)
    assert answer.status == status and says in answer.body["error"] and answer.body["remedy"]


@in_loop
async def test_a_service_that_explains_nothing_says_so(deployed):
    async with running(deployed, options=Options(explain=0)) as service:
        answer = await asked(service)
    assert answer.status == 404 and "--explain" in answer.body["remedy"]


@in_loop
async def test_others_are_answered_while_one_is_explained_and_few_may_wait(tmp_path, monkeypatch):
    publish(tmp_path)
    began, go, priorities = threading.Event(), threading.Event(), []
    own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def held(*arguments):
        priorities.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        began.set()
        assert go.wait(60)
        return explained(*arguments)

    monkeypatch.setattr(explain, "explained", held)
    content = jpeg(frame(0))
    async with running(tmp_path) as service:
        first = [asyncio.create_task(asked(service, "?samples=10", content)) for _ in range(1 + WAITING)]
        await asyncio.to_thread(began.wait, 60)
        full = await asked(service, "?samples=10", content)
        assert full.status == 429 and full.headers["retry-after"]
        scored = await service.ask("POST", "/v1/predict", content, content_type="image/jpeg")
        assert scored.status == 200 and not any(task.done() for task in first)
        go.set()
        answers = await asyncio.gather(*first)
    assert {answer.status for answer in answers} == {200} and set(priorities) == {19}
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == own, "of that thread alone"


@in_loop
async def test_it_has_a_time_of_its_own_and_ends_when_nobody_waits(deployed, monkeypatch):
    passes = []

    async with running(deployed, options=Options(timeout_s=300, explain_s=0.5)) as service:
        model = service.app.state.champion.model
        predict, ended, slow = model.predict, threading.Event(), threading.Event()

        def slowly(pictures):
            passes.append(len(pictures))
            slow.wait(0.2)  # never set
            return predict(pictures)

        def watched(*arguments):
            try:
                return explained(*arguments)
            finally:
                ended.set()

        monkeypatch.setattr(model, "predict", slowly)
        monkeypatch.setattr(explain, "explained", watched)
        answer = await asked(service, "?samples=300")
        assert answer.status == 504 and "within 0.5 s" in answer.body["error"]
        assert await asyncio.to_thread(ended.wait, 60) and sum(passes) < 300, "the rest was left out"


@in_loop
async def test_it_ends_when_the_client_has_gone(deployed, monkeypatch):
    passes, began, gone, never = [], threading.Event(), asyncio.Event(), threading.Event()
    async with running(deployed, options=Options(explain_s=300)) as service:
        model = service.app.state.champion.model
        predict = model.predict

        def slowly(pictures):
            passes.append(len(pictures))
            began.set()
            never.wait(0.2)
            return predict(pictures)

        monkeypatch.setattr(model, "predict", slowly)
        first = asyncio.create_task(service.ask("POST", "/v1/explain", PICTURE, gone=gone, content_type="image/jpeg"))
        await asyncio.to_thread(began.wait, 60)
        gone.set()
        assert (await first).body["error"] == "the client went away"
        monkeypatch.setattr(model, "predict", predict)
        assert (await asked(service, "?samples=10")).status == 200, "its place is free"
        assert sum(passes) < 300, "the rest was left out"


@in_loop
async def test_the_class_stands_in_the_header_whatever_it_is_called(deployed):
    async with running(deployed) as service:
        model = service.app.state.champion.model
        model.bundle = replace(model.bundle, classes=("normal", "снег 100%"), positive="снег 100%")
        answer = await asked(service, f"?samples=10&class={quote('снег 100%')}")
    assert answer.status == 200 and answer.body["class"] == "снег 100%"
    assert unquote(answer.headers["x-sightline-class"]) == "снег 100%"


@pytest.mark.parametrize("words", [("--explain", "9"), ("--explain", "-1"), ("--explain-timeout", "0")])
def test_options_that_cannot_be_are_refused(words):
    with pytest.raises(SightlineError) as refusal:
        parsed(*words)
    assert words[0] in refusal.value.problem and "for example" in refusal.value.remedy
