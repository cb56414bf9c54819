"""A sample of what the service was asked and answered, asked of the whole service."""

import base64
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from components.core import tables
from components.core.bundle import write_pointer
from components.core.errors import SightlineError
from components.core.media import decode_picture, saturation, statistics
from components.serving.app import create_app
from components.serving.backlog import FULL
from components.serving.capture import drawn
from components.serving.options import Capturing, Options
from components.serving.shards import Shards
from flows.services import serving_command
from tests.deployment import making
from tests.serving import tracking
from tests.serving.conftest import ROOT, Service, publish, wait_for
from tests.serving.test_metrics import samples
from tests.serving.test_options import assert_in_help, parsed
from tests.serving.test_service import encoded
from tests.serving.test_tokens import OLD, STREAM, bearer, written
from tests.serving.tracking import frame, jpeg, payload

PICTURE, ID = {"content-type": "image/png"}, "x-request-id"
EVERYTHING = {"megabytes": 100, "share": 1.0}
ONE_SHARD = 16 * 32  # pictures, as many as 16 full requests have


@contextmanager
def asking(deployed: Path, capture: Capturing | None, **options):
    """A client of a service that captures; on leaving, all of it is written."""
    app = create_app(deployed, options=Options(capture=capture, **options))
    with TestClient(app) as client:
        wait_for(lambda: app.state.champion.model)
        yield client


def rows(folder: Path) -> list[dict]:
    """What was captured, by request and place."""
    found = [row for shard in tables.shards(folder) for row in tables.read_shard(shard).to_pylist()]
    return sorted(found, key=lambda row: (row["request_id"], row["place"]))


def form(contents: list[bytes]) -> list[tuple]:
    return [("picture", (f"{at}.png", content, "image/png")) for at, content in enumerate(contents)]


@pytest.fixture
def toy(bundles, tmp_path) -> Path:
    """The published classifier."""
    deployed = tmp_path / ".sightline" / "deployed" / making.RECIPE
    write_pointer(deployed, publish(deployed, bundles[1], 1))
    return deployed


def test_every_way_of_asking_is_captured_alike(toy, tmp_path):
    """One picture, asked for by four protocols: four rows that say the same of it and its answer."""
    content, folder = encoded(3), tmp_path / "captured"
    text = base64.b64encode(content).decode()
    with asking(toy, Capturing(folder, pictures=True, **EVERYTHING)) as asked:
        answer = asked.post("/v1/predict", content=content, headers=PICTURE | {ID: "a"})
        asked.post("/invocations", json={"instances": [text]}, headers={ID: "b"})
        asked.post(f"/endpoints/{making.RECIPE}/invocations", content=content, headers=PICTURE | {ID: "c"})
        tensor = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [text]}
        assert asked.post("/v2/models/toy/infer", json={"inputs": [tensor]}, headers={ID: "d"}).status_code == 200
        assert asked.post("/v1/predict", content=b"no picture", headers=PICTURE | {ID: "e"}).status_code == 400
        assert asked.get("/healthz").status_code == 200
    (result,) = answer.json()["results"]
    rgb, found = decode_picture(content), rows(folder)
    assert [(row["request_id"], row["route"]) for row in found] == [
        ("a", "/v1/predict"), ("b", "/invocations"), ("c", "/endpoints/{endpoint}/invocations"),
        ("d", "/v2/models/{name}/infer"),
    ]  # fmt: skip
    for row in found:
        assert (row["height"], row["width"]) == rgb.shape[:2] and row["place"] == 0 and row["boxes"] is None
        figures = [row[name] for name in ("brightness", "contrast", "sharpness", "saturation")]
        assert figures == pytest.approx([*statistics(rgb), saturation(rgb)], rel=1e-6)
        assert row["prediction"] == result["prediction"] and row["score"] == pytest.approx(result["score"], abs=1e-6)
        assert dict(row["probabilities"]) == pytest.approx(result["probabilities"], abs=1e-6)
        assert row["model"] == answer.headers["x-sightline-model"] and (row["recipe"], row["version"]) == ("toy", 1)
        assert decode_picture(row["jpeg"]).shape == rgb.shape
        assert abs(row["time"].timestamp() - time.time()) < 86_400
    assert len({row["source"] for row in found}) == 1


def test_pixels_and_several_pictures_and_their_boxes(tmp_path):
    """Of a detector: as many boxes as the answer has, whatever it was asked for."""
    tracking.publish(tmp_path / "deployed")
    contents, folder = [jpeg(frame(0, objects)) for objects in ((0,), (0, 1), ())], tmp_path / "captured"
    raw = frame(7, (0, 1, 2))
    with asking(tmp_path / "deployed", Capturing(folder, **EVERYTHING)) as asked:
        answered = asked.post("/v1/predict", files=form(contents), headers={ID: "a"}).json()["results"]
        asked.post("/v1/predict?min_score=0.85", files=form(contents), headers={ID: "b"})
        about = {"name": "pictures", "datatype": "UINT8", "shape": [1, *raw.shape], "data": raw.ravel().tolist()}
        assert asked.post("/v2/models/moving/infer", json={"inputs": [about]}, headers={ID: "c"}).status_code == 200
    found = rows(folder)
    places = [(name, place) for name in "ab" for place in range(3)]
    assert [(row["request_id"], row["place"]) for row in found] == [*places, ("c", 0)]
    assert [row["boxes"] for row in found] == [1, 2, 0, 1, 1, 0, 3]
    assert [row["prediction"] for row in found[:3]] == [one["prediction"] for one in answered]
    assert found[-1]["brightness"] == pytest.approx(statistics(raw)[0], rel=1e-6)
    assert all(row["jpeg"] is None for row in found)


def test_frames_that_are_followed_are_captured_and_a_message_is_a_request(tmp_path):
    tracking.publish(tmp_path / "deployed")
    folder = tmp_path / "captured"
    with asking(tmp_path / "deployed", Capturing(folder, **EVERYTHING)) as asked:
        for at in (0, 1, 1):  # a frame sent again is answered again, but was not looked at again
            assert asked.post("/v1/track", json=payload(at), headers={ID: f"a{at}"}).status_code == 200
        several = {"frames": [payload(at) for at in (1, 2, 3)], "session": "default"}
        for one in several["frames"]:
            del one["batch_size"]
        assert asked.post("/v1/track", json=several, headers={ID: "b"}).status_code == 200
        with asked.websocket_connect(f"{STREAM}?session=gate", headers={ID: "c"}) as stream:
            for at in range(2):
                stream.send_bytes(jpeg(frame(at)))
                assert stream.receive_json()["frame_id"] == at
    found = rows(folder)
    assert [(row["request_id"], row["place"]) for row in found] == [
        ("a0", 0), ("a1", 0), ("b", 1), ("b", 2), ("c", 0), ("c", 0),
    ]  # fmt: skip
    assert {row["route"] for row in found} == {"/v1/track", STREAM}
    assert found[0]["boxes"] == found[3]["boxes"] == 2 and found[0]["prediction"] == "red"
    assert len({row["source"] for row in found[:4]}) == 1 and found[4]["source"] != found[0]["source"]


def test_a_request_is_in_with_all_its_pictures_or_not_at_all(toy, tmp_path):
    names = [f"request-{number}" for number in range(40)]
    wanted = sorted(name for name in names if drawn(name, 0.3))
    assert 0 < len(wanted) < len(names)
    with asking(toy, Capturing(tmp_path / "captured", share=0.3)) as asked:
        for name in names:
            answer = asked.post("/v1/predict", files=form([encoded(1), encoded(2)]), headers={ID: name})
            assert answer.status_code == 200
    assert Counter(row["request_id"] for row in rows(tmp_path / "captured")) == dict.fromkeys(wanted, 2)


def test_messages_of_a_stream_are_drawn_one_by_one(tmp_path):
    tracking.publish(tmp_path / "deployed")
    wanted = [number for number in range(20) if drawn(f"c#{number}", 0.3)]
    with (
        asking(tmp_path / "deployed", Capturing(tmp_path / "captured", share=0.3)) as asked,
        asked.websocket_connect(STREAM, headers={ID: "c"}) as stream,
    ):
        for at in range(20):
            stream.send_bytes(jpeg(frame(at)))
            stream.receive_json()
    assert 0 < len(wanted) < 20 and len(rows(tmp_path / "captured")) == len(wanted)


def test_who_asked_is_a_token_where_there_are_such(toy, tmp_path):
    tokens, folder = written(tmp_path / "tokens", f"{OLD}\nother-token\n"), tmp_path / "captured"
    with asking(toy, Capturing(folder, **EVERYTHING), tokens=tokens) as asked:
        for name, token in (("a", OLD), ("b", OLD), ("c", "other-token")):
            asked.post("/v1/predict", content=encoded(1), headers=PICTURE | bearer(token) | {ID: name})
    first, again, other = [row["source"] for row in rows(folder)]
    assert first == again != other


def test_it_is_counted(toy, tmp_path):
    with asking(toy, Capturing(tmp_path / "captured", **EVERYTHING)) as asked:
        assert samples(asked)["sightline_captured_total",] == 0
        for _ in range(16):
            asked.post("/v1/predict", files=form([encoded(1)] * 32))
        wait_for(lambda: samples(asked)["sightline_captured_total",] == ONE_SHARD)
        assert samples(asked)["sightline_capture_problem",] == 0
    assert len(rows(tmp_path / "captured")) == ONE_SHARD


def test_a_disk_that_does_not_answer_costs_no_request(toy, tmp_path, monkeypatch):
    """The writer waits for somebody at the other end of a pipe; all are answered, and what has no room is counted."""
    pipe, write = tmp_path / "pipe", Shards.write
    os.mkfifo(pipe)

    def stuck(self, mine, model):
        with open(pipe, "wb"):  # returns when somebody reads
            return write(self, mine, model)

    monkeypatch.setattr(Shards, "write", stuck)
    with asking(toy, Capturing(tmp_path / "captured", **EVERYTHING)) as asked:
        for _ in range(60):
            assert asked.post("/v1/predict", files=form([encoded(1)] * 32)).status_code == 200
        found = samples(asked)
        assert found["sightline_capture_dropped_total", ("reason", FULL)] > 0 and not found["sightline_captured_total",]
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        wait_for(lambda: samples(asked)["sightline_captured_total",] >= ONE_SHARD)
    os.close(reader)
    assert len(rows(tmp_path / "captured")) >= ONE_SHARD


def test_nothing_is_captured_unless_asked_for(toy, tmp_path):
    before = set(tmp_path.iterdir())
    with asking(toy, None) as asked:
        assert asked.post("/v1/predict", content=encoded(1), headers=PICTURE).status_code == 200
        assert "capture" not in {thread.name for thread in threading.enumerate()}
        assert samples(asked)["sightline_captured_total",] == 0
    assert set(tmp_path.iterdir()) == before


def test_a_service_that_captures_nothing_does_without_pyarrow(tmp_path):
    asks = (
        "import sys; from pathlib import Path; from components.serving.app import create_app; "
        f"create_app(Path({str(tmp_path)!r})); print('pyarrow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", asks], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def begun(tmp_path: Path, *options: str) -> Service:
    everything = ("--capture", str(tmp_path / "captured"), "--capture-share", "1")
    service = Service(tmp_path, making.RECIPE, *everything, *options)
    wait_for(lambda: service.serves(1))
    return service


def counted(service: Service, name: str) -> float:
    lines = httpx.get(f"{service.url}/metrics", timeout=60).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))


def test_a_process_that_is_asked_to_end_writes_what_it_has(toy, tmp_path):
    service = begun(tmp_path)
    try:
        for name in ("a", "b"):
            httpx.post(f"{service.url}/v1/predict", files=form([encoded(1)] * 3), headers={ID: name}, timeout=60)
    finally:
        assert service.end() == 0
    assert Counter(row["request_id"] for row in rows(tmp_path / "captured")) == {"a": 3, "b": 3}


def test_a_process_that_is_killed_leaves_whole_shards_alone(toy, tmp_path):
    """Twice, while one more is being written if that is seen in time."""
    folder, body = tmp_path / "captured", form([encoded(1, height=24, width=32)] * 32)
    for _ in range(2):
        had = len(list(folder.glob("captured-*")))
        service = begun(tmp_path, "--capture-pictures")

        def ask(url: str = service.url) -> None:
            with suppress(httpx.HTTPError), httpx.Client(timeout=60) as client:
                while True:
                    client.post(f"{url}/v1/predict", files=body)

        clients = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
        for client in clients:
            client.start()
        wait_for(lambda most=had + 1: len(list(folder.glob("captured-*"))) >= most)
        until = time.monotonic() + 10
        while not list(folder.glob(".captured-*")) and time.monotonic() < until:
            pass
        service.process.send_signal(signal.SIGKILL)
        service.process.wait(60)
        for client in clients:
            client.join(60)
        assert len(tables.shards(folder)) > had and rows(folder), "each is read, with its checksums"
    assert not [file for file in folder.iterdir() if not file.name.startswith((".captured-", "captured-"))]


def test_a_full_disk_is_said_once_and_costs_no_request_and_goes_on_when_there_is_room(toy, tmp_path):
    """The kernel refuses the process any file of more than 20 kB, as a full disk would; then it no longer does."""
    service, folder = begun(tmp_path, "--capture-pictures"), tmp_path / "captured"
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (20_000, most))
    try:
        random = np.random.default_rng(0)
        noise = [jpeg(random.integers(0, 255, (48, 64, 3), np.uint8)) for _ in range(32)]
        for _ in range(16):
            answer = httpx.post(f"{service.url}/v1/predict", files=form(noise), timeout=60)
            assert answer.status_code == 200 and len(answer.json()["results"]) == 32
        wait_for(lambda: counted(service, "sightline_capture_problem") == 1)
        assert httpx.post(f"{service.url}/v1/predict", files=form(noise), timeout=60).status_code == 200
        assert not tables.shards(folder)
        wait_for(lambda: not list(folder.iterdir()))  # nothing half-written is left, until it is tried again
        resource.prlimit(service.process.pid, resource.RLIMIT_FSIZE, (most, most))
        wait_for(lambda: counted(service, "sightline_captured_total") >= ONE_SHARD)
        assert counted(service, "sightline_capture_problem") == 0
    finally:
        assert service.end() == 0
    assert len(rows(folder)) == ONE_SHARD + 32, "what was taken meanwhile was kept"
    said = service.log.read_text()
    assert said.count("nothing is captured, tried again") == said.count("is captured to again") == 1
    assert "File too large" in said and "Traceback" not in said


def test_what_the_command_line_says_of_it(tmp_path):
    assert parsed("--capture", str(tmp_path)).capture == Capturing(tmp_path, 0.1, False, 1000)
    given = {"capture": tmp_path, "capture_share": 0.5, "capture_pictures": True, "capture_mb": 7}
    assert parsed(*serving_command("toy", "::1", 80, **given)[3:]).capture == Capturing(tmp_path, 0.5, True, 7)
    none = {"capture": None, "capture_share": None, "capture_pictures": False, "capture_mb": None}
    assert parsed(*serving_command("toy", "::1", 80, **none)[3:]).capture is None
    assert_in_help(given)


@pytest.mark.parametrize(
    "words",
    [
        *(["--capture-share", value, "--capture", "x"] for value in ("0", "-1", "1.1", "nan", "inf")),
        *(["--capture-mb", value, "--capture", "x"] for value in ("0", "-5")),
        ["--capture-share", "0.5"],
        ["--capture-pictures"],
        ["--capture-mb", "0"],
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(words):
    with pytest.raises(SightlineError) as refused:
        parsed(*words)
    assert words[0] in refused.value.problem and refused.value.remedy


def test_rows_are_read_by_whoever_reads_parquet(toy, tmp_path):
    duckdb = pytest.importorskip("duckdb")
    with asking(toy, Capturing(tmp_path / "captured", **EVERYTHING)) as asked:
        asked.post("/v1/predict", files=form([encoded(1), encoded(2)]))
    query = f"select probabilities['suspicious'], score, time from '{tmp_path}/captured/captured-*.parquet'"
    found = duckdb.sql(query).fetchall()
    assert len(found) == 2 and all(probability == score for probability, score, _ in found)
