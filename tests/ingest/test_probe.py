"""What is said of one file: its facts, or the reason why it is not used; never an exception."""

import json
import os
import shutil
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from components.core.files import file_sha256
from components.core.recipe import Limits
from components.ingest.batch import probe_batch
from components.ingest.known import Known, record
from components.ingest.probe import code, kind_of, probe_file
from tests.footage import NTSC, picture, write_clip, write_picture


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path / "workspace"))


def probe(path, **known) -> dict:
    return probe_file({"path": str(path), **known})


def test_facts_of_a_video(tmp_path):
    found = probe(write_clip(tmp_path / "a.MP4", rate=NTSC, size=(96, 64)))
    assert (found["status"], found["kind"], found["reason"]) == ("ok", "video", None)
    assert (found["codec"], found["width"], found["height"]) == ("h264", 96, 64)
    times = [pts * found["time_base"][0] / found["time_base"][1] for pts in found["pts"]]
    assert times == pytest.approx([index * 1001 / 30000 for index in range(30)], abs=1e-9)
    assert tuple(found["rate"]) == (30000, 1001)


def test_facts_of_a_picture_with_exif(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "Maker", 6
    exif.get_ifd(0x8769).update(
        {ExifTags.Base.DateTimeOriginal: "2021:02:03 04:05:06", ExifTags.Base.OffsetTimeOriginal: "+01:00"}
    )
    exif.get_ifd(0x8769)[ExifTags.Base.ExposureTime] = IFDRational(1, 60)
    exif.get_ifd(0x8825).update({1: "N", 2: (41.0, 24.0, 12.5)})
    Image.fromarray(picture(1, 64, 48)).save(tmp_path / "a.jpg", exif=exif)
    found = probe(tmp_path / "a.jpg")
    assert (found["status"], found["kind"], found["codec"], found["pts"]) == ("ok", "picture", "jpeg", [0])
    assert (found["width"], found["height"]) == (48, 64)  # orientation 6: a camera held upright
    assert found["captured_at"] == "2021-02-03T04:05:06+01:00"
    tags = json.loads(found["exif"])
    assert (tags["Make"], tags["ExposureTime"]) == ("Maker", "1/60")
    assert tags["GPSLatitude"] == ["41/1", "24/1", "25/2"]


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp", ".tif", ".gif"])
def test_every_picture_suffix_is_read(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(picture(3)).save(path)
    found = probe(path)
    assert (found["status"], found["width"], found["height"], found["exif"]) == ("ok", 64, 48, None)


def bad_files(folder):
    """Name -> (the file, what its reason must say)."""
    clip = write_clip(folder / "clip.mp4", size=(160, 120), g="5", container={"movflags": "faststart"})
    still = write_picture(folder / "still.png", size=(200, 200))
    cv2.imwrite(str(folder / "still.jpg"), np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    (folder / "cut.mp4").write_bytes(clip.read_bytes()[: int(0.6 * clip.stat().st_size)])
    (folder / "cut.jpg").write_bytes((folder / "still.jpg").read_bytes()[:-9000])
    (folder / "cut.png").write_bytes(still.read_bytes()[:-3000])
    (folder / "empty.mp4").touch()
    (folder / "empty.png").touch()
    (folder / "text.mp4").write_text("not a film")
    (folder / "text.jpg").write_text("not a picture")
    shutil.copy(still, folder / "png.mp4")
    shutil.copy(folder / "still.jpg", folder / "jpeg.mpg")
    shutil.copy(clip, folder / "film.jpg")
    header = struct.pack(">4sIIBBBBB", b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header)) + b"\0\0\0\0IDAT"
    )
    return {
        "cut.mp4": "truncated",
        "cut.jpg": "truncated",
        "cut.png": "truncated",
        "empty.mp4": "empty",
        "empty.png": "empty",
        "text.mp4": "not a video",
        "text.jpg": "cannot be decoded as a picture",
        "png.mp4": "named as a video, but it holds a PNG picture",
        "jpeg.mpg": "named as a video, but it holds a JPEG picture",
        "film.jpg": "named as a picture, but it holds an MP4 video",
        "bomb.png": "3600000000 pixels are more than 200000000",
        "gone.mp4": "cannot be read (No such file or directory)",
        "folder.mp4": "cannot be read (Is a directory)",
        "a\0b.mp4": "unexpected ValueError",
    }


def test_bad_files_have_a_reason(tmp_path):
    wanted = bad_files(tmp_path)
    (tmp_path / "folder.mp4").mkdir()
    for name, reason in wanted.items():
        found = probe(f"{tmp_path}/{name}")
        assert found["status"] == "quarantined" and reason in found["reason"], (name, found["reason"])
        json.dumps(found)


def probe_all(*paths, limits=None, **known) -> list[dict]:
    """As on one of Spark's workers, and then what the stage keeps of it."""
    files = [{"path": str(path), "kind": kind_of(path.name), "bytes": 0, "sha256": None, **known} for path in paths]
    item = {"files": files, "limits": (limits or Limits()).model_dump(), "code": code()}
    records = probe_batch(item)["records"]
    with Known() as store:
        store.take_over()
    return records


def test_what_was_probed_is_kept_by_its_bytes(tmp_path):
    (first,) = probe_all(write_clip(tmp_path / "a.mp4"))
    assert record(first["sha256"], "video", code()) == json.loads(json.dumps({**first, "fingerprint": None}))
    assert record(first["sha256"], "picture", code()) is None and record(first["sha256"], "video", "other") is None
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    second = probe(tmp_path / "b.mp4")
    assert {**second, "fingerprint": None} == record(first["sha256"], "video", code())
    assert second["fingerprint"] != first["fingerprint"]


def test_a_damaged_store_is_made_anew(tmp_path, capsys):
    (first,) = probe_all(write_picture(tmp_path / "a.png"))
    store = next((tmp_path / "workspace").rglob("known.sqlite"))
    store.write_bytes(b"no database" * 1000)
    assert probe(tmp_path / "a.png")["status"] == "ok"
    (again,) = probe_all(tmp_path / "a.png")
    assert again == first and "every file is read again" in capsys.readouterr().err
    left = store.parent / "left" / "half.json"
    left.write_text("{")
    with Known() as opened:
        opened.take_over()
    assert not left.exists() and "are read again" in capsys.readouterr().err


def test_limits_are_those_of_the_recipe(tmp_path):
    """A refusal by a limit holds as long as the limit does; a record made under a higher one is refused as well."""
    path = write_picture(tmp_path / "a.png", size=(64, 48))
    tight, wide = Limits(pixels=64 * 48 - 1), Limits(pixels=64 * 48)
    (refused,) = probe_all(path, limits=tight)
    assert (refused["status"], refused["reason"]) == (
        "quarantined", "3072 pixels are more than 3071 (ingest.limits.pixels)"
    )  # fmt: skip
    (allowed,) = probe_all(path, limits=wide)
    assert allowed["status"] == "ok"
    assert {**probe_all(path, limits=tight)[0], "too_large": True} == refused
    assert probe_all(path, limits=wide) == [allowed]


def test_too_slow_or_too_large_for_memory(tmp_path):
    slow = tmp_path / "slow.png"
    Image.new("L", (7000, 7000)).save(slow, compress_level=1)
    quick = write_picture(tmp_path / "quick.png")
    late, fine = probe_all(slow, quick, limits=Limits(seconds=0.25))
    assert (late["status"], late["reason"], fine["status"]) == ("quarantined", "took longer than 0.25 s", "ok")
    assert late["sha256"] == file_sha256(slow) and late["fingerprint"] is None
    big, fine = probe_all(slow, quick, limits=Limits(memory_mb=100))
    assert (big["reason"], fine["status"]) == ("needed more than 100 MB", "ok")
    assert record(late["sha256"], "picture", code())["needs_over_mb"] == 100  # of `big`: the time-out was not kept
    assert probe(slow, limits={"memory_mb": 50})["reason"] == "needed more than 50 MB"
    assert probe_all(slow)[0]["status"] == "ok"


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.mp4")
    assert probe(tmp_path / "a.mp4")["reason"] == "cannot be read (not a regular file)"


def test_what_cannot_be_read_now_is_not_kept(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    path.rename(tmp_path / "away.mp4")
    assert probe(path)["status"] == "quarantined"
    os.rename(tmp_path / "away.mp4", path)
    assert probe(path)["status"] == "ok"
