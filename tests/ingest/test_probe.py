"""What is said of one file: its facts, or the reason why it is not used; never an exception."""

import json
import os
import shutil
import struct

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.TiffImagePlugin import IFDRational

from components.ingest.probe import probe_file
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
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBB", 13, b"IHDR", 60000, 60000, 8, 2, 0, 0, 0)
    (folder / "bomb.png").write_bytes(header + bytes(4))
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
        "bomb.png": "cannot be decoded as a picture",
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


def test_what_was_probed_is_kept_by_its_bytes(tmp_path):
    first = probe(write_clip(tmp_path / "a.mp4"))
    kept = sorted((tmp_path / "workspace").rglob("*.json"))
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    second = probe(tmp_path / "b.mp4", sha256=first["sha256"])
    assert kept[0].stat().st_mtime_ns == before
    assert {**second, "fingerprint": None} == json.loads(json.dumps({**first, "fingerprint": None}))
    assert second["fingerprint"] != first["fingerprint"]
    kept[0].write_text("{")
    assert probe(tmp_path / "a.mp4")["status"] == "ok"


def test_what_cannot_be_read_now_is_not_kept(tmp_path):
    path = write_clip(tmp_path / "a.mp4")
    path.rename(tmp_path / "away.mp4")
    assert probe(path)["status"] == "quarantined"
    os.rename(tmp_path / "away.mp4", path)
    assert probe(path)["status"] == "ok"
