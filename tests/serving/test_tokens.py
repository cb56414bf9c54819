"""Who may ask: the token file, and the service that goes by it."""

import os
from pathlib import Path

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from components.core.errors import SightlineError
from components.serving.app import create_app
from components.serving.options import Options
from components.serving.tokens import LOOK_S, Tokens
from tests.serving.conftest import wait_for
from tests.serving.tracking import frame, jpeg, payload, publish

OLD, NEW = "old-" + "a" * 32, "new-" + "b" * 32
STREAM = "/v1/track/stream"


def written(file: Path, text: str, mode: int = 0o600) -> Path:
    """The file, replaced as a whole."""
    made = file.with_suffix(".new")
    made.write_text(text)
    made.chmod(mode)
    os.replace(made, file)
    return file


def bearer(token: str, scheme: str = "Bearer") -> dict[str, str]:
    return {"authorization": f"{scheme} {token}"}


@pytest.fixture
def asked(tmp_path):
    """A client of a service that asks for tokens."""
    publish(tmp_path)
    file = written(tmp_path / "tokens", f"# cameras\n\n  {OLD}  \n{NEW}\n")
    app = create_app(tmp_path, options=Options(tokens=file))
    with TestClient(app) as client:
        wait_for(lambda: app.state.champion.model)
        yield client


@pytest.mark.parametrize(
    ("text", "mode", "says"),
    [
        ("", 0o600, "holds no token"),
        ("# nobody yet\n\n", 0o600, "holds no token"),
        ("secret\n", 0o604, "other users may read or change"),
        ("secret\n", 0o620, "other users may read or change"),
        ("fine\nsecret secret\n", 0o600, "line 2: is no token"),
        ("sécret\n", 0o600, "line 1: is no token"),
        ("a\n" * 40_000, 0o600, "larger than"),
    ],
)
def test_files_that_are_refused_and_why(tmp_path, text, mode, says):
    file = written(tmp_path / "tokens", text, mode)
    with pytest.raises(SightlineError) as refused:
        Tokens(file)
    assert says in refused.value.problem and refused.value.remedy and str(file) in refused.value.problem
    assert "secret" not in str(refused.value), "no error repeats what the file says"


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path):
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "bytes").chmod(0o600)
    for name in ("none", "bytes", "."):
        with pytest.raises(SightlineError, match="cannot be read as tokens"):
            Tokens(tmp_path / name)


def test_a_group_may_read_it_as_mounted_secrets_are(tmp_path):
    assert Tokens(written(tmp_path / "tokens", OLD, 0o440)).known(OLD)


def test_tokens_are_rotated_while_it_runs_and_a_bad_file_changes_nothing(tmp_path, caplog):
    now = 0.0
    file = written(tmp_path / "tokens", OLD)
    tokens = Tokens(file, clock=lambda: now)
    assert tokens.known(OLD) and not tokens.known(NEW)
    written(file, f"{OLD}\n{NEW}")
    assert not tokens.known(NEW), "the file is not looked at for every request"
    now += LOOK_S
    assert tokens.known(OLD) and tokens.known(NEW) and tokens.known(OLD) != tokens.known(NEW)
    for text, mode in ((NEW, 0o644), ("", 0o600)):
        written(file, text, mode)
        now += LOOK_S
        assert tokens.known(OLD), "what is wrong with the file is logged"
    file.unlink()
    now += LOOK_S
    assert tokens.known(OLD) and caplog.text.count("the tokens of before stay") == 3
    written(file, NEW)
    now += LOOK_S
    assert not tokens.known(OLD) and tokens.known(NEW)
    assert OLD not in caplog.text and NEW not in caplog.text


def test_probes_are_open_and_nothing_else_is(asked):
    for path in ("/healthz", "/readyz", "/ping", "/v2/health/live", "/v2/health/ready"):
        assert asked.get(path).status_code == 200, path
    for path in ("/", "/docs", "/openapi.json", "/metrics", "/v2", "/nothing", "/healthz/", "//healthz"):
        answer = asked.get(path, follow_redirects=False)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == 'Bearer realm="sightline"'
        assert set(answer.json()) == {"error", "remedy"} and answer.headers["x-request-id"]
        assert answer.headers["x-sightline-model"].startswith("moving/v1@")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer(""),
        bearer(OLD[:-1]),
        bearer(OLD + "a"),
        bearer(OLD.upper()),
        bearer(OLD, "Basic"),
        bearer("# cameras"),
        bearer(f"{OLD} {NEW}"),
        {"authorization": OLD},
        {"authorization": "Bearer"},
        {"x-authorization": f"Bearer {OLD}"},
    ],
)
def test_who_sends_no_known_token_is_refused(asked, headers):
    answer = asked.post("/v1/predict", content=jpeg(frame(0)), headers=headers)
    assert answer.status_code == 401 and answer.headers["connection"] == "close"
    wrong = headers.get("authorization", "").lower().startswith("bearer ") and headers["authorization"] != "Bearer "
    assert ("invalid_token" in answer.headers["www-authenticate"]) == wrong


def test_two_headers_are_none(asked):
    answer = asked.get("/metrics", headers=[("authorization", f"Bearer {OLD}"), ("authorization", f"Bearer {NEW}")])
    assert answer.status_code == 401


def test_each_token_may_ask(asked):
    for headers in (bearer(OLD), bearer(NEW), bearer(NEW, "bearer"), bearer(f" {NEW} ")):
        kind = {"content-type": "image/jpeg"}
        assert asked.post("/v1/predict", content=jpeg(frame(0)), headers=headers | kind).status_code == 200
        assert asked.get("/metrics", headers=headers).status_code == 200
    assert asked.post("/v1/track", json=payload(0), headers=bearer(OLD)).status_code == 200


def test_a_stream_is_guarded_too(asked):
    for headers in ({}, bearer("wrong")):
        with pytest.raises(WebSocketDenialResponse) as denied, asked.websocket_connect(STREAM, headers=headers):
            pass
        assert denied.value.status_code == 401 and "www-authenticate" in denied.value.headers
    with asked.websocket_connect(STREAM, headers=bearer(NEW)) as stream:
        stream.send_bytes(jpeg(frame(0)))
        assert stream.receive_json()["frame_id"] == 0


def test_the_document_says_how_to_send_one(asked):
    document = asked.get("/openapi.json", headers=bearer(OLD)).json()
    assert document["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert document["paths"]["/v1/predict"]["post"]["security"] == [{"token": []}]
    assert "security" not in document["paths"]["/healthz"]["get"]
