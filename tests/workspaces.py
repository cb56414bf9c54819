"""A workspace with the tables that ingest, frames and features would leave, made from a seed without any footage."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from components.core import tables

DIMENSION = 6
FRAMES = 40
SPLITS = {"train": 6, "val": 3, "test": 3}
RECIPE = "toy"


def params(**training) -> dict:
    """params.yaml of the toy recipe, with these training parameters."""
    return {
        "recipes": {
            RECIPE: {
                "task": {"classes": ["normal", "suspicious"], "positive": "suspicious"},
                "source": "footage",
                "tuning": {
                    "trials": 4, "parallelism": 2, "startup_trials": 2, "epochs": 2,
                    "space": {"lr": {"low": 0.001, "high": 0.1, "log": True}},
                },
                "training": {
                    "epochs": 4, "patience": 4, "batch_size": 16, "lr": 0.05, "penalty": 0.001, "window_s": 0.3,
                    **training,
                },
            }
        }
    }  # fmt: skip


def make_workspace(root: Path, **training) -> Path:
    """Writes the workspace at `root`: videos of 10 frames/s whose vectors tell the two classes apart, with noise."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    write_params(root, **training)
    data = root / "data" / RECIPE
    catalog, annotations = [], []
    for split, count in SPLITS.items():
        for number in range(count):
            asset = f"{split}{number:02d}".ljust(16, "0")
            catalog.append(catalog_row(asset, split))
            start, end = 10 + number, 24 + 2 * number
            _features(data / "features" / f"{asset}.parquet", asset, start, end)
            for first, last, name in (
                (0, start - 1, "normal"),
                (start, end, "suspicious"),
                (end + 1, FRAMES - 1, "normal"),
            ):
                annotations.append(_annotation(asset, first * 100, last * 100, name))
    tables.write_shard(data / "catalog" / "part-00000.parquet", catalog, tables.CATALOG)
    tables.write_shard(data / "annotations" / "part-00000.parquet", annotations, tables.ANNOTATIONS)
    tables.write_shard(data / "refused" / "part-00000.parquet", [], tables.QUARANTINE)
    (data / "validation.json").write_text(json.dumps({"success": True}))
    (data / "tuning.json").write_text(json.dumps({"best": {}, "loss": None, "metrics": {}, "trials": []}))
    return root


def write_params(root: Path, **training) -> None:
    """Writes params.yaml anew."""
    (root / "params.yaml").write_text(yaml.safe_dump(params(**training)))


def kill_when(command: list[str], root: Path, pattern: str, timeout: float = 600) -> None:
    """Starts `command` and ends its process group with -9 as soon as a file of `root` matches `pattern`."""
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + timeout
    while not list(root.glob(pattern)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def catalog_row(asset: str, split: str) -> dict:
    """A row of the catalog: a video that is usable."""
    return {
        "asset_id": asset, "uri": f"footage/{asset}.mp4", "name": f"{asset}.mp4", "kind": "video", "status": "ok",
        "sha256": asset * 4, "bytes": 1000, "codec": "h264", "width": 64, "height": 48, "frame_count": FRAMES,
        "first_pts": 0, "last_pts": 100 * (FRAMES - 1), "time_base_num": 1, "time_base_den": 1000, "rate_num": 10,
        "rate_den": 1, "brightness": 100.0, "contrast": 20.0, "sharpness": 50.0, "split": split,
    }  # fmt: skip


def _annotation(asset: str, first: int, last: int, name: str) -> dict:
    return {
        "asset_id": asset, "first_pts": first, "last_pts": last, "class": name, "source": "human", "weight": 1.0,
    }  # fmt: skip


def _features(path: Path, asset: str, start: int, end: int) -> None:
    random = np.random.default_rng(np.frombuffer(asset.encode(), np.uint8))
    vectors = random.normal(size=(FRAMES, DIMENSION)).astype(np.float32)
    vectors[start : end + 1, :2] += 1.5
    schema = tables.features_schema(DIMENSION)
    columns = [
        pa.array([f"{asset}-{i:08d}" for i in range(FRAMES)]), pa.array([asset] * FRAMES),
        pa.array(range(FRAMES), pa.int64()), pa.array([100 * i for i in range(FRAMES)], pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("vector").type),
    ]  # fmt: skip
    tables.write_shard(path, pa.table(columns, schema=schema), schema)
