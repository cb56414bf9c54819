"""A workspace with the tables that ingest, frames and features leave of a set of pictures, a folder per class."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
import yaml

from components.core import media, tables
from components.core.recipe import Features, parse_recipe
from components.tasks.featurizer import build_featurizer
from components.tasks.parts import identity

RECIPE = "glyphs"
SIZE = 32
CLASSES = ("bar", "cross", "ring")


def drawn(kind: str, seed: int) -> np.ndarray:
    """A dark figure of this kind on white, (SIZE, SIZE, 3) uint8, of its own place, size and slant."""
    random = np.random.default_rng([seed, CLASSES.index(kind)])
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE / 2 - random.uniform(-3, 3, (2, 1, 1))
    turn, size = random.uniform(-0.4, 0.4), random.uniform(8, 12)
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    inside = np.maximum(abs(u), abs(v)) < size
    ink = {
        "bar": (abs(u) < 2) & inside,
        "cross": ((abs(u) < 2) | (abs(v) < 2)) & inside,
        "ring": abs(np.hypot(u, v) - size + 2) < 2,
    }[kind]
    grey = np.where(ink, 40.0, 240.0) + random.normal(0, 6, (SIZE, SIZE))
    return np.repeat(grey.clip(0, 255).astype(np.uint8)[..., None], 3, -1)


def params(training: dict, **features) -> dict:
    """params.yaml of the recipe: no positive class, the vectors of a small untrained backbone."""
    shown = {"backbone": "sightline_small", "weights": "none", "size": [SIZE, SIZE], "parts": ["mean", "max"]}
    return {
        "recipes": {
            RECIPE: {
                "task": {"classes": list(CLASSES)},
                "source": "pictures",
                "frames": {"fps": None},
                "features": shown | features,
                "training": {"penalty": 0.0, "lr": 0.01, **training},
            }
        }
    }


def make_pictures(root: Path, training: dict, per_split: dict[str, int], **features) -> Path:
    """Writes the workspace at `root`, with so many pictures of each class in each split."""
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    body = write_params(root, training, **features)
    pictures = [
        (kind, split, drawn(kind, number if split == "train" else 1000 + number + 500 * (split == "test")))
        for split, count in per_split.items()
        for kind in CLASSES
        for number in range(count)
    ]
    write_tables(root / "data" / RECIPE, pictures, parse_recipe(RECIPE, body["recipes"][RECIPE]).features)
    return root


def write_params(root: Path, training: dict, **features) -> dict:
    """Writes params.yaml anew and gives what it holds."""
    body = params(training, **features)
    (root / "params.yaml").write_text(yaml.safe_dump(body))
    return body


def write_tables(data: Path, pictures: list[tuple[str, str, np.ndarray]], features: Features) -> None:
    """catalog, annotations, frames, features, validation.json and tuning.json of (class, split, picture) in `data`."""
    catalog, annotations, shards = [], [], defaultdict(list)
    for kind, split, rgb in pictures:
        digest = hashlib.sha256(rgb.tobytes()).hexdigest()
        asset, (height, width) = digest[:16], rgb.shape[:2]
        catalog.append(
            {
                "asset_id": asset, "uri": f"pictures/{kind}/{asset}.png", "name": f"{kind}/{asset}.png",
                "kind": "picture", "status": "ok", "sha256": digest, "bytes": rgb.nbytes, "width": width,
                "height": height, "split": split,
            }
        )  # fmt: skip
        annotations.append(
            {"asset_id": asset, "first_pts": 0, "last_pts": 0, "class": kind, "source": "human", "weight": 1.0}
        )
        brightness, contrast, sharpness = media.statistics(rgb)
        shards[asset[:2]].append(
            {
                "frame_id": f"{asset}-00000000", "asset_id": asset, "frame_index": 0, "pts": 0, "time_base_num": 1,
                "time_base_den": 1, "width": width, "height": height, "jpeg": media.encode_jpeg(rgb, 95),
                "brightness": brightness, "contrast": contrast, "sharpness": sharpness,
                "perceptual_hash": media.perceptual_hash(rgb),
            }
        )  # fmt: skip
    featurizer = build_featurizer(features)
    noted = identity(features, featurizer.weights_digest) | {"engine": "torch"}
    schema = tables.features_schema(featurizer.dimension).with_metadata(noted)
    for name, rows in shards.items():
        rows.sort(key=lambda row: row["asset_id"])
        tables.write_shard(data / "frames" / f"pictures-{name}.parquet", rows, tables.FRAMES)
        pixels = [media.resize(media.decode_picture(row["jpeg"]), *features.size) for row in rows]
        with torch.inference_mode():
            vectors = featurizer(torch.from_numpy(np.stack(pixels))[:, None])[:, 0].numpy()
        flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("vector").type)
        ids = pa.Table.from_pylist(rows).select(["frame_id", "asset_id", "frame_index", "pts"])
        tables.write_shard(
            data / "features" / f"pictures-{name}.parquet", ids.append_column("vector", flat).cast(schema), schema
        )
    tables.write_table(data / "catalog", sorted(catalog, key=lambda row: row["asset_id"]), tables.CATALOG)
    tables.write_table(data / "annotations", sorted(annotations, key=lambda row: row["asset_id"]), tables.ANNOTATIONS)
    (data / "validation.json").write_text(json.dumps({"success": True}))
    (data / "tuning.json").write_text(json.dumps({"best": {}, "loss": None, "metrics": {}, "trials": []}))
