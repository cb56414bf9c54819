"""Clips: a video in, a job out, its results fetched; what is no video, what is too much, and what is ended."""

import asyncio
import io
import time

import av
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from components.serving import app as application
from components.serving import clips as module
from components.serving.clips import Clips
from components.serving.pictures import Refusal
from tests.serving.conftest import wait_for
from tests.serving.test_track import in_loop
from tests.serving.tracking import publish, write_clip

MP4 = {"content-type": "video/mp4"}
LIMIT_S = 300


@pytest.fixture
def client(tmp_path):
    """A client of the service of a model that tracks."""
    publish(tmp_path / "deployed" / "moving")
    app = application.create_app(tmp_path / "deployed" / "moving")
    with TestClient(app) as asked:
        wait_for(lambda: app.state.champion.model)
        yield asked


def ended(client, job: str) -> dict:
    """What is told of a job once it has ended."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        told = client.get(f"/v1/clips/{job}").json()
        if told["state"] in ("done", "failed"):
            return told
        assert told["state"] in ("queued", "running") and time.monotonic() < deadline, told
        time.sleep(0.1)


def test_a_clip_is_scored_and_what_it_made_can_be_fetched(client, tmp_path):
    content = write_clip(tmp_path / "clip.mp4", list(range(30))).read_bytes()
    posted = client.post("/v1/clips", content=content, headers=MP4)
    assert posted.status_code == 202 and posted.json()["state"] == "queued"
    assert posted.headers["location"] == f"/v1/clips/{posted.json()['job']}"
    told = ended(client, posted.json()["job"])
    assert (
        told["state"] == "done"
        and told["frames"] == 30
        and told["progress"] == {"frames": 30, "of": 30}
        and told["model"].startswith("moving/v1@")
    ), told
    assert told["moments"] and set(told["moments"][0]) == {"frame_index", "timestamp_s", "score", "prediction"}
    assert set(told["results"]) == {"predictions", "moments", "boxes", "tracks", "mot", "drawn"}
    made = {name: client.get(url) for name, url in told["results"].items()}
    assert {answer.headers["x-sightline-model"] for answer in made.values()} == {told["model"]}
    assert {answer.status_code for answer in made.values()} == {200}
    tracks = pq.read_table(io.BytesIO(made["tracks"].content))
    assert set(tracks["track_id"].to_pylist()) == {1, 2} and len(tracks) == 60 == len(made["mot"].text.splitlines())
    with av.open(io.BytesIO(made["drawn"].content)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 30
    assert client.get(f"{posted.headers['location']}/secrets").status_code == 404
    assert client.delete(posted.headers["location"]).status_code == 200
    assert client.get(posted.headers["location"]).status_code == 404
    assert client.get(told["results"]["drawn"]).status_code == 404


@pytest.mark.parametrize("content", [b"no video", bytes(10_000), b"\x00\x00\x00\x18ftypmp42" + bytes(100)])
def test_what_is_no_video_fails_and_says_why(client, content):
    told = ended(client, client.post("/v1/clips", content=content, headers=MP4).json()["job"])
    assert told["state"] == "failed" and told["error"] and "results" not in told
    assert client.get("/healthz").status_code == 200


def test_what_is_refused_is_no_job(client):
    assert client.post("/v1/clips", content=b"", headers=MP4).status_code == 400
    assert client.post("/v1/clips", content=b"x", headers={"content-type": "text/plain"}).status_code == 415
    assert client.post("/v1/clips", content=b"x", headers=MP4 | {"content-length": "9" * 12}).status_code == 413
    assert client.get("/v1/clips/nobody").status_code == client.delete("/v1/clips/nobody").status_code == 404


@in_loop
async def test_what_is_too_large_is_read_no_further_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    clips, sent = Clips("moving", tmp_path, clip_bytes=1000), []

    async def chunks():
        for number in range(100):
            sent.append(number)
            yield bytes(300)

    with pytest.raises(Refusal, match="larger than 1000"):
        await clips.add(chunks())
    assert len(sent) == 4
    with pytest.raises(Refusal, match="empty"):
        await clips.add(_nothing())
    await asyncio.get_running_loop().shutdown_default_executor()
    assert not list(tmp_path.glob("*/*")), "neither leaves anything behind"


@in_loop
async def test_a_request_that_is_none_costs_nobody_their_results(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path))
    clips = Clips("moving", tmp_path)
    jobs = [await clips.add(_clip()) for _ in range(module.MOST)]
    for job in jobs:
        job.state, job.ended = module.DONE, time.monotonic()
    with pytest.raises(Refusal, match="empty"):
        await clips.add(_nothing())
    assert [clips.job(job.name) for job in jobs] == jobs
    await clips.add(_clip())
    with pytest.raises(Refusal, match="no job"):
        clips.job(jobs[0].name)
    assert clips.job(jobs[1].name)
    jobs[1].ended -= module.KEEP_S
    with pytest.raises(Refusal, match="no job"):
        clips.job(jobs[1].name)


@in_loop
async def test_a_disk_that_takes_nothing_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(module.tempfile, "tempdir", str(tmp_path / "file"))
    clips = Clips("moving", tmp_path)
    with pytest.raises(Refusal, match="cannot be kept") as refused:
        await clips.add(_clip())
    assert refused.value.status == 503
    clips.start()
    await clips.stop()


async def _clip():
    yield b"x"


async def _nothing():
    return
    yield


def test_only_so_many_wait_and_one_that_is_ended_makes_room(client, tmp_path, monkeypatch):
    monkeypatch.setattr(Clips, "_run", _never)
    content = write_clip(tmp_path / "clip.mp4", list(range(3))).read_bytes()
    jobs = [client.post("/v1/clips", content=content, headers=MP4).json()["job"] for _ in range(module.MOST)]
    full = client.post("/v1/clips", content=content, headers=MP4)
    assert full.status_code == 429 and full.headers["retry-after"] == "60"
    assert client.delete(f"/v1/clips/{jobs[3]}").status_code == 200
    assert client.post("/v1/clips", content=content, headers=MP4).status_code == 202


async def _never(self, job) -> None:
    job.state = module.RUNNING
    await asyncio.Event().wait()


def test_ending_a_job_ends_its_process_and_the_next_one_runs(client, tmp_path):
    long = write_clip(tmp_path / "long.mp4", list(range(4000))).read_bytes()
    short = write_clip(tmp_path / "short.mp4", list(range(3))).read_bytes()
    first, second = (client.post("/v1/clips", content=one, headers=MP4).json()["job"] for one in (long, short))
    wait_for(lambda: client.get(f"/v1/clips/{first}").json()["state"] == "running")
    assert client.delete(f"/v1/clips/{first}").status_code == 200
    assert ended(client, second)["state"] == "done"
