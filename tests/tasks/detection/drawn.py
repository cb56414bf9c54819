"""Generated pictures of rectangles on noise, their boxes, and a workspace with the tables of such pictures."""

import hashlib
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
import yaml

from components.core import media, tables
from components.core.files import atomic_json
from components.core.recipe import Recipe, parse_recipe
from components.tasks.detection.samples import NOTHING, Batch, Boxes, batch_of

RECIPE = "blocks"
CLASSES = ("background", "red", "blue")
COLOURS = ((220, 40, 40), (40, 40, 220))
TRAINING = {
    "head": "detector", "workers": 2, "epochs": 6, "patience": None, "batch_size": 4, "lr": 0.006, "penalty": 0.0,
    "detector": {"precision": "float32", "backbone_rate": 1.0, "max_boxes": 6},
    "augment": {"flip": True, "translate": 0.05},
}  # fmt: skip


def recipe(size: tuple[int, int] = (64, 96), weights: str = "none") -> Recipe:
    """A recipe of rectangles in two colours."""
    features = {"backbone": "sightline_small", "weights": weights, "size": list(size), "parts": ["mean"]}
    body = {"task": {"classes": list(CLASSES)}, "source": "pictures", "features": features}
    return parse_recipe(RECIPE, body | {"training": {"lr": 0.01, "penalty": 0.0}})


def picture(seed: int, height: int = 64, width: int = 96, fewest: int = 0, kinds: int = 2) -> tuple[np.ndarray, Boxes]:
    """Up to two rectangles on noise, (height, width, 3) uint8 RGB, and their boxes; a fifth of the pictures are empty,
    but with `fewest` 1 each shows something. Rectangles do not touch and their sides lie between whole pixels.

    `kinds`: how many colours they have.
    """
    random = np.random.default_rng(seed)
    rgb = random.normal(128, 30, (height, width, 3)).clip(0, 255).astype(np.uint8)
    boxes, classes = [], []
    for place in range(max(fewest, int(random.choice(3, p=(0.2, 0.5, 0.3))))):
        wide, high = int(random.integers(16, width // 2 - 4)), int(random.integers(16, height - 8))
        left = place * width // 2 + int(random.integers(0, width // 2 - wide))
        top, kind = int(random.integers(0, height - high)), int(random.integers(kinds))
        rgb[top : top + high, left : left + wide] = COLOURS[kind]
        boxes.append((left / width, top / height, (left + wide) / width, (top + high) / height))
        classes.append(kind + 1)
    if not boxes:
        return rgb, NOTHING
    return rgb, Boxes(np.array(boxes, np.float32), np.array(classes, np.int64), np.ones(len(boxes), np.float32))


def batch(seeds: range, height: int = 64, width: int = 96) -> Batch:
    """The pictures of these seeds as a batch."""
    pixels, boxes = zip(*(picture(seed, height, width) for seed in seeds), strict=True)
    return batch_of(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255, list(boxes))


class Drawn:
    """A stream of generated pictures, `steps` batches an epoch, as `BoxStream` gives them."""

    rank = 0

    def __init__(self, count: int, batch_size: int, first: int = 0):
        self.batches = [batch(range(at, at + batch_size)) for at in range(first, first + count, batch_size)]
        self.steps = len(self.batches)

    def epoch(self, epoch: int):
        """The batches in an order of the epoch's own."""
        return iter([self.batches[at] for at in np.random.default_rng(epoch).permutation(self.steps)])


def make_workspace(
    root: Path, per_split: dict[str, int], fewest: int = 0, kinds: int = 2, source: str = "lime", **sections: dict
) -> Path:
    """Writes a workspace whose pictures are twice as large in the catalog as their frames, with boxes and negatives.

    Of every five pictures the last has no annotation at all. `fewest`, `kinds`: as `picture` takes them; `source`: who
    drew the boxes; `sections`: of the recipe.
    """
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    body = recipe().model_dump(mode="json", include={"task", "source", "features"})
    body |= {"training": {"lr": 0.01, "penalty": 0.0}} | sections
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    catalog, annotations, shards = [], [], defaultdict(list)
    for split, count in per_split.items():
        for number in range(count):
            rgb, boxes = picture(10_000 * (1 + list(per_split).index(split)) + number, fewest=fewest, kinds=kinds)
            digest = hashlib.sha256(rgb.tobytes()).hexdigest()
            asset, (height, width) = digest[:16], rgb.shape[:2]
            catalog.append(
                {
                    "asset_id": asset, "uri": f"pictures/{asset}.png", "name": f"{asset}.png", "kind": "picture",
                    "status": "ok", "sha256": digest, "bytes": rgb.nbytes, "width": 2 * width, "height": 2 * height,
                    "split": split,
                }
            )  # fmt: skip
            row = {"asset_id": asset, "first_pts": 0, "last_pts": 0, "source": source, "weight": 0.5}
            if number % 5 < 4:
                for (left, top, right, bottom), kind in zip(boxes.boxes, boxes.classes, strict=True):
                    sides = {"x": left * width, "y": top * height, "w": (right - left) * width}
                    sides = {name: 2 * value for name, value in (sides | {"h": (bottom - top) * height}).items()}
                    annotations.append(row | sides | {"class": CLASSES[kind]})
                if not len(boxes):
                    annotations.append(row | {"class": "background", "source": "search"})
            brightness, contrast, sharpness = media.statistics(rgb)
            shards[asset[:1]].append(
                {
                    "frame_id": f"{asset}-00000000", "asset_id": asset, "frame_index": 0, "pts": 0, "time_base_num": 1,
                    "time_base_den": 1, "width": width, "height": height, "jpeg": media.encode_jpeg(rgb, 95),
                    "brightness": brightness, "contrast": contrast, "sharpness": sharpness,
                    "perceptual_hash": media.perceptual_hash(rgb),
                }
            )  # fmt: skip
    data = root / "data" / RECIPE
    for name, rows in shards.items():
        rows.sort(key=lambda row: row["asset_id"])
        tables.write_shard(data / "frames" / f"pictures-{name}.parquet", rows, tables.FRAMES)
    tables.write_table(data / "catalog", sorted(catalog, key=lambda row: row["asset_id"]), tables.CATALOG)
    tables.write_table(data / "annotations", sorted(annotations, key=lambda row: row["asset_id"]), tables.ANNOTATIONS)
    return root


def all_shown(root: Path, per_split: dict[str, int], **sections: dict) -> Path:
    """A workspace whose pictures all show red rectangles, drawn by people, and nothing else is known of any: with all
    tables and files that the stages from training on read."""
    task = {"kind": "detection", "classes": ["background", "red"], "positive": "red"}
    sections = {"task": task, "training": TRAINING} | sections
    make_workspace(root, per_split, fewest=1, kinds=1, source="human", **sections)
    data = root / "data" / RECIPE
    for file in tables.shards(data / "frames"):
        frames = tables.read_shard(file, ["frame_id", "asset_id", "frame_index", "pts"]).to_pylist()
        random = np.random.default_rng(0)
        rows = [row | {"vector": random.normal(size=4).astype(np.float32).tolist()} for row in frames]
        tables.write_shard(data / "features" / file.name, rows, tables.features_schema(4))
    atomic_json(data / "validation.json", {"success": True, "suites": {}})
    atomic_json(data / "tuning.json", {"best": {}, "loss": None, "metrics": {}, "trials": []})
    return root
