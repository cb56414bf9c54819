"""Batch scoring with a tracker: tracks as a table, as MOTChallenge has them and drawn, in one pass over the footage."""

import asyncio
import json
import shutil
import time

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.core import media, tables
from components.core.bundle import Pointer, read_bundle, write_pointer
from components.core.draw import identity_colour
from components.core.files import file_sha256
from components.serving import batch, outputs
from components.tracks.mot import read_mot
from tests.serving.asgi import running
from tests.serving.tracking import CLASSES, COLOURS, KINDS, RECIPE, TRACKER, boxes, frame, payload, publish, write_clip

OBJECTS = (0, 1, 2)
FRAMES = 45
WRITTEN = ("boxes", "drawn", "mot", "predictions", "tracks")


def deployed(root):
    return root / ".sightline" / "deployed" / RECIPE


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """A workspace with a champion, and a clip of three objects."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    publish(deployed(tmp_path))
    write_clip(tmp_path / "footage" / "clip.mp4", list(range(FRAMES)), OBJECTS)
    return tmp_path


def predict(root, *more, code=0) -> None:
    assert batch.main(["--recipe", RECIPE, "-o", str(root / "out"), str(root / "footage"), *more]) == code


def rows(root, name, file) -> list[dict]:
    return pq.read_table(root / "out" / name / f"{file_sha256(file)[:16]}.parquet").to_pylist()


def named(root, name, file):
    """The file of footage among those that are called after it."""
    (found,) = (root / "out" / name).glob(f"*-{file_sha256(file)[:16]}.*")
    return found


def test_a_clips_tracks_are_written_drawn_and_those_of_its_objects(workspace, capsys):
    predict(workspace)
    clip = workspace / "footage" / "clip.mp4"
    tracks, scores = rows(workspace, "tracks", clip), rows(workspace, "predictions", clip)
    assert pq.read_schema(workspace / "out/tracks" / f"{file_sha256(clip)[:16]}.parquet").names == tables.TRACKS.names
    assert len(scores) == FRAMES and len(tracks) == FRAMES * len(OBJECTS)
    for row, (at, one) in zip(tracks, ((at, one) for at in range(FRAMES) for one in OBJECTS), strict=True):
        assert (row["frame_index"], row["track_id"]) == (at, one + 1)
        assert (row["pts"], row["timestamp_s"]) == (scores[at]["pts"], scores[at]["timestamp_s"])
        assert row["class"] == CLASSES[KINDS[one]]
        assert [row[side] for side in "xywh"] == pytest.approx(boxes(at, OBJECTS, 4)[one], abs=4.1)
    found = rows(workspace, "boxes", clip)
    assert [row["score"] for row in found] == [row["score"] for row in tracks]
    lines = read_mot(named(workspace, "mot", clip))
    assert named(workspace, "mot", clip).name.startswith("clip-")
    for line, row in zip(lines, tracks, strict=True):
        assert (line["frame"], line["track_id"]) == (row["frame_index"] + 1, row["track_id"])
        given = [line[side] for side in ("left", "top", "width", "height", "score")]
        assert given == pytest.approx([row[side] for side in ("x", "y", "w", "h", "score")], abs=1e-3)
    said = capsys.readouterr().out
    assert str(workspace / "out" / "tracks") in said and str(workspace / "out" / "mot") in said


def test_every_identity_is_drawn_in_its_colour_from_first_to_last(workspace):
    clip = write_clip(workspace / "footage" / "clip.mp4", list(range(FRAMES)), OBJECTS, scale=8)
    predict(workspace)
    with av.open(str(named(workspace, "drawn", clip))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 25)
        copies = [
            (round(picture.time * 25), picture.to_ndarray(format="rgb24")) for picture in container.decode(stream)
        ]
    assert [at for at, _ in copies] == list(range(FRAMES))
    for at, copy in copies:
        assert copy.shape == (384, 640, 3)
        for one, (left, top, wide, high) in boxes(at, OBJECTS, 8).items():
            line = copy[top + 8 : top + high - 8, left : left + 2].reshape(-1, 3)  # the left side, away from corners
            assert np.abs(line.mean(0) - identity_colour(one + 1)).max() < 60
            inside = copy[top + high // 2, left + wide // 2]
            assert np.abs(inside.astype(int) - COLOURS[one]).max() < 60, "what is in the box is left alone"


@pytest.mark.parametrize("fps", [None, "25/2"])
def test_identities_do_not_depend_on_how_many_frames_are_looked_at_together(workspace, monkeypatch, fps):
    """And are those that the service gives frame by frame."""
    shutil.rmtree(deployed(workspace))
    publish(deployed(workspace), fps=fps)
    clip = workspace / "footage" / "clip.mp4"
    made = []
    for count in (1, 3, 8):
        monkeypatch.setattr(outputs, "LOOKED_AT", count)
        predict(workspace)
        made.append({name: rows(workspace, name, clip) for name in ("tracks", "boxes", "predictions")})
        made[-1]["files"] = [file_sha256(named(workspace, name, clip)) for name in ("mot", "drawn")]
        shutil.rmtree(workspace / "out")
    assert made[0] == made[1] == made[2]

    async def asked() -> list[list[int]]:
        async with running(deployed(workspace)) as service:
            shown = range(0, FRAMES, 2 if fps else 1)
            sent = (payload(at, OBJECTS, 4, frame_id=number) for number, at in enumerate(shown))
            return [[one["track_id"] for one in await service.tracks(one)] for one in sent]

    identities = asyncio.run(asked())
    assert [row["track_id"] for row in made[0]["tracks"]] == [one for frame in identities for one in frame]


def test_frames_in_memory_are_few_however_slow_the_encoder_is(workspace, monkeypatch):
    from components.serving.follows import Follows

    made, most, looked, drawn = [0, 0], [0], Follows._looked, Follows._drawn

    def counted(self, frames):
        for one in looked(self, frames):
            made[0] += 1
            most.append(made[0] - made[1])
            yield one

    def slowly(self, frame, marks):
        time.sleep(0.01)
        made[1] += 1
        return drawn(self, frame, marks)

    monkeypatch.setattr(Follows, "_looked", counted)
    monkeypatch.setattr(Follows, "_drawn", slowly)
    monkeypatch.setattr(outputs, "AHEAD", 2)
    monkeypatch.setattr(outputs, "LOOKED_AT", 3)
    monkeypatch.setattr(batch, "PASSES", 1)
    predict(workspace)
    # Decoded and waiting, one more in hand on either side of the queue; in the pass under way and the next one, while a
    # third is being put together; waiting to be drawn, and in hand.
    assert made == [FRAMES, FRAMES] and max(most) <= (2 + 2) + 3 * 3 + (2 + 2)


def test_the_footage_is_gone_through_once(workspace, monkeypatch):
    opened, read = [], media.read_frames
    monkeypatch.setattr(media, "read_frames", lambda path, wanted: opened.append(path) or read(path, wanted))
    predict(workspace)
    assert len(opened) == 1


@pytest.mark.parametrize(("gap", "same"), [(5, True), (int(TRACKER.lost_frames) + 3, False)])
def test_time_without_frames_is_time(workspace, gap, same):
    """Frames that a camera did not send: what moves is found where it is by then, or after too long is new."""
    clip = write_clip(workspace / "footage" / "gap.mp4", [*range(12), *range(12 + gap, 24 + gap)], OBJECTS, rate=25)
    (workspace / "footage" / "clip.mp4").unlink()
    predict(workspace)
    tracks = rows(workspace, "tracks", clip)
    before, after = (
        {row["track_id"] for row in tracks if (row["frame_index"] < 12) == early} for early in (True, False)
    )
    assert before == {1, 2, 3} and after == (before if same else {4, 5, 6})


def test_every_file_begins_anew_and_a_picture_is_a_single_frame(workspace):
    write_clip(workspace / "footage" / "other.mp4", list(range(30, 50)), (0, 3))
    cv2.imwrite(str(workspace / "footage" / "still.png"), frame(3, (1, 2), 4)[..., ::-1])
    predict(workspace)
    other, still = (rows(workspace, "tracks", workspace / "footage" / name) for name in ("other.mp4", "still.png"))
    assert {(row["track_id"], row["class"]) for row in other} == {(1, "red"), (2, "blue")}
    assert [(row["track_id"], row["class"], row["frame_index"]) for row in still] == [(1, "blue", 0), (2, "red", 0)]
    assert len(read_mot(named(workspace, "mot", workspace / "footage" / "still.png"))) == 2
    assert named(workspace, "drawn", workspace / "footage" / "still.png").suffix == ".jpg"


def test_what_is_known_is_not_followed_again(workspace, capsys):
    predict(workspace)
    clip = workspace / "footage" / "clip.mp4"
    written = sorted((workspace / "out").glob("*/*"))
    assert [file.parent.name for file in written] == list(WRITTEN)
    before = {file: (file.stat().st_mtime_ns, file_sha256(file)) for file in written}

    def again() -> int:
        capsys.readouterr()
        predict(workspace, "--json")
        return json.loads(capsys.readouterr().out)["known"]

    assert again() == 1
    assert {file: (file.stat().st_mtime_ns, file_sha256(file)) for file in written} == before
    for file in written:
        file.unlink()
        assert again() == 0 and file_sha256(file) == before[file][1], "whatever is missing: with the same result"
    clip.rename(clip.with_name("film.mp4"))
    named(workspace, "mot", clip.with_name("film.mp4")).unlink()
    assert again() == 0
    names = sorted(
        file.name.partition("-")[0] for name in ("mot", "drawn") for file in (workspace / "out" / name).iterdir()
    )
    assert names == ["film", "film"], "those under the other name went"
    publish(deployed(workspace), 2, point=False)
    write_pointer(deployed(workspace), Pointer(2, "v2", read_bundle(deployed(workspace) / "v2").digest))
    assert again() == 0
    assert {row["model_version"] for row in rows(workspace, "tracks", clip.with_name("film.mp4"))} == {"2"}


def test_a_file_that_is_cut_off_leaves_nothing(workspace, capsys):
    clip = workspace / "footage" / "clip.mp4"
    raw = clip.with_suffix(".ts")
    write_clip(raw, list(range(FRAMES)), OBJECTS)
    raw.write_bytes(raw.read_bytes()[:100] + bytes(400))
    (workspace / "footage" / "cut.mp4").write_bytes(clip.read_bytes()[:900])
    predict(workspace, "--json")
    told = json.loads(capsys.readouterr().out)
    assert (told["files"], told["quarantined"]) == (3, 2)
    assert sorted(file.parent.name for file in (workspace / "out").glob("*/*")) == list(WRITTEN)
    assert not list((workspace / "out").rglob(".*")), "nothing half-written is left"


@pytest.mark.parametrize("broken", ["_drawn", "_looked", "_noted"])
def test_a_defect_in_any_of_the_three_threads_ends_the_file_and_leaves_nothing(workspace, monkeypatch, broken):
    from components.serving.follows import Follows

    def fails(*_):
        raise RuntimeError(f"{broken} is broken")

    monkeypatch.setattr(Follows, broken, fails)
    with pytest.raises(RuntimeError, match=f"{broken} is broken"):
        predict(workspace)
    assert not [file for file in (workspace / "out").rglob("*") if file.is_file()]
