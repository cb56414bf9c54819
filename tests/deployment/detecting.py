"""A workspace as the stages before deployment leave it for a detector of rectangles, briefly trained."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import torch
import yaml

from components.core import tables
from components.core.files import atomic_json
from components.core.recipe import Augment, Detector, Recipe, Training, load_recipe
from components.tasks.detection.learner import Learner
from components.tasks.detection.model import save_detector
from tests.tasks.detection import drawn
from tests.tasks.detection.drawn import CLASSES, RECIPE

THRESHOLD = 0.4


def write_params(root: Path, **sections) -> Recipe:
    """Writes params.yaml for the detector and loads the recipe."""
    body = {
        "task": {"kind": "detection", "classes": list(CLASSES)},
        "source": "pictures",
        "frames": {"fps": 5, "max_side": 160},
        "features": {"backbone": "sightline_small", "weights": "none", "size": [64, 96], "parts": ["mean"]},
        "training": {"head": "detector", "lr": 0.004, "penalty": 0.0},
        **sections,
    }
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    return load_recipe(RECIPE, root / "params.yaml")


def make(root: Path) -> tuple[Recipe, Path]:
    """(recipe, data folder) of a workspace with tables and a detector in data/RECIPE/model."""
    drawn.make_workspace(root, {"test": 12})
    recipe = write_params(root)
    data = root / "data" / RECIPE
    tables.write_shard(data / "features" / "part-00000.parquet", [], tables.QUARANTINE)
    write_model(data)
    atomic_json(data / "evaluation" / "metrics.json", {"ap50": 0.875})
    return recipe, data


def write_model(data: Path, threshold: float | None = THRESHOLD, **changed: torch.Tensor) -> None:
    """The trained detector in data/model, some tensors replaced."""
    form, state = trained()
    meta = {"detector": form, "classes": list(CLASSES), "positive": None, "threshold": threshold}
    save_detector(data / "model", state | changed, meta)


def make_shown(root: Path, per_split: dict[str, int], **sections) -> tuple[Recipe, Path]:
    """(recipe, data folder) of a workspace whose pictures all show red rectangles, with a detector of these alone: the
    trained one's map of red."""
    sections = {"frames": {"fps": 5, "max_side": 160}} | sections
    drawn.all_shown(root, per_split, **sections)
    recipe, data = load_recipe(RECIPE, root / "params.yaml"), root / "data" / RECIPE
    form, state = trained()
    red = {name: state[name][:1] for name in ("heat.4.weight", "heat.4.bias")}
    meta = {"detector": form | {"classes": 2}, "classes": ["background", "red"], "positive": "red"}
    save_detector(data / "model", state | red, meta | {"threshold": THRESHOLD})
    return recipe, data


@cache
def trained() -> tuple[dict, dict[str, torch.Tensor]]:
    """(form, tensors) of a light detector that knows red and blue rectangles on noise; trained once for all tests."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stream = drawn.Drawn(128, 16)
    params = Training(
        head="detector", epochs=14, lr=0.004, batch_size=16,
        detector=Detector(model="light", precision="float32", backbone_rate=1.0, max_boxes=6),
        augment=Augment(flip=True, translate=0.05, scale=0.1, colour=0.1),
    )  # fmt: skip
    learner = Learner(drawn.recipe(), params, stream.steps)
    for epoch in range(params.epochs):
        learner.train_epoch(stream, epoch)
    torch.set_num_threads(threads)
    return learner.form, learner.state()


@cache
def workspace() -> tuple[Recipe, Path]:
    """(recipe, data folder) that all tests share and none changes."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-detector-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return make(folder / "workspace")


def picture(seed: int, scale: int = 1) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A picture of rectangles, (64, 96, 3) uint8 RGB times `scale`; their boxes (N, 4) x, y, w, h in its pixels; their
    classes."""
    rgb, boxes = drawn.picture(seed)
    rgb = rgb.repeat(scale, 0).repeat(scale, 1)
    sides = boxes.boxes * np.array([rgb.shape[1], rgb.shape[0]] * 2)
    sides[:, 2:] -= sides[:, :2]
    return rgb, sides, [CLASSES[kind] for kind in boxes.classes]


def overlap(ours: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    low, high = np.maximum(ours[:2], other[:2]), np.minimum(ours[:2] + ours[2:], other[:2] + other[2:])
    shared = np.clip(high - low, 0, None).prod()
    return float(shared / (ours[2:].prod() + other[2:].prod() - shared))
