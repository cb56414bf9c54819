"""What is logged of a request, its id, and what never is."""

import json
import logging
import sys

import pytest
from starlette.testclient import TestClient

from components.serving.app import create_app
from components.serving.exchange import UNKNOWN, client_of
from components.serving.logs import REQUESTS, JsonLines
from components.serving.options import Options
from tests.serving.conftest import wait_for
from tests.serving.test_tokens import OLD, STREAM, bearer, written
from tests.serving.tracking import frame, jpeg, payload, publish

MADE = 32  # letters of an id that the service makes


@pytest.fixture
def asked(tmp_path):
    """A client of a service that logs a line a request and asks for a token."""
    publish(tmp_path)
    tokens = written(tmp_path / "tokens", OLD)
    app = create_app(tmp_path, options=Options(log="json", tokens=tokens))
    with TestClient(app, raise_server_exceptions=False, client=("192.0.2.7", 1)) as client:
        wait_for(lambda: app.state.champion.model)
        yield client


def lines(caplog) -> list[dict]:
    """The lines of requests, as they would be written."""
    written = [JsonLines().format(record) for record in caplog.records if record.name == REQUESTS]
    assert all("\n" not in line for line in written)
    return [json.loads(line) for line in written]


def test_a_line_a_request(asked, caplog):
    caplog.set_level(logging.INFO, REQUESTS)
    body = jpeg(frame(0))
    headers = bearer(OLD) | {"content-type": "image/jpeg", "x-request-id": "trace:7"}
    answer = asked.post("/v1/predict?min_score=0.2", content=body, headers=headers)
    asked.delete("/v1/track/nobody", headers=bearer(OLD))
    asked.get("/secret-path", headers=bearer(OLD))
    asked.get("/v1/predict", headers=bearer("wrong-token"))
    one, two, three, four = lines(caplog)
    tag = answer.headers["x-sightline-model"]
    assert one.pop("time").endswith("Z") and one.pop("ms") > 0
    assert one == {
        "level": "info", "request_id": "trace:7", "method": "POST", "route": "/v1/predict", "status": 200,
        "bytes": len(answer.content), "received": len(body), "model": tag, "client": "192.0.2.7",
    }  # fmt: skip
    assert (two["route"], two["status"], two["reason"]) == ("/v1/track/{session}", 404, "not_found")
    assert (three["route"], three["status"]) == ("unmatched", 404)
    assert (four["route"], four["status"], four["reason"]) == ("/v1/predict", 401, "wrong_token")
    said = json.dumps([one, two, three, four])
    assert OLD not in said and "wrong-token" not in said and "secret-path" not in said and "min_score" not in said


def test_a_stream_is_a_line_when_it_has_ended(asked, caplog):
    caplog.set_level(logging.INFO, REQUESTS)
    with asked.websocket_connect(STREAM, headers=bearer(OLD) | {"x-request-id": "camera-3"}) as stream:
        stream.send_text(json.dumps(payload(0)))
        sent = len(json.dumps(payload(0)))
        assert stream.receive_json()["frame_id"] == 0
    wait_for(lambda: lines(caplog))
    (line,) = lines(caplog)
    assert (line["method"], line["route"], line["status"], line["request_id"]) == ("STREAM", STREAM, 101, "camera-3")
    assert line["received"] == sent and line["bytes"] > 0 and line["model"].startswith("moving/v1@")


def test_a_defect_is_logged_under_the_requests_id(asked, caplog):
    asked.app.state.champion.model.said = None
    headers = bearer(OLD) | {"content-type": "image/jpeg", "x-request-id": "odd-one"}
    answer = asked.post("/v1/predict", content=jpeg(frame(0)), headers=headers)
    assert answer.status_code == 500 and answer.headers["x-request-id"] == "odd-one"
    assert "request odd-one failed" in caplog.text
    (line,) = lines(caplog)
    assert (line["level"], line["reason"], line["request_id"]) == ("error", "defect", "odd-one")


@pytest.mark.parametrize("given", ["a", "A-b_c.d:e=f+g/h@i", "x" * 128, "0195e0a4-6d2c-7d3e-9c1b-2f0a5e8b7c11"])
def test_a_valid_id_is_kept(asked, given):
    for path in ("/healthz", "/nothing", "/v1/predict"):
        assert asked.get(path, headers={"x-request-id": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [[], [""], ["x" * 129], ["a b"], ['a"b'], ["a\tb"], ["é"], ["{}"], ["one", "two"]])
def test_any_other_is_replaced(asked, given):
    answer = asked.get("/healthz", headers=[("x-request-id", one.encode("latin-1")) for one in given])
    assert len(answer.headers["x-request-id"]) == MADE and answer.headers["x-request-id"].isalnum()


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("x" * 100_000, UNKNOWN),
        ("1.2.3.4\nforged", UNKNOWN),
    ],
)
def test_a_client_is_an_address_or_unknown(address, client):
    assert client_of({"client": (address, 1)}) == client
    assert client_of({"client": None}) == client_of({}) == UNKNOWN


def test_whatever_is_said_is_one_line(caplog):
    try:
        raise ValueError("two\nlines")
    except ValueError:
        record = logging.getLogger("x").makeRecord("x", logging.ERROR, "", 1, "a\n%s", ('"b"',), sys.exc_info())
    (line,) = JsonLines().format(record).splitlines()
    said = json.loads(line)
    assert (said["level"], said["logger"], said["message"]) == ("error", "x", 'a\n"b"')
    assert "ValueError: two\nlines" in said["exception"] and "request_id" not in said
