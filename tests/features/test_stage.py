"""The features stage: the same bytes for any number of workers, incremental, clear where it cannot go on."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import yaml

from components.core import media, tables
from components.core.files import tree_sha256
from tests.workspaces import RECIPE

COLUMNS = [field.name for field in tables.FRAMES]


def write_frames(folder, asset: str, count: int) -> None:
    random = np.random.default_rng(len(asset) + count)
    rows = []
    for i in range(count):
        picture = random.integers(0, 255, (48, 64, 3)).astype(np.uint8)
        values = (
            f"{asset}-{i:08d}",
            asset,
            i,
            i * 100,
            1,
            1000,
            64,
            48,
            media.encode_jpeg(picture, 90),
            1.0,
            1.0,
            1.0,
            0,
        )
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    tables.write_shard(folder / f"{asset}.parquet", rows, tables.FRAMES)


@pytest.fixture
def framed(workspace):
    """The toy workspace with three shards of frames and a small featurizer."""
    for asset, count in (("a" * 16, 5), ("b" * 16, 1), ("c" * 16, 9)):
        write_frames(workspace / "data" / RECIPE / "frames", asset, count)
    set_features(workspace, backbone="sightline_small", weights="none", size=[48, 64], batch_size=4)
    return workspace


def set_features(workspace, **keys) -> None:
    document = yaml.safe_load((workspace / "params.yaml").read_text())
    document["recipes"][RECIPE]["features"] = keys
    (workspace / "params.yaml").write_text(yaml.safe_dump(document))


def stage(master: str = "local[2]") -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "components.features", "--recipe", RECIPE]
    return subprocess.run(command, env=os.environ | {"SPARK_MASTER": master}, capture_output=True, text=True)


def test_any_number_of_workers_gives_the_same_bytes_and_a_new_clip_costs_one(framed):
    out = framed / "data" / RECIPE / "features"
    done = stage("local[2]")
    assert done.returncode == 0, done.stderr
    assert "3 shards, 3 of them new" in done.stdout
    two = tree_sha256(out)
    shard = tables.read_shard(out / f"{'c' * 16}.parquet")
    assert shard.schema.field("vector").type.list_size == 284 and len(shard) == 9
    assert tables.metadata(out) == {
        "backbone": "sightline_small", "weights": "random-0", "size": "48x64", "parts": "mean,max,motion",
        "engine": "torch",
    }  # fmt: skip
    again = stage("local[2]")
    assert "0 of them new" in again.stdout and "spark" not in again.stderr.lower()
    shutil.rmtree(framed / ".sightline")
    assert stage("local[1]").returncode == 0
    assert tree_sha256(out) == two
    write_frames(framed / "data" / RECIPE / "frames", "d" * 16, 2)
    assert "4 shards, 1 of them new" in stage("local[1]").stdout


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
