"""A video of several segments through ingest and frames on real Spark: the parts put together are the whole.

Slow for two starts of Spark, because whether parts meet again is seen only where they were apart.
"""

import pyarrow.parquet as pq
import pytest

from components.core.media import read_frames
from components.core.segments import SEGMENT_FRAMES
from tests.footage import RECIPE, make_recipe, rows, run_stage, write_clip

pytestmark = pytest.mark.slow


def test_a_long_video_is_decoded_in_parts_and_is_whole(tmp_path):
    root = make_recipe(tmp_path / "workspace", frames={"fps": 5})
    clip = write_clip(root / "footage" / "long.mp4", frames=2 * SEGMENT_FRAMES + 700, g="50", bf="2")
    for stage in ("ingest", "frames"):
        code, printed = run_stage(root, stage, SPARK_MASTER="local[2]")
        assert code == 0, printed
        assert stage != "ingest" or "decode: 3 parts" in printed, printed
    (row,) = rows(root, "catalog")
    pts = [frame.pts for frame in read_frames(clip)]
    assert (row["frame_count"], row["first_pts"], row["last_pts"]) == (len(pts), pts[0], pts[-1])
    assert [pts[index] for index in row["segment_index"]] == row["segment_pts"] and len(row["segment_pts"]) == 3
    shards = sorted((root / "data" / RECIPE / "frames").glob("*.parquet"))
    assert len(shards) == 3
    found = [one for shard in shards for one in pq.read_table(shard, columns=["frame_index", "pts"]).to_pylist()]
    assert all(pts[one["frame_index"]] == one["pts"] for one in found)
    assert [one["frame_index"] for one in found] == sorted({one["frame_index"] for one in found})
    assert abs(len(found) - 5 * len(pts) * 1001 / 30000) <= 1
