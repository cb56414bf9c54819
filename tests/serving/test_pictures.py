import cv2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from components.core.bundle import write_pointer
from components.serving import app as application
from components.serving.pictures import Limits, Refusal, decode
from tests.deployment.making import picture
from tests.serving.conftest import publish, wait_for

JPEG = cv2.imencode(".jpg", picture(1))[1].tobytes()
PNG = cv2.imencode(".png", picture(1))[1].tobytes()


def decoded(content: bytes, limits: Limits) -> tuple[int, int] | int:
    """The size, or the status of a refusal; anything else is a defect."""
    try:
        pixels = decode(content, limits)
    except Refusal as refusal:
        assert refusal.error and refusal.remedy
        return refusal.status
    assert pixels.dtype == "uint8" and pixels.shape[2] == 3
    return pixels.shape[:2]


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_not_a_crash(content):
    assert decoded(content, Limits()) in (400, 415)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([JPEG, PNG]), st.data())
def test_any_damage_is_refused_or_decoded_within_the_limit(content, data):
    """Bytes changed anywhere, the header's size too: never more pixels than allowed, never another exception."""
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    limits = Limits(pixels=48 * 64 * 4)
    found = decoded(bytes(damaged), limits)
    assert found in (400, 413, 415) or found[0] * found[1] <= limits.pixels


def test_the_limit_on_pixels_is_the_last_size_allowed():
    assert decoded(PNG, Limits(pixels=48 * 64)) == (48, 64)
    assert decoded(PNG, Limits(pixels=48 * 64 - 1)) == 413


def test_the_limit_holds_before_the_decoder(monkeypatch):
    def never(content):
        raise AssertionError("decoded before the size was looked at")

    monkeypatch.setattr("components.serving.pictures.decode_picture", never)
    with pytest.raises(Refusal, match="pixels are more than 10"):
        decode(PNG, Limits(pixels=10))


def test_too_many_waiting_are_told_to_come_back(tmp_path, bundles, monkeypatch):
    monkeypatch.setattr(application, "WAITING", -application.WORKERS)
    write_pointer(tmp_path, publish(tmp_path, bundles[1], 1))
    app = application.create_app(tmp_path)
    with TestClient(app) as client:
        wait_for(lambda: app.state.champion.model)
        answer = client.post("/v1/predict", content=PNG, headers={"content-type": "image/png"})
        assert answer.status_code == 429 and "too many requests" in answer.json()["error"]
        assert answer.headers["retry-after"] == "1"


def test_a_defect_is_a_plain_answer_without_its_traceback(tmp_path, bundles, monkeypatch):
    def broken(*_):
        raise RuntimeError("secret detail")

    write_pointer(tmp_path, publish(tmp_path, bundles[1], 1))
    monkeypatch.setattr("components.serving.predict.score", broken)
    app = application.create_app(tmp_path)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_for(lambda: app.state.champion.model)
        answer = client.post("/v1/predict", content=PNG, headers={"content-type": "image/png"})
    assert answer.status_code == 500 and "secret" not in answer.text
    assert answer.headers["x-sightline-model"].startswith("toy/v1@")
