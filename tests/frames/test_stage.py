"""The stage as a command, on Spark: killed, repeated, with one worker or two, it leaves the same bytes."""

import random
import shutil
import time
from fractions import Fraction

import pyarrow.parquet as pq
import pytest

from components.core.recipe import parse_recipe
from components.core.tables import CATALOG, write_table
from components.ingest.catalog import catalog_rows
from components.ingest.probe import probe_file
from components.ingest.sources import locate
from tests.footage import (
    NTSC,
    RECIPE,
    contents,
    kill_stage,
    make_recipe,
    rows,
    run_stage,
    start_stage,
    write_clip,
    write_picture,
)

FRAMES = {"fps": None, "max_side": 200}
CLIPS = {
    "a.mp4": {"rate": NTSC, "bf": "2"},
    "b.mpg": {"rate": Fraction(25), "codec": "mpeg2video"},
    "c.mkv": {"rate": NTSC},
    "d.mp4": {"rate": Fraction(25), "frames": 400},
    "e.mp4": {"rate": Fraction(25), "frames": 200},
    "long.mkv": {"rate": Fraction(25), "codec": "mpeg2video", "g": "12", "frames": 6500, "size": (32, 32)},
}


def write_catalog(root, monkeypatch):
    """What ingest writes, without its Spark session."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    task = {"classes": ["normal", "suspicious"], "positive": "suspicious"}
    source = locate(parse_recipe(RECIPE, {"task": task, "source": "footage", "training": {"lr": 0.01, "penalty": 0.1}}))
    records = [probe_file({"path": str(source.root / name)}) for name in source.files]
    write_table(root / "data" / RECIPE / "catalog", catalog_rows(source, records), CATALOG)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(workspace after an uninterrupted run on two cores, its shards, the seconds the run took)."""
    root = make_recipe(tmp_path_factory.mktemp("frames"), frames=FRAMES)
    for seed, (name, options) in enumerate(CLIPS.items()):
        write_clip(root / "footage" / name, **{"frames": 60, "size": (320, 240), "seed": seed, **options})
    for seed in range(3):
        write_picture(root / "footage" / f"p{seed}.png", seed)
    with pytest.MonkeyPatch.context() as patch:
        write_catalog(root, patch)
    start = time.monotonic()
    code, printed = run_stage(root, "frames", SPARK_MASTER="local[2]")
    assert code == 0, printed
    return root, contents(root / "data" / RECIPE / "frames"), time.monotonic() - start


def test_a_shard_per_video_segment_and_group_of_pictures(made):
    root, shards, _ = made
    catalog = rows(root, "catalog")
    videos = {row["asset_id"]: row["frame_count"] for row in catalog if row["kind"] == "video"}
    long = next(row for row in catalog if row["name"] == "long.mkv")
    assert long["segment_index"] == [0, 3000, 6000]
    groups = {f"pictures-{row['asset_id'][:2]}" for row in catalog if row["kind"] == "picture"}
    names = {*videos, *groups, *(f"{long['asset_id']}-{number:05d}" for number in range(3))} - {long["asset_id"]}
    assert set(shards) == {f"{name}.parquet" for name in names}
    for asset, count in videos.items():
        paths = sorted((root / "data" / RECIPE / "frames").glob(f"{asset}*.parquet"))
        found = pq.read_table(paths, columns=["asset_id", "frame_index"]).to_pylist()
        assert found == [{"asset_id": asset, "frame_index": index} for index in range(count)]


def test_killed_at_any_instant_the_next_run_leaves_the_same_bytes(made, tmp_path):
    """Killed once anywhere and once in the midst of the shards; finished on one core instead of two."""
    root, shards, seconds = made
    other = make_recipe(tmp_path / "other", frames=FRAMES)
    shutil.copytree(root / "footage", other / "footage")
    shutil.copytree(root / "data" / RECIPE / "catalog", other / "data" / RECIPE / "catalog")
    work = other / ".sightline" / "work" / "frames"
    instant = random.Random(5).uniform(0.2, seconds)
    kills = {
        f"after {instant:.2f} s": lambda time_s: time_s > instant,
        "at the first shard": lambda _: any(work.rglob("*.seal.json")),
    }
    for name, due in kills.items():
        process = start_stage(other, "frames", SPARK_MASTER="local[2]")
        start = time.monotonic()
        while process.poll() is None and not due(time.monotonic() - start):
            time.sleep(0.02)
        assert kill_stage(process), f"killed {name}: its workers live on"
    code, printed = run_stage(other, "frames", SPARK_MASTER="local[1]")
    assert code == 0, printed
    assert contents(other / "data" / RECIPE / "frames") == shards


def test_again_without_spark_and_damage_is_mended(made):
    root, shards, _ = made
    folder = root / "data" / RECIPE / "frames"
    (folder / "stale.parquet").write_bytes(b"of an asset that is gone")
    code, printed = run_stage(root, "frames", JAVA_HOME="/nowhere", PYSPARK_PYTHON="/nowhere")
    assert code == 0 and "0 of them made now" in printed
    assert contents(folder) == shards
    shutil.rmtree(folder)  # as DVC does before a run
    assert run_stage(root, "frames", JAVA_HOME="/nowhere", PYSPARK_PYTHON="/nowhere")[0] == 0
    assert contents(folder) == shards


def test_a_new_clip_costs_one_clip_and_a_changed_one_is_refused(made, monkeypatch):
    root, shards, _ = made
    footage = root / "footage"
    picture = next((root / "data" / RECIPE / "frames").glob("pictures-*"))
    with open(picture, "r+b") as file:  # damaged in place: the cache's entry is the same file
        file.write(b"XXXX")
    write_clip(footage / "new.mp4", seed=9)
    write_clip(footage / "other.mp4", seed=10)
    write_catalog(root, monkeypatch)
    write_clip(footage / "other.mp4", seed=11)
    code, printed = run_stage(root, "frames")
    assert code == 1 and "other.mp4: changed since ingest" in printed and "Traceback" not in printed
    (footage / "other.mp4").unlink()
    write_catalog(root, monkeypatch)
    code, printed = run_stage(root, "frames", JAVA_HOME="/nowhere", PYSPARK_PYTHON="/nowhere")
    assert code == 0 and "0 of them made now" in printed, printed  # the run that failed kept what it had done
    after = contents(root / "data" / RECIPE / "frames")
    assert {name: after[name] for name in shards} == shards and len(after) == len(shards) + 1
