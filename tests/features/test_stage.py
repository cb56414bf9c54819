"""The features stage: the same bytes for any number of workers, incremental, clear where it cannot go on."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version

import cv2
import numpy as np
import pytest
import yaml

from components.core import media, tables
from components.core.files import tree_sha256
from components.core.recipe import Features
from components.features import extract
from components.tasks.engines import graph, load
from components.tasks.engines.choice import planned
from tests.workspaces import RECIPE

COLUMNS = [field.name for field in tables.FRAMES]


def write_frames(folder, asset: str, count: int, name: str | None = None, first: int = 0) -> None:
    """A shard of `count` frames of an asset, from frame `first` on: a picture that moves."""
    still = np.random.default_rng(len(asset)).integers(0, 255, (12, 16, 3)).astype(np.uint8)
    still = cv2.resize(still, (64, 48), interpolation=cv2.INTER_CUBIC)
    rows = []
    for i in range(first, first + count):
        jpeg = media.encode_jpeg(np.roll(still, i * i, axis=1), 90)
        values = (f"{asset}-{i:08d}", asset, i, i * 100, 1, 1000, 64, 48, jpeg, 1.0, 1.0, 1.0, 0)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    tables.write_shard(folder / f"{name or asset}.parquet", rows, tables.FRAMES)


@pytest.fixture
def framed(workspace):
    """The toy workspace with five shards of frames, the last two segments of one video, and a small featurizer."""
    frames = workspace / "data" / RECIPE / "frames"
    for asset, count in (("a" * 16, 5), ("b" * 16, 1), ("c" * 16, 9)):
        write_frames(frames, asset, count)
    for number in range(2):
        write_frames(frames, "e" * 16, 3, f"{'e' * 16}-{number:05d}", 3 * number)
    set_features(workspace, backbone="sightline_small", weights="none", size=[48, 64], batch_size=4)
    return workspace


def set_features(workspace, **keys) -> None:
    document = yaml.safe_load((workspace / "params.yaml").read_text())
    document["recipes"][RECIPE]["features"] = keys
    (workspace / "params.yaml").write_text(yaml.safe_dump(document))


def stage(master: str = "local[2]") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "components.features", "--recipe", RECIPE]
    return subprocess.run(command, env=os.environ | {"SPARK_MASTER": master}, capture_output=True, text=True)


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes_and_a_new_clip_costs_one(framed):
    """Starts the stage four times, three of them with Spark."""
    out = framed / "data" / RECIPE / "features"
    done = stage("local[2]")
    assert done.returncode == 0, done.stderr
    assert "5 shards, 5 of them new" in done.stdout
    two = tree_sha256(out)
    shard = tables.read_shard(out / f"{'c' * 16}.parquet")
    assert shard.schema.field("vector").type.list_size == 284 and len(shard) == 9
    assert tables.metadata(out) == {
        "backbone": "sightline_small", "weights": "random-0", "size": "48x64", "parts": "mean,max,motion",
        "engine": f"onnxruntime {version('onnxruntime')} float32",
    }  # fmt: skip
    again = stage("local[2]")
    assert "0 of them new" in again.stdout and "spark" not in again.stderr.lower()
    shutil.rmtree(framed / ".sightline")
    assert stage("local[1]").returncode == 0
    assert tree_sha256(out) == two
    write_frames(framed / "data" / RECIPE / "frames", "d" * 16, 2)
    write_frames(framed / "data" / RECIPE / "frames", "e" * 16, 2, f"{'e' * 16}-00000")
    assert "6 shards, 3 of them new" in stage("local[1]").stdout  # the second segment's motion is against the first


def test_weights_that_cannot_be_had_are_said_before_spark(framed, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_MIRROR", str(tmp_path))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    set_features(framed, backbone="resnet50", weights="/nowhere/resnet50.pth")
    done = stage()
    assert done.returncode == 2 and "no such file" in done.stderr and "Traceback" not in done.stderr


def test_damaged_shard_is_named(framed):
    shard = framed / "data" / RECIPE / "frames" / f"{'b' * 16}.parquet"
    shard.write_bytes(shard.read_bytes()[:-40])
    done = stage("local[1]")
    assert done.returncode == 1 and shard.name in done.stderr


def test_a_bad_choice_of_engine_is_said_before_spark(framed):
    set_features(framed, weights="none", engine="onnxruntime", precision="bfloat16")
    done = stage()
    assert done.returncode == 2 and "bfloat16" in done.stderr and "spark" not in done.stderr.lower()
    set_features(framed, weights="none", backbone="vit_small_dinov2", size=[48, 64])
    done = stage()
    assert done.returncode == 2 and "patches" in done.stderr


def vectors_of(plan, engine, frames) -> np.ndarray:
    """The vectors of a folder of frames shards, each made with what it needs of its neighbours."""
    around = extract.neighbours(tables.shards(frames))
    made = [extract.shard_features(engine, plan, shard, *around[shard]) for shard in around]
    flat = [
        np.asarray(table["vector"].combine_chunks().flatten()).reshape(len(table), plan.dimension) for table in made
    ]
    return np.concatenate(flat)


@pytest.mark.parametrize("lengths", [(7, 4), (1, 10), (3, 0, 8), (1, 0, 1, 9), (5, 1, 1, 4)])
def test_segments_of_a_video_give_the_vectors_of_the_whole(framed, lengths):
    """However a video is cut, also where a segment has one frame or none; and pictures never meet."""
    params = Features(backbone="sightline_small", weights="none", size=(48, 64), batch_size=4)
    plan = graph.ready(planned(params, 1))
    engine = load(plan)
    whole, cut = framed / "whole", framed / "cut"
    write_frames(whole, "e" * 16, 11)
    first = 0
    for number, count in enumerate(lengths):
        write_frames(cut, "e" * 16, count, f"{'e' * 16}-{number:05d}", first)
        first += count
    wanted, got = vectors_of(plan, engine, whole), vectors_of(plan, engine, cut)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4)
    assert wanted[0, -1] > wanted.min()  # the first has motion: it is against the second
    for name in ("pictures-00", "pictures-01"):
        write_frames(framed / "lone", name, 1)
    lone = vectors_of(plan, engine, framed / "lone")
    still = np.log(1e-3)
    np.testing.assert_allclose(lone[:, -1], still, rtol=1e-5)
