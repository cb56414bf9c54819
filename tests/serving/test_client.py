"""The client against the real service: answers, errors, and what passes."""

import http.server
import io
import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.core.bundle import write_pointer
from components.serving import client as module
from components.serving.client import Client, ServiceError
from tests.deployment.making import RECIPE as TOY
from tests.serving.conftest import Service, wait_for
from tests.serving.conftest import publish as publish_bundle
from tests.serving.tracking import RECIPE, frame, jpeg, publish, write_clip


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A service that finds and follows."""
    root = tmp_path_factory.mktemp("client")
    publish(root / ".sightline" / "deployed" / RECIPE)
    running = Service(root, RECIPE)
    try:
        wait_for(lambda: running.serves(1))
        yield running
    finally:
        running.end()


def test_pictures_are_scored_and_frames_followed(service, tmp_path):
    file = tmp_path / "frame.jpg"
    file.write_bytes(jpeg(frame(0)))
    with Client(service.url) as client:
        assert client.ready()["model"]["version"] == 1
        answer = client.predict(file, str(file), jpeg(frame(3)))
        assert answer["model"]["recipe"] == RECIPE and len(answer["results"]) == 3
        assert answer["results"][0] == answer["results"][1] and answer["results"][0]["boxes"]
        assert client.predict(file, min_score=0.99)["results"][0]["boxes"] == []
        for number in range(4):
            tracks = client.track(jpeg(frame(number)), number, session="a")["tracks"]
            assert [one["track_id"] for one in tracks] == [1, 2]
        assert client.track(jpeg(frame(3)), 3, session="a")["tracks"] == tracks, "sent again, it changes nothing"
        assert client.end("a")
        with pytest.raises(ServiceError) as error:
            client.end("a/b")
        assert error.value.status == 404


def test_a_clip_is_sent_waited_for_and_what_it_made_fetched(service, tmp_path):
    with Client(service.url, timeout_s=60) as client:
        job = client.scored(write_clip(tmp_path / "clip.mp4", list(range(10))), look_s=0.2)
        assert job["state"] == "done" and job["frames"] == 10
        rows = pq.read_table(io.BytesIO(client.fetch(job["results"]["predictions"])))
        assert len(rows) == 10 and client.job(job["job"]) == job
        failed = client.scored(b"no video", look_s=0.2)
        assert failed["state"] == "failed" and failed["error"]
        with pytest.raises(ServiceError, match="404"):
            client.fetch(f"/v1/clips/{job['job']}/secrets")


def test_vectors_explanations_and_a_recipe_of_several(tmp_path, bundles):
    root = tmp_path / ".sightline" / "deployed"
    publish(root / RECIPE)
    write_pointer(root / TOY, publish_bundle(root / TOY, bundles[1], 1))
    running, content = Service(tmp_path, RECIPE, "--recipe", RECIPE, TOY), jpeg(frame(0))
    try:
        wait_for(lambda: running.ready().get("status") == "ready")
        with Client(running.url, recipe=TOY) as client, Client(running.url, recipe=RECIPE) as other:
            assert set(client.ready()["recipes"]) == {RECIPE, TOY}
            answer = client.features(content, jpeg(frame(5)))
            assert {len(vector) for vector in answer["vectors"]} == {answer["dimension"]}
            assert len(answer["vectors"]) == 2 and answer["model"]["recipe"] == TOY
            said = client.explain(content, of="normal", samples=20)
            assert (said["class"], said["samples"]) == ("normal", 20) and said["superpixels"]
            assert other.explain(content)["model"]["recipe"] == RECIPE
            with pytest.raises(ServiceError, match="404.*no vector"):
                other.features(content)
            assert other.track(content, 0)["tracks"] and other.end("default")["frames"] == 1
    finally:
        running.end()


def test_what_is_refused_says_why_and_how_the_log_calls_it(service):
    with Client(service.url.removeprefix("http://")) as client:
        with pytest.raises(ServiceError, match="400.*remedy") as error:
            client.predict(b"no picture")
        assert error.value.request_id and error.value.remedy
        assert client.ready(), "the connection goes on"
    with pytest.raises(ValueError, match="not the address"):
        Client("ftp://x")


class Busy(http.server.BaseHTTPRequestHandler):
    """Is busy twice, goes away once, then answers; then is no service of ours."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.headers.get("Authorization", ""))
        number = len(self.asked)
        if number == 3:
            self.close_connection = True
            return
        status, body = {1: (429, b"{}"), 2: (503, b"busy"), 4: (200, b'{"status": "ready"}')}.get(number, (502, b"<b>"))
        self.send_response(status)
        self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_what_passes_is_tried_again(monkeypatch):
    monkeypatch.setattr(module.random, "uniform", lambda *_: 0.0)
    Busy.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Client(f"http://127.0.0.1:{server.server_port}", token="secret") as client:
            assert client.ready() == {"status": "ready"} and Busy.asked == ["Bearer secret"] * 4
            with pytest.raises(ServiceError, match="502: <b>") as error:
                client.ready()
            assert error.value.request_id is None and len(Busy.asked) == 5
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(ConnectionError, match="no answer"):
        Client(f"http://127.0.0.1:{server.server_port}", retries=0).ready()


def test_it_is_a_file_of_its_own(tmp_path):
    copied = tmp_path / "client.py"
    copied.write_bytes(Path(module.__file__).read_bytes())
    code = "import json, sys, client; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, '{tmp_path}'); {code}"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert not {"components", "numpy", "httpx"} & set(json.loads(done.stdout))
