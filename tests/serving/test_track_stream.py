"""Following over a WebSocket: pictures or JSON in, tracks out, and what is wrong is an answer too."""

import json
import random
from contextlib import contextmanager

import httpx
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from components.serving import app as application
from components.serving import stream as streaming
from components.serving.pictures import Limits
from tests.serving.conftest import Service, wait_for
from tests.serving.tracking import RECIPE, frame, jpeg, payload, publish

STREAM = "/v1/track/stream"
# The head alone of a message of 20,000,001 bytes: with the bytes under way, their end would depend on which of the
# two sides the operating system tells first, and an answer could be lost.
TOO_LARGE = bytes([0x82, 0xFF]) + (20_000_001).to_bytes(8, "big") + bytes(4)


@contextmanager
def client(deployed, limits: Limits = application.LIMITS):
    """A client of the service of what is published in a folder."""
    app = application.create_app(deployed, limits)
    with TestClient(app) as asked:
        wait_for(lambda: app.state.champion.model)
        yield asked


def ids(answer: dict) -> list[int]:
    return [one["track_id"] for one in answer["tracks"]]


def test_pictures_are_counted_and_their_tracks_are_those_of_the_other_way(tmp_path):
    publish(tmp_path)
    with client(tmp_path) as asked, asked.websocket_connect(f"{STREAM}?session=gate") as stream:
        for at in range(12):
            stream.send_bytes(jpeg(frame(at)))
            answer = stream.receive_json()
            other = asked.post("/v1/track", json=payload(at, session="other")).json()
            assert answer == other | {"session": "gate"} and answer["frame_id"] == at
        # JSON on the same connection, of its session or another; then pictures count on
        stream.send_json(payload(14))
        assert ids(stream.receive_json()) == [1, 2]
        stream.send_bytes(jpeg(frame(15)))
        assert stream.receive_json()["frame_id"] == 15
        stream.send_json({"session": "other", "frames": [{"frame_id": 12, "frame_data": payload(12)["frame_data"]}]})
        answer = stream.receive_json()
        assert answer["session"] == "other" and ids(answer["frames"][0]) == [1, 2]


def test_a_named_session_outlives_the_connection_and_one_of_its_own_does_not(tmp_path):
    publish(tmp_path)
    with client(tmp_path) as asked:
        for expected in range(2):
            with asked.websocket_connect(f"{STREAM}?session=gate") as stream:
                stream.send_bytes(jpeg(frame(expected)))
                answer = stream.receive_json()
                assert (answer["frame_id"], answer["begun"]) == (expected, expected == 0)
        assert asked.delete("/v1/track/gate").json() == {"session": "gate", "frames": 2}
        names = set()
        for _ in range(2):
            with asked.websocket_connect(STREAM) as stream:
                stream.send_bytes(jpeg(frame(0)))
                answer = stream.receive_json()
                assert answer["frame_id"] == 0 and ids(answer) == [1, 2]
                names.add(answer["session"])
        assert len(names) == 2, "nobody's but the connection's"
        for name in names:
            wait_for(lambda name=name: asked.delete(f"/v1/track/{name}").status_code == 404)


def test_what_is_malformed_is_answered_and_the_connection_goes_on(tmp_path):
    publish(tmp_path)
    chance = random.Random(3)
    limits = Limits(body_bytes=20_000)
    with client(tmp_path, limits) as asked, asked.websocket_connect(STREAM) as stream:
        wrong = [
            (b"", 400), ("", 400), (b"no picture", 400), ("no JSON", 400), ("[]", 400), ("[" * 5000, 400),
            (jpeg(frame(0))[:200], 400), (bytes(20_001), 413), (" " * 20_001, 413),
            (json.dumps(payload(0, frame_w=1)), 400), (json.dumps(payload(0, session="a b")), 400),
            *((chance.randbytes(chance.randrange(1, 300)), 400) for _ in range(200)),
        ]  # fmt: skip
        for at in range(3):
            for message, status in wrong:
                stream.send_bytes(message) if isinstance(message, bytes) else stream.send_text(message)
                answer = stream.receive_json()
                assert set(answer) == {"error", "remedy", "status"} and answer["status"] == status, answer
                assert answer["error"] and answer["remedy"]
            stream.send_bytes(jpeg(frame(at)))
            answer = stream.receive_json()
            assert (answer["frame_id"], ids(answer)) == (at, [1, 2]), "what was wrong was no frame"
        stream.send_json(payload(1))
        assert stream.receive_json()["status"] == 409
        stream.send_bytes(jpeg(frame(3, scale=1)))
        assert "those before" in stream.receive_json()["error"]


def test_a_defect_is_an_answer_without_its_traceback(tmp_path, caplog):
    publish(tmp_path)
    with client(tmp_path) as asked, asked.websocket_connect(STREAM) as stream:
        model = asked.app.state.champion.model
        follow, model.follow = model.follow, None
        stream.send_bytes(jpeg(frame(0)))
        answer = stream.receive_json()
        assert answer["status"] == 500 and "NoneType" not in json.dumps(answer) and "NoneType" in caplog.text
        model.follow = follow
        stream.send_bytes(jpeg(frame(0)))
        assert ids(stream.receive_json()) == [1, 2]


def closed(stream) -> tuple[dict, int]:
    """(what is said last, the code with which the connection is closed)."""
    said = stream.receive_json()
    with pytest.raises(WebSocketDisconnect) as end:
        stream.receive_json()
    return said, end.value.code


def test_who_has_no_place_or_says_nothing_is_told_and_left(tmp_path, monkeypatch):
    publish(tmp_path)
    monkeypatch.setattr(streaming, "MOST", 1)
    with client(tmp_path) as asked:
        with asked.websocket_connect(f"{STREAM}?session=a%20b") as stream:
            said, code = closed(stream)
            assert said["status"] == 400 and code == streaming.POLICY
        with asked.websocket_connect(STREAM) as first:
            first.send_bytes(jpeg(frame(0)))
            assert ids(first.receive_json()) == [1, 2]
            with asked.websocket_connect(STREAM) as stream:
                said, code = closed(stream)
                assert said["status"] == 503 and code == streaming.LATER
        with asked.websocket_connect(STREAM) as stream:
            stream.send_bytes(jpeg(frame(0)))
            assert ids(stream.receive_json()) == [1, 2], "there is a place again"


def test_one_without_a_message_for_too_long_is_closed(tmp_path, monkeypatch):
    publish(tmp_path)
    monkeypatch.setattr(streaming, "IDLE_S", 0.3)
    with client(tmp_path) as asked, asked.websocket_connect(STREAM) as stream:
        said, code = closed(stream)
        assert said["status"] == 408 and code == streaming.QUIET


def test_a_model_that_does_not_track_says_so(tmp_path):
    publish(tmp_path, tracker=None)
    with client(tmp_path) as asked, asked.websocket_connect(STREAM) as stream:
        stream.send_bytes(jpeg(frame(0)))
        answer = stream.receive_json()
        assert answer["status"] == 404 and "does not track" in answer["error"]


def test_the_service_as_a_process_follows_ends_too_large_messages_and_ends_itself(tmp_path):
    deployed = tmp_path / ".sightline" / "deployed" / RECIPE
    publish(deployed)
    service = Service(tmp_path, RECIPE)
    try:
        wait_for(lambda: service.serves(1))
        url = service.url.replace("http", "ws") + STREAM
        with connect(url, open_timeout=60) as stream:
            for at in range(5):
                stream.send(jpeg(frame(at)))
                assert ids(json.loads(stream.recv())) == [1, 2]
            stream.send(bytes(10_000_001))
            assert json.loads(stream.recv())["status"] == 413
            stream.send(jpeg(frame(5)))
            assert json.loads(stream.recv())["frame_id"] == 5
            with pytest.raises(ConnectionClosed) as end:
                stream.socket.sendall(TOO_LARGE)
                stream.recv()
            assert end.value.rcvd.code == 1009
        answer = httpx.post(f"{service.url}/v1/track", json=payload(0), timeout=30)
        assert answer.status_code == 200 and ids(answer.json()) == [1, 2]
        page = httpx.get(service.url, timeout=30).text
        assert "POST /v1/track" in page
        with connect(url, open_timeout=60) as stream:
            stream.send(jpeg(frame(0)))
            assert ids(json.loads(stream.recv())) == [1, 2]
            assert service.end() == 0
            with pytest.raises(ConnectionClosed) as end:
                stream.recv()
            assert end.value.rcvd.code == 1012
    finally:
        if service.process.poll() is None:
            service.end()
