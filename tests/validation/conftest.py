"""Small tables that meet every expectation; tests break them one thing at a time."""

import numpy as np
import pyarrow as pa
import pytest

from components.core.recipe import parse_recipe
from components.core.tables import ANNOTATIONS, CATALOG, FRAMES, QUARANTINE, features_schema

DIMENSION = 6
FRAMES_PER_ASSET = 24
SPLIT_OF = {"a1": "train", "a2": "train", "a3": "val", "a4": "test", "a5": "test"}


@pytest.fixture
def recipe():
    """At least 2 assets, 10 frames per class, .5 of them labelled; at most .2 quarantined, .05 of labels refused."""
    body = {"task": {"classes": ["normal", "suspicious"], "positive": "suspicious"}, "source": "scenes"}
    return parse_recipe("made", {**body, "training": {"lr": 0.01, "penalty": 0.001}})


@pytest.fixture
def tables():
    """Tables by name, five assets of 24 frames, the first half of each normal and the second suspicious."""
    rng = np.random.default_rng(3)
    catalog, annotations, frames, features = [], [], [], []
    for asset, split in SPLIT_OF.items():
        catalog.append(
            {"asset_id": asset, "uri": f"clips/{asset}.mp4", "name": f"{asset}.mp4", "kind": "video", "status": "ok",
             "sha256": asset * 32, "bytes": 100, "codec": "h264", "width": 64, "height": 48,
             "frame_count": FRAMES_PER_ASSET, "first_pts": 0, "last_pts": 230, "time_base_num": 1,
             "time_base_den": 100, "brightness": 90.0, "contrast": 20.0, "sharpness": 5.0, "split": split}
        )  # fmt: skip
        for start, name in ((0, "normal"), (FRAMES_PER_ASSET // 2, "suspicious")):
            last = 10 * (start + FRAMES_PER_ASSET // 2 - 1)
            row = {"asset_id": asset, "first_pts": 10 * start, "last_pts": last, "class": name}
            annotations.append(row | {"source": "human", "weight": 1.0})
        for index in range(FRAMES_PER_ASSET):
            key = {"frame_id": f"{asset}-{index:03d}", "asset_id": asset, "frame_index": index, "pts": 10 * index}
            frames.append(
                {**key, "time_base_num": 1, "time_base_den": 100, "width": 64, "height": 48, "jpeg": b"jpeg",
                 "brightness": 90.0 + index, "contrast": 20.0, "sharpness": 5.0, "perceptual_hash": index}
            )  # fmt: skip
            features.append({**key, "vector": rng.normal(size=DIMENSION).astype(np.float32).tolist()})
    return {
        "catalog": pa.Table.from_pylist(catalog, CATALOG),
        "annotations": pa.Table.from_pylist(annotations, ANNOTATIONS),
        "refused": pa.Table.from_pylist([], QUARANTINE),
        "frames": pa.Table.from_pylist(frames, FRAMES),
        "features": pa.Table.from_pylist(features, features_schema(DIMENSION)),
    }
