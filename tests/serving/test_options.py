"""How a service is run: its command line, and a process that is run so."""

import argparse
import json
import os
import socket
import subprocess
import sys

import httpx
import pytest
from starlette.testclient import TestClient
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from components.core.errors import SightlineError
from components.serving.app import create_app
from components.serving.options import TOKENS, Options, add_options, options_of
from flows.services import serving_command
from tests.serving.conftest import ROOT, Service, wait_for
from tests.serving.test_tokens import NEW, OLD, STREAM, bearer, written
from tests.serving.tracking import RECIPE, frame, jpeg, payload, publish

ORIGIN = "https://review.example.com"


def parsed(*words: str) -> Options:
    parser = argparse.ArgumentParser()
    for name in ("--recipe", "--host", "--port"):
        parser.add_argument(name)
    add_options(parser)
    return options_of(parser.parse_args(words))


def test_without_a_word_nothing_is_limited_but_time(monkeypatch):
    monkeypatch.delenv(TOKENS, raising=False)
    assert parsed() == Options() == Options("text", None, None, 30.0, ())


def test_what_is_said_holds_and_the_environment_names_the_tokens(monkeypatch, tmp_path):
    monkeypatch.setenv(TOKENS, str(tmp_path / "env"))
    assert parsed().tokens == tmp_path / "env"
    given = parsed("--token-file", str(tmp_path / "own"), "--rate", ".5", "--timeout", "2", "--log", "json")
    assert given == Options("json", tmp_path / "own", 0.5, 2.0)
    assert parsed("--cors", ORIGIN, "--cors", "http://localhost:3000").cors == (ORIGIN, "http://localhost:3000")
    monkeypatch.setenv(TOKENS, "")
    assert parsed().tokens is None


def assert_in_help(options) -> None:
    """`sightline serve --help` has all of these."""
    shown = subprocess.run(
        [sys.executable, "-m", "flows.cli", "serve", "--help"], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"COLUMNS": "200", "NO_COLOR": "1"},
    ).stdout  # fmt: skip
    assert all(f"--{name.replace('_', '-')}" in shown for name in options)


def test_what_sightline_serve_passes_on_is_understood(tmp_path):
    given = {"log": "json", "token_file": tmp_path / "t", "rate": 3.0, "timeout": None, "cors": [ORIGIN, "*"]}
    given |= {"batch": 4, "batch_wait": 2.5, "explain": 20, "explain_timeout": 9.0}
    command = serving_command("toy", "::1", 80, **given)
    assert parsed(*command[3:]) == Options("json", tmp_path / "t", 3.0, 30.0, (ORIGIN, "*"), None, 4, 0.0025, 20, 9.0)
    assert_in_help(given)


@pytest.mark.parametrize(
    "words",
    [
        *(["--rate", value] for value in ("0", "-1", "nan", "inf")),
        *(["--timeout", value] for value in ("0", "-1", "nan", "inf")),
        *(
            ["--cors", value]
            for value in ("", "example.com", "https://a.example/path", "https://a.example/", "ftp://a")
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(words):
    with pytest.raises(SightlineError) as refused:
        parsed(*words)
    assert words[0] in refused.value.problem and "for example" in refused.value.remedy


def test_pages_of_other_origins_may_ask_only_where_they_are_named(tmp_path):
    tokens = written(tmp_path / "tokens", OLD)
    preflight = {"origin": ORIGIN, "access-control-request-method": "POST"}
    wanted = preflight | {"access-control-request-headers": "authorization,content-type,x-sightline-session"}
    with TestClient(create_app(tmp_path)) as asked:
        assert "access-control-allow-origin" not in asked.get("/healthz", headers=preflight).headers
        assert asked.options("/v1/predict", headers=wanted).status_code == 405
    with TestClient(create_app(tmp_path, options=Options(cors=(ORIGIN,), tokens=tokens))) as asked:
        allowed = asked.options("/v1/predict", headers=wanted)
        assert allowed.status_code == 200 and allowed.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in allowed.headers["access-control-allow-headers"].lower()
        refused = asked.post("/v1/predict", headers={"origin": ORIGIN})
        assert refused.status_code == 401 and refused.headers["access-control-allow-origin"] == ORIGIN
        assert "X-Request-Id" in refused.headers["access-control-expose-headers"]
        other = asked.get("/healthz", headers={"origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_a_service_with_tokens_rate_and_json_logs(tmp_path):
    """One process, asked as others would ask it: what it answers, what it logs, and what never stands in its log."""
    publish(tmp_path / ".sightline" / "deployed" / RECIPE)
    tokens = written(tmp_path / "tokens", f"{OLD}\n")
    options = ("--token-file", str(tokens), "--rate", "1000", "--timeout", "300", "--log", "json", "--cors", ORIGIN)
    service = Service(tmp_path, RECIPE, *options)
    try:
        wait_for(lambda: service.serves(1))
        mine, picture = bearer(OLD), jpeg(frame(0))
        with httpx.Client(base_url=service.url, timeout=60) as asked:
            assert asked.post("/v1/track", json=payload(0)).status_code == 401
            answer = asked.post("/v1/track", json=payload(0), headers=mine | {"x-request-id": "first"})
            assert answer.status_code == 200 and answer.headers["x-request-id"] == "first"
            assert asked.get("/metrics").status_code == 401
            scraped = asked.get("/metrics", headers=mine).text
            assert (
                'sightline_requests_total{method="POST",recipe="moving",route="/v1/track",status="200"} 1.0' in scraped
            )
            assert f'sightline_model_info{{digest="{service.ready()["model"]["digest"]}"' in scraped
            written(tokens, f"{NEW}\n")
            wait_for(lambda: asked.get("/v2", headers=bearer(NEW)).status_code == 200)
            assert asked.get("/v2", headers=mine).status_code == 401
        url = service.url.replace("http", "ws") + STREAM
        with pytest.raises(InvalidStatus) as denied, connect(url):
            pass
        assert denied.value.response.status_code == 401
        assert denied.value.response.headers["www-authenticate"].startswith("Bearer")
        with connect(url, additional_headers=bearer(NEW)) as stream:
            assert stream.response.headers["x-request-id"]
            stream.send(picture)
            assert json.loads(stream.recv())["frame_id"] == 0
        assert refused_at_once(service.url) == 401
        assert service.end() == 0
    finally:
        if service.process.poll() is None:
            service.end()
    text = service.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["level"] for line in lines} <= {"info", "warning", "error"} and all(line["time"] for line in lines)
    said = [line["message"] for line in lines if "message" in line]
    assert any("listening on" in line for line in said) and said[-1] == "ended"
    (first,) = [line for line in lines if line.get("request_id") == "first"]
    assert (first["route"], first["status"], first["client"]) == ("/v1/track", 200, "127.0.0.1")
    assert {line["route"] for line in lines if line.get("method") == "STREAM"} == {STREAM}
    assert OLD not in text and NEW not in text


def refused_at_once(url: str) -> int:
    """The status of a request whose body of five megabytes never comes."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/png\r\n")
        connection.sendall(b"Content-Length: 5000000\r\n\r\n")
        return int(connection.recv(65536).split()[1])


@pytest.mark.parametrize("how", ["option", "environment"])
def test_a_token_file_that_is_open_to_others_stops_the_start(tmp_path, how):
    file = written(tmp_path / "tokens", OLD, 0o644)
    command = [sys.executable, "-m", "components.serving", "--recipe", RECIPE, "--port", "0"]
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(tmp_path)}
    if how == "option":
        command += ["--token-file", str(file)]
    else:
        environment |= {TOKENS: str(file)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and f"chmod 600 {file}" in done.stderr and str(file) in done.stderr
    assert OLD not in done.stderr and "Traceback" not in done.stderr
