"""Batch scoring of files with a real bundle: what it writes, what it knows already, what it refuses."""

import csv
import json
import shutil
from fractions import Fraction

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.core import media, tables
from components.core.bundle import Pointer, read_bundle, read_pointer, write_pointer
from components.core.files import file_sha256
from components.core.media import TimeSampler
from components.core.progress import progress
from components.serving import batch, footage, outputs
from components.serving.footage import expected
from components.serving.load import load_model
from tests.deployment import making
from tests.footage import write_clip
from tests.serving.conftest import publish


@pytest.fixture
def workspace(tmp_path, monkeypatch, bundles):
    """A workspace with a champion, and a folder of footage: a clip of 90 frames and a picture."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    deployed = tmp_path / ".sightline" / "deployed" / making.RECIPE
    for number in (1, 2):
        pointer = publish(deployed, bundles[number], number)
        if number == 1:
            write_pointer(deployed, pointer)
    write_clip(tmp_path / "footage" / "deep" / "clip.mp4", 90, g="12", bf="2")
    cv2.imwrite(str(tmp_path / "footage" / "picture.png"), making.picture(3)[..., ::-1])
    (tmp_path / "footage" / "notes.txt").write_text("no footage")
    return tmp_path


def predict(root, *more, code=0):
    assert batch.main(["--recipe", making.RECIPE, "-o", str(root / "out"), str(root / "footage"), *more]) == code


def model(root, number=1):
    deployed = root / ".sightline" / "deployed" / making.RECIPE
    return load_model(deployed, read_pointer(deployed), 1)


def test_every_sampled_frame_is_scored_as_in_one_go(workspace, monkeypatch):
    monkeypatch.setattr(outputs, "CHUNK", 7)
    predict(workspace)
    clip = workspace / "footage" / "deep" / "clip.mp4"
    served = model(workspace)
    frames = list(media.read_frames(clip, TimeSampler(Fraction(served.bundle.fps))))
    wanted = served.sequence([served.prepare(frame.rgb) for frame in frames])
    rows = pq.read_table(workspace / "out" / "predictions" / f"{file_sha256(clip)[:16]}.parquet").to_pylist()
    assert [row["frame_index"] for row in rows] == [frame.index for frame in frames]
    assert [row["pts"] for row in rows] == [frame.pts for frame in frames]
    found = np.array([[row["prob_normal"], row["prob_suspicious"]] for row in rows])
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert rows[30]["timestamp_s"] == pytest.approx(30 * 1001 / 30000) and {row["model_version"] for row in rows} == {
        "1"
    }
    table = tables.read_table(workspace / "out" / "predictions")
    assert len(table) == 91, "the picture is one frame"
    with open(workspace / "out" / "moments.csv") as file:
        moments = list(csv.DictReader(file))
    assert float(moments[0]["score"]) == pytest.approx(max(table["score"].to_pylist()))


def test_what_is_known_is_not_scored_again_until_the_model_changes(workspace, capsys):
    predict(workspace)
    before = {file: file.stat().st_mtime_ns for file in (workspace / "out" / "predictions").iterdir()}
    capsys.readouterr()
    predict(workspace, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["known"], told["frames"]) == (2, 2, 0) and told["moments"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    deployed = workspace / ".sightline" / "deployed" / making.RECIPE
    write_pointer(deployed, Pointer(2, "v2", read_bundle(deployed / "v2").digest))
    predict(workspace, "--json")
    assert json.loads(capsys.readouterr().out)["known"] == 0


def test_bad_files_cost_only_themselves(workspace, capsys):
    (workspace / "footage" / "cut.mp4").write_bytes((workspace / "footage" / "deep" / "clip.mp4").read_bytes()[:900])
    (workspace / "footage" / "text.jpg").write_text("no picture")
    shutil.copy(workspace / "footage" / "picture.png", workspace / "footage" / "same.png")
    predict(workspace, "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["quarantined"] == 2 and told["frames"] == 91
    rows = pq.read_table(workspace / "out" / "quarantine.parquet").to_pylist()
    assert {row["uri"].rpartition("/")[2] for row in rows} == {"cut.mp4", "text.jpg"}
    assert all(row["reason"] and row["sha256"] for row in rows)
    assert not list((workspace / "out").rglob(".*")), "nothing half-written is left"


def test_a_video_of_enormous_frames_is_refused_before_one_is_decoded(workspace, monkeypatch, capsys):
    monkeypatch.setattr(footage, "MOST_PIXELS", 1000)
    monkeypatch.setattr(media, "read_frames", None)
    predict(workspace, "--json")
    (row,) = pq.read_table(workspace / "out" / "quarantine.parquet").to_pylist()
    assert row["uri"].endswith("clip.mp4") and "pixels, more than 1000" in row["reason"]
    assert json.loads(capsys.readouterr().out)["frames"] == 1, "the picture's"


def test_wrong_requests(workspace, capsys):
    predict(workspace, str(workspace / "nowhere"), code=2)
    (workspace / "empty").mkdir()
    assert batch.main(["--recipe", making.RECIPE, "-o", "x", str(workspace / "empty")]) == 2
    assert batch.main(["--recipe", "other", "-o", "x", str(workspace / "footage")]) == 1
    assert "has no champion here" in capsys.readouterr().err


class Read:
    """A container, and how often its packets were gone through."""

    def __init__(self, container):
        self.container, self.times = container, 0

    def __getattr__(self, name):
        return getattr(self.container, name)

    def demux(self, *streams):
        self.times += 1
        return self.container.demux(*streams)


def test_one_file_is_gone_through_no_more_often_than_each_of_many(workspace, monkeypatch):
    """How far it is, of how many frames, is told by what its container says of itself."""
    read, begin = [], media.opened.__enter__

    def entered(video):
        begin(video)
        video.container = Read(video.container)
        read.append(video.container)
        return video

    monkeypatch.setattr(media.opened, "__enter__", entered)
    totals = []
    monkeypatch.setattr(batch, "progress", lambda *given: totals.append(given) or progress(*given))
    clip, times = workspace / "footage" / "deep" / "clip.mp4", []
    for name, sources in (("one", [clip]), ("two", [clip, workspace / "footage" / "picture.png"])):
        read.clear()
        batch.score(model(workspace), sources, workspace / name)
        times.append(sum(one.times for one in read))
    assert times[0] == times[1]
    assert totals == [("scoring", 90, "frames"), ("scoring", 2, "files")]


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.avi", "clip.ts"])
@pytest.mark.parametrize("fps", [None, "5", "100"])
def test_how_many_frames_there_will_be_is_about_right(tmp_path, name, fps):
    clip = write_clip(tmp_path / name, 90)
    wanted = len(list(media.read_frames(clip, TimeSampler(Fraction(fps) if fps else None))))
    assert expected(clip, fps) == pytest.approx(wanted, abs=1)


def test_where_the_container_says_nothing_nobody_knows(tmp_path):
    assert expected(write_clip(tmp_path / "clip.h264", 9), None) is None
