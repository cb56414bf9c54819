"""Footage of coloured people who walk, its tables, and a tracker of them that needs no training."""

import json
import zlib
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import yaml

from components.core import media, tables
from components.core.files import file_sha256
from components.core.recipe import Recipe, load_recipe
from components.core.show import picture_file, video_file
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.model import META, TENSORS, TrainedDetector
from components.tasks.detection.samples import Boxes
from components.tasks.parts import identity

RECIPE = "walking"
CLASSES = ("nothing", "person")
WIDTH, HEIGHT = 160, 96
TICKS = Fraction(1, 600)
COLOURS = ((220, 40, 40), (40, 40, 220), (40, 180, 60), (230, 200, 40))
GREY = 120
TRACKER = {"tuned": False, "high_score": 0.3, "new_score": 0.4, "min_hits": 1}


@dataclass(frozen=True)
class Walk:
    """A sequence: `people` walk through `frames` frames, the last of which shows nobody; of the `unknown` before it
    nothing is known. `ignored`: who need not be found. `pictures`: a folder of them, no video. `named`: whether it is
    known who is who."""

    name: str
    frames: int = 24
    people: tuple[int, ...] = (0, 1)
    ignored: tuple[int, ...] = ()
    unknown: int = 0
    pictures: bool = False
    split: str = "test"
    named: bool = True


WALKS = (
    Walk("gate.mp4", people=(0, 1, 2)),
    Walk("yard/east.mp4", 30, (1, 3), ignored=(3,)),
    Walk("hall.mp4", 20, (0, 2), unknown=4),
    Walk("stairs/img1", 16, (0, 1), pictures=True),
    Walk("before.mp4", split="train"),
)


def times(frames: int) -> np.ndarray:
    """The pts of a video's frames: no two steps in a row are the same."""
    return 100 + np.cumsum(60 + 7 * (np.arange(frames) % 3)) - 60


def box(person: int, at: int) -> tuple[int, int, int, int]:
    """Left, top, width, height in pixels of somebody in a frame."""
    return 6 + 3 * at + 11 * person, 4 + 23 * person, 18, 20


def picture(walk: Walk, at: int) -> np.ndarray:
    """A frame, (HEIGHT, WIDTH, 3) uint8 RGB."""
    rgb = np.full((HEIGHT, WIDTH, 3), GREY, np.uint8)
    rgb[-1, zlib.crc32(walk.name.encode()) % WIDTH] = 0  # no two files have the same bytes
    for person in walk.people if at < walk.frames - 1 else ():
        left, top, wide, high = box(person, at)
        rgb[top : top + high, left : left + wide] = COLOURS[person]
    return rgb


class Finder(torch.nn.Module):
    """pixels (B, 3, H, W) float32 -> Detections: a box around all that has a person's colour, those of `blind` not in
    every third picture of a batch."""

    def __init__(self, blind: tuple[int, ...] = ()):
        super().__init__()
        self.blind = blind

    def forward(self, pixels: torch.Tensor) -> Detections:
        count, _, height, width = pixels.shape
        boxes, scores = torch.zeros((count, 4, 4)), torch.zeros((count, 4))
        for person, colour in enumerate(COLOURS):
            like = (pixels * 255 - torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1)).abs().amax(1) < 45
            for at in range(count):
                down, across = like[at].any(1).nonzero().ravel(), like[at].any(0).nonzero().ravel()
                if len(down) and not (person in self.blind and at % 3 == 1):
                    sides = across[0] / width, down[0] / height, (across[-1] + 1) / width, (down[-1] + 1) / height
                    boxes[at, person], scores[at, person] = torch.tensor(sides), 0.9 - 0.1 * person
        scores, order = scores.sort(1, descending=True)
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        best = scores[:, :1].clamp(0.02)
        return Detections(boxes, scores, (scores > 0).long(), torch.cat([1 - best, best], 1))


class Follower(TrainedDetector):
    """A tracker of coloured people. meta: `blind` as `Finder` takes it; `swaps`: the sequences in which those whom it
    follows change their identities with each other in every fourth frame."""

    def samples(self, recipe: Recipe, *splits: str) -> FoundSamples:
        """As `TrainedDetector.samples`."""
        samples = super().samples(recipe, *splits)
        tracks = list(samples.tracks)
        for one in samples.sequences:
            for row in one.rows[3::4] if one.name in self.meta["swaps"] else ():
                tracks[row] = turned(tracks[row])
        return replace(samples, tracks=tracks)


def turned(boxes: Boxes) -> Boxes:
    """The boxes with each other's identities."""
    return replace(boxes, identities=np.roll(boxes.identities, 1))


def load_follower(folder: str | Path) -> Follower:
    """The tracker in a folder, in place of `load_trained`."""
    meta = json.loads((Path(folder) / META).read_text())
    return Follower(Path(folder), Finder(tuple(meta["blind"])), meta)


def write_model(data: Path, recipe: Recipe, swaps=(), blind=(), seed: int = 0) -> None:
    """A tracker in data/model; `seed`: what tells it from another one that does the same."""
    (data / "model").mkdir(exist_ok=True)
    (data / "model" / TENSORS).write_bytes(f"{swaps}{blind}{seed}".encode())
    digest = file_sha256(data / "model" / TENSORS)
    meta = {
        "detector": {"size": [HEIGHT, WIDTH]}, "threshold": 0.5, "tracker": TRACKER, "swaps": list(swaps),
        "blind": list(blind), "classes": list(CLASSES), "tensors": {"file": TENSORS, "sha256": digest},
        "vectors": identity(recipe.features, digest),
    }  # fmt: skip
    (data / "model" / META).write_text(json.dumps(meta))


def write_tables(root: Path, walks=WALKS, **sections) -> tuple[Recipe, Path]:
    """(recipe, data folder) of a workspace with footage of these walks and the tables of it."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    body = {
        "task": {"kind": "detection", "classes": list(CLASSES), "positive": "person", "tracks": True},
        "source": "footage", "frames": {"fps": None}, "features": {"parts": ["mean"], "size": [HEIGHT, WIDTH]},
        "training": {"head": "detector", "lr": 0.01, "penalty": 0.0}, **sections,
    }  # fmt: skip
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    data = root / "data" / RECIPE
    catalog, annotations, frames = [], [], {}
    for walk in walks:
        files = _write_footage(root / "footage", walk)
        for name, first, shown in files:
            asset = _asset(root, name, shown, walk)
            catalog.append(asset)
            for place in range(shown):
                at, pts = first + place, 0 if walk.pictures else int(times(walk.frames)[place])
                annotations += _annotations(asset["asset_id"], walk, at, pts)
                shard = f"pictures-{asset['asset_id'][0]}" if walk.pictures else asset["asset_id"]
                frames.setdefault(shard, []).append(_frame(asset["asset_id"], place, pts, picture(walk, at)))
    for shard, rows in frames.items():
        rows.sort(key=lambda row: row["frame_id"])
        tables.write_shard(data / "frames" / f"{shard}.parquet", rows, tables.FRAMES)
        keys = ("frame_id", "asset_id", "frame_index", "pts")
        vectors = [{key: row[key] for key in keys} | {"vector": [0.0, 1.0]} for row in rows]
        tables.write_shard(data / "features" / f"{shard}.parquet", vectors, tables.features_schema(2))
    tables.write_table(data / "catalog", sorted(catalog, key=lambda row: row["asset_id"]), tables.CATALOG)
    tables.write_table(data / "annotations", sorted(annotations, key=lambda row: row["asset_id"]), tables.ANNOTATIONS)
    (data / "validation.json").write_text('{"success": true, "suites": {}}')
    return load_recipe(RECIPE, root / "params.yaml"), data


def _write_footage(folder: Path, walk: Walk) -> list[tuple[str, int, int]]:
    """(name, number of its first frame, frames) of every file of a sequence."""
    shown = [picture(walk, at) for at in range(walk.frames)]
    if not walk.pictures:
        (folder / walk.name).parent.mkdir(parents=True, exist_ok=True)
        with video_file(folder / walk.name, TICKS, None) as show:
            for rgb, pts in zip(shown, times(walk.frames), strict=True):
                show(rgb, int(pts))
        return [(walk.name, 0, walk.frames)]
    files = []
    for at, rgb in enumerate(shown):
        rgb[0, at] = 255  # nor any two of these
        files.append((f"{walk.name}/{at + 1:06d}.jpg", at, 1))
        (folder / walk.name).mkdir(parents=True, exist_ok=True)
        with picture_file(folder / files[-1][0]) as show:
            show(rgb, 0)
    return files


def _asset(root: Path, name: str, shown: int, walk: Walk) -> dict:
    file = root / "footage" / name
    digest = file_sha256(file)
    moving = {
        "frame_count": shown, "first_pts": int(times(shown)[0]), "last_pts": int(times(shown)[-1]),
        "time_base_num": TICKS.numerator, "time_base_den": TICKS.denominator,
    }  # fmt: skip
    return {
        "asset_id": tables.asset_id(digest), "uri": f"footage/{name}", "name": name, "status": "ok", "sha256": digest,
        "kind": "picture" if walk.pictures else "video", "bytes": file.stat().st_size, "width": 2 * WIDTH,
        "height": 2 * HEIGHT, "split": walk.split, "site": walk.name, **({} if walk.pictures else moving),
    }  # fmt: skip


def _annotations(asset: str, walk: Walk, at: int, pts: int) -> list[dict]:
    row = {"asset_id": asset, "first_pts": pts, "last_pts": pts, "source": "human", "weight": 1.0}
    if at == walk.frames - 1:
        return [row | {"class": CLASSES[0]}]
    if at >= walk.frames - 1 - walk.unknown:
        return []
    made = []
    for person in walk.people:
        sides = dict(zip("xywh", (2.0 * side for side in box(person, at)), strict=True))
        made.append(row | sides | {"class": CLASSES[1]})
        made[-1]["track_id"] = 10 + person if walk.named else None
        made[-1]["weight"] = float(person not in walk.ignored)
    return made


def _frame(asset: str, index: int, pts: int, rgb: np.ndarray) -> dict:
    brightness, contrast, sharpness = media.statistics(rgb)
    return {
        "frame_id": f"{asset}-{index:08d}", "asset_id": asset, "frame_index": index, "pts": pts,
        "time_base_num": TICKS.numerator, "time_base_den": TICKS.denominator, "width": WIDTH, "height": HEIGHT,
        "jpeg": media.encode_jpeg(rgb, 95), "brightness": brightness, "contrast": contrast, "sharpness": sharpness,
        "perceptual_hash": 0,
    }  # fmt: skip
