"""One unit's shard: the right frames, with exact times, in flat memory; a changed file is refused."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.core import media, tables
from components.core.files import file_sha256
from components.core.recipe import Frames
from components.core.segments import segments
from components.core.workcache import sealed
from components.frames import sample
from components.frames.sample import sample_unit
from components.ingest import video
from tests.footage import NTSC, REPOSITORY, picture, write_clip, write_picture


def item(path, kind="video", entry="shard.parquet", **params):
    info = media.probe_video(path) if kind == "video" else None
    num, den = info.time_base.as_integer_ratio() if info else (1, 1)
    asset = {"asset_id": file_sha256(path)[:16], "uri": str(path), "sha256": file_sha256(path)}
    asset |= {"bytes": path.stat().st_size, "time_base_num": num, "time_base_den": den}
    params = Frames(**params).model_dump(mode="json")
    made = {"kind": kind, "assets": [asset], "segment": None, "params": params}
    return made | {"entry": str(path.with_name(entry))}


def parts(path, length, **params):
    """An item per segment of `length` frames."""
    plan = video.outline(path, length)
    found = segments(plan["segment_pts"], plan["segment_index"])
    return [
        item(path, entry=f"{number:05d}.parquet", **params) | {"segment": asdict(part)}
        for number, part in enumerate(found)
    ]


def shard(made):
    return pq.read_table(made["entry"]).to_pylist()


@pytest.mark.parametrize("name", ["a.mp4", "a.mpg", "a.mkv"])
@pytest.mark.parametrize("fps", [None, 5, "30000/2002"])
def test_rows(tmp_path, monkeypatch, name, fps):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    codec = "mpeg2video" if name.endswith("mpg") else "libx264"
    path = write_clip(tmp_path / name, frames=60, rate=NTSC, codec=codec, size=(128, 96), bf="2")
    made = item(path, fps=fps, max_side=64)
    assert sample_unit(made) == {"rows": len(shard(made))}
    everything = list(media.read_frames(path))
    if fps:  # at or after k / fps: Matroska's clock counts milliseconds, so a frame may be early by one
        at = [Fraction(index) / NTSC for index in range(60)]
        samples = range(int(at[-1] * Fraction(fps)) + 1)
        wanted = [next(index for index, time in enumerate(at) if time >= k / Fraction(fps)) for k in samples]
    else:
        wanted = list(range(60))
    rows = shard(made)
    assert [row["frame_index"] for row in rows] == wanted
    for row in rows:
        frame = everything[row["frame_index"]]
        small = media.fit(frame.rgb, 64)
        assert row["pts"] == frame.pts and row["frame_id"] == f"{row['asset_id']}-{frame.index:08d}"
        assert (row["width"], row["height"]) == (64, 48)
        assert np.abs(media.decode_picture(row["jpeg"]).astype(int) - small).mean() < 6
        assert row["perceptual_hash"] == media.perceptual_hash(small)
        assert (row["brightness"], row["contrast"]) == pytest.approx(media.statistics(small)[:2], rel=1e-5)


@pytest.mark.parametrize("name", ["a.mp4", "a.mpg", "a.mkv"])
@pytest.mark.parametrize("fps", [None, 5, "30000/2002"])
def test_the_segments_of_a_video_hold_the_rows_of_the_whole(tmp_path, monkeypatch, name, fps):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    codec = "mpeg2video" if name.endswith("mpg") else "libx264"
    path = write_clip(tmp_path / name, frames=100, rate=NTSC, codec=codec, size=(128, 96), bf="2", g="12")
    whole, made = item(path, fps=fps), parts(path, 30, fps=fps)
    for one in [whole, *made]:
        assert "rows" in sample_unit(one)
    assert len(made) == 3
    assert [row for one in made for row in shard(one)] == shard(whole)


def test_the_bytes_of_a_long_video_are_read_once(tmp_path, monkeypatch):
    """A segment takes the word of the check before it, unless the file was touched since."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    path = write_clip(tmp_path / "a.mp4", frames=100, g="12")
    first, second, _ = parts(path, 30)
    reads = []
    monkeypatch.setattr(sample, "file_sha256", lambda file: reads.append(file) or file_sha256(file))
    stamp = sample.check_file(first["assets"][0])["stamp"]
    for one in (first, second):
        one["assets"][0]["stamp"] = stamp
        assert "rows" in sample_unit(one)
    assert len(reads) == 1
    os.utime(path, (1, 1))
    Path(second["entry"]).unlink()
    assert "rows" in sample_unit(second) and len(reads) == 2
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    Path(second["entry"]).unlink()
    assert "its bytes are not those" in sample_unit(second)["problem"]
    assert "its bytes are not those" in sample.check_file(first["assets"][0])["problem"]


def test_a_file_written_to_while_it_is_read_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    path = write_clip(tmp_path / "a.mp4")
    made = item(path)
    monkeypatch.setattr(sample, "frames_of", lambda *_: os.utime(path, (1, 1)) or [])
    assert "written to while it was read" in sample_unit(made)["problem"]


def test_pictures_are_one_frame_each(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    made = item(write_picture(tmp_path / "a.png", seed=3), "picture", fps=5, max_side=None)
    other = item(write_picture(tmp_path / "b.jpg", seed=4), "picture")
    made["assets"] += other["assets"]
    assert sample_unit(made) == {"rows": 2}
    rows = shard(made)
    assert [(row["frame_index"], row["pts"], row["time_base_den"]) for row in rows] == [(0, 0, 1)] * 2
    assert np.abs(media.decode_picture(rows[0]["jpeg"]).astype(int) - picture(3)).mean() < 6


@pytest.mark.parametrize("change", ["byte", "length", "gone"])
def test_a_changed_file_is_refused(tmp_path, monkeypatch, change):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    path = write_clip(tmp_path / "a.mp4")
    made = item(path)
    content = bytearray(path.read_bytes())
    if change == "byte":
        content[-1] ^= 1
        path.write_bytes(content)
    elif change == "length":
        path.write_bytes(content[:-1])
    else:
        path.unlink()
    found = sample_unit(made)
    assert found["problem"].startswith(f"{path}: changed since ingest") and "ingest" in found["remedy"]
    assert sealed(tmp_path / "shard.parquet") is None and not (tmp_path / "shard.parquet").exists()


MEASURE = """
import json, resource, sys
from components.frames.sample import sample_unit
sample_unit(json.loads(sys.argv[1]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.parametrize("whole", [True, False])
def test_memory_is_flat_in_the_length_of_the_video(tmp_path, monkeypatch, whole):
    """Ten times the frames: 2,000 decoded pictures are 180 MB; JPEGs leave by row groups, whatever their number."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    peak = {}
    for frames in (200, 2000):
        path = write_clip(tmp_path / f"{frames}.mkv", frames, "mpeg2video", rate=Fraction(25), size=(200, 152))
        made = item(path, fps=None) if whole else parts(path, 10_000, fps=None)[0]
        made["entry"] = str(tmp_path / f"{frames}.parquet")
        command = [sys.executable, "-c", MEASURE, json.dumps(made)]
        peak[frames] = int(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout)
    assert pq.read_metadata(tmp_path / "2000.parquet").num_row_groups == -(-2000 // tables.ROW_GROUP)
    assert peak[2000] < peak[200] + 60, peak
