"""One unit's shard: the right frames, with exact times, in flat memory; a changed file is refused."""

import json
import subprocess
import sys
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest

from components.core import media, tables
from components.core.files import file_sha256
from components.core.recipe import Frames
from components.core.workcache import sealed
from components.frames.sample import sample_unit
from tests.footage import NTSC, REPOSITORY, picture, write_clip, write_picture


def item(path, kind="video", entry="shard.parquet", **params):
    info = media.probe_video(path) if kind == "video" else None
    num, den = info.time_base.as_integer_ratio() if info else (1, 1)
    asset = {"asset_id": file_sha256(path)[:16], "uri": str(path), "sha256": file_sha256(path)}
    asset |= {"bytes": path.stat().st_size, "time_base_num": num, "time_base_den": den}
    params = Frames(**params).model_dump(mode="json")
    return {"name": "unit", "kind": kind, "assets": [asset], "entry": str(path.with_name(entry)), "params": params}


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


def test_memory_is_flat_in_the_length_of_the_video(tmp_path, monkeypatch):
    """Ten times the frames: 2,000 decoded pictures are 180 MB; JPEGs leave by row groups, whatever their number."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    peak = {}
    for frames in (200, 2000):
        path = write_clip(tmp_path / f"{frames}.mpg", frames, "mpeg2video", rate=Fraction(25), size=(200, 152))
        made = item(path, entry=f"{frames}.parquet", fps=None)
        command = [sys.executable, "-c", MEASURE, json.dumps(made)]
        peak[frames] = int(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout)
    assert pq.read_metadata(tmp_path / "2000.parquet").num_row_groups == -(-2000 // tables.ROW_GROUP)
    assert peak[2000] < peak[200] + 60, peak
