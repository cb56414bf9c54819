"""Batch scoring with a detector: boxes in the pixels of the footage, drawn copies of it, and what is known already."""

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from components.core import media, tables
from components.core.bundle import Bundle, Pointer, read_bundle, write_manifest, write_pointer
from components.core.draw import COLOURS, canvas
from components.core.files import file_sha256
from components.core.media import TimeSampler
from components.serving import batch, outputs
from components.serving.draw import drawn
from tests.deployment.detecting import RECIPE, THRESHOLD, overlap, picture
from tests.serving.conftest import publish
from tests.serving.test_detector import PAIR, sides

TICKS = Fraction(1, 12800)
TIMES = [100, 1380, 2660, 7000, 7700, 14000, 14640, 20000]  # of the clip's frames: no two steps are the same


@pytest.fixture
def workspace(tmp_path, monkeypatch, detector_bundle):
    """A workspace with a champion, and footage: a clip of irregular times and a picture."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    deployed = tmp_path / ".sightline" / "deployed" / RECIPE
    write_pointer(deployed, publish(deployed, detector_bundle, 1))
    write_clip(tmp_path / "footage" / "deep" / "clip.mp4", [picture(5000 + at, 3)[0] for at in range(len(TIMES))])
    cv2.imwrite(str(tmp_path / "footage" / "two.png"), picture(PAIR, 2)[0][..., ::-1])
    return tmp_path


def write_clip(path: Path, frames: list[np.ndarray]) -> None:
    """Frames, (H, W, 3) uint8 RGB, at TIMES."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "12", "threads": "1", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        stream.time_base = stream.codec_context.time_base = TICKS
        for rgb, pts in zip(frames, TIMES, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
            frame.pts, frame.time_base = pts, TICKS
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def predict(root, *more, code=0):
    assert batch.main(["--recipe", RECIPE, "-o", str(root / "out"), str(root / "footage"), *more]) == code


def rows(root, name, file) -> list[dict]:
    return pq.read_table(root / "out" / name / f"{file_sha256(file)[:16]}.parquet").to_pylist()


def copy_of(root, file) -> Path:
    (found,) = (root / "out" / "drawn").glob(f"*-{file_sha256(file)[:16]}.*")
    return found


def changed(copy: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Which pixels, (H, W) bool, are others by more than what an encoder does to them."""
    return np.abs(copy.astype(int) - before[: copy.shape[0], : copy.shape[1]]).max(2) > 90


def test_a_pictures_boxes_are_in_its_pixels_and_drawn(workspace):
    predict(workspace)
    file = workspace / "footage" / "two.png"
    rgb, boxes, kinds = picture(PAIR, 2)
    (score,) = rows(workspace, "predictions", file)
    found = rows(workspace, "boxes", file)
    assert [row["score"] for row in found] == sorted((row["score"] for row in found), reverse=True)
    called = [row for row in found if row["score"] >= THRESHOLD]
    for box, kind in zip(boxes, kinds, strict=True):
        assert any(row["class"] == kind and overlap(sides(row), box) > 0.5 for row in called)
    assert {(row["asset_id"], row["model_version"]) for row in found} == {(score["asset_id"], "1")}
    assert pq.read_schema(workspace / "out/boxes" / f"{score['asset_id']}.parquet").names == tables.DETECTIONS.names
    shown = copy_of(workspace, file)
    assert shown.name == f"two-{score['asset_id']}.jpg"
    copy, before = media.read_picture(shown), canvas(rgb)
    assert copy.shape == before.shape and max(copy.shape) == 640
    for row in called:
        edges = (row["x"], row["y"], row["x"] + row["w"], row["y"] + row["h"])
        left, top, right, bottom = (round(640 / 192 * side) for side in edges)
        pen = changed(copy, before)
        assert pen[top:bottom, max(0, left - 2) : left + 3].any(1).mean() > 0.8
        assert pen[top:bottom, right - 4 : right + 2].any(1).mean() > 0.8
        assert not pen[top + 30 : bottom - 10, left + 10 : right - 10].any(), "what is in the box is left alone"


def test_a_clips_sampled_frames_are_drawn_at_their_times(workspace, monkeypatch):
    monkeypatch.setattr(outputs, "LOOKED_AT", 3)
    predict(workspace)
    clip = workspace / "footage" / "deep" / "clip.mp4"
    frames = list(media.read_frames(clip, TimeSampler(Fraction(5))))
    assert 3 < len(frames) < len(TIMES)
    scores, found = rows(workspace, "predictions", clip), rows(workspace, "boxes", clip)
    first = scores[0]["pts"]
    assert [row["pts"] for row in scores] == [frame.pts for frame in frames]
    with av.open(str(copy_of(workspace, clip))) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        copies = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
    assert [time for time, _ in copies] == pytest.approx([row["timestamp_s"] for row in scores], abs=1e-6)
    assert copies[0][0] == 0 and scores[1]["timestamp_s"] == pytest.approx(float((scores[1]["pts"] - first) * TICKS))
    wanted = hits = 0
    for frame, (_, copy) in zip(frames, copies, strict=True):
        called = [row for row in found if row["frame_index"] == frame.index and row["score"] >= THRESHOLD]
        assert changed(copy, canvas(frame.rgb)).any() == bool(called)
        for box in picture(5000 + frame.index, 3)[1]:
            wanted, hits = wanted + 1, hits + any(overlap(sides(row), box) > 0.5 for row in called)
    assert hits >= wanted - 1 > 1


def test_what_is_known_is_not_looked_at_again(workspace, capsys, detector_bundle):
    predict(workspace)
    written = sorted(file for file in (workspace / "out").glob("*/*"))
    assert len(written) == 6
    before = {file: (file.stat().st_mtime_ns, file_sha256(file)) for file in written}

    def again() -> int:
        capsys.readouterr()
        predict(workspace, "--json")
        return json.loads(capsys.readouterr().out)["known"]

    assert again() == 2
    assert {file: (file.stat().st_mtime_ns, file_sha256(file)) for file in written} == before
    # whatever of it is missing, the file is looked at again: with the same result
    for file in (copy_of(workspace, workspace / "footage" / "two.png"), written[0]):
        file.unlink()
        assert again() == 1 and file_sha256(file) == before[file][1]
    # under another name it is the same file
    (workspace / "footage" / "two.png").rename(workspace / "footage" / "zwei.png")
    assert again() == 2
    # another model looks at everything again, and its drawn copies take the place of those before
    deployed = workspace / ".sightline" / "deployed" / RECIPE
    shutil.copytree(detector_bundle, deployed / "v2")
    strict = Bundle(**vars(read_bundle(detector_bundle)) | {"threshold": 1.0})
    other = write_manifest(deployed / "v2", strict)
    write_pointer(deployed, Pointer(2, "v2", other.digest))
    assert again() == 0
    names = sorted(file.name.partition("-")[0] for file in (workspace / "out" / "drawn").iterdir())
    assert names == ["clip", "zwei"]
    copy = media.read_picture(copy_of(workspace, workspace / "footage" / "zwei.png"))
    assert not changed(copy, canvas(picture(PAIR, 2)[0])).any()


def test_bad_files_leave_nothing_and_penfootage_is_no_footage(workspace, capsys):
    (workspace / "footage" / "cut.mp4").write_bytes((workspace / "footage" / "deep" / "clip.mp4").read_bytes()[:900])
    (workspace / "footage" / "text.jpg").write_text("no picture")
    for known in (0, 2):
        capsys.readouterr()
        within = workspace / "footage" / "scores"
        assert batch.main(["--recipe", RECIPE, "-o", str(within), str(workspace / "footage"), "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["files"], told["known"], told["quarantined"]) == (4, known, 2)
    assert len(list(within.glob("*/*"))) == 6 and not list(within.rglob(".*"))


def test_it_says_where_the_boxes_are(workspace, capsys):
    predict(workspace)
    said = capsys.readouterr().out
    assert str(workspace / "out" / "boxes") in said and str(workspace / "out" / "drawn") in said


@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (3, 3), (1081, 1919)])
def test_pictures_of_any_shape_are_peninto(shape):
    """Boxes at and beyond every edge, labels wider than the picture: all stays within."""
    height, width = shape
    whole = {
        "class": "a class with a long name",
        "score": 0.5,
        "x": 0.0,
        "y": 0.0,
        "w": float(width),
        "h": float(height),
    }
    corner = whole | {"x": width - 0.5, "y": height - 0.5, "w": 0.5, "h": 0.5}
    copy = drawn(canvas(np.zeros((height, width, 3), np.uint8)), [whole, corner], shape, ("nothing", whole["class"]))
    assert 640 <= max(copy.shape[:2]) <= 1280 and (copy == COLOURS[0]).all(2).any()
