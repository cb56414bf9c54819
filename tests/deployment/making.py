"""A workspace as the stages before promotion leave it, made from seeds: a real head, real JPEG frames, scores."""

import atexit
import json
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import torch
import yaml
from mlflow import MlflowClient

from components.core import tables
from components.core.files import atomic_json, file_sha256
from components.core.lineage import BEFORE, dvc_digest, short_version
from components.core.media import encode_jpeg
from components.core.recipe import Recipe, load_recipe
from components.tasks.classification.metrics import frame_metrics
from components.tasks.classification.model import TENSORS, new_head, save_model
from components.tasks.featurizer import build_featurizer
from components.tasks.parts import identity
from tests.workspaces import catalog_row

RECIPE = "toy"
CLASSES = ("normal", "suspicious")
HEIGHT, WIDTH = 48, 64
ASSETS, FRAMES = 6, 8


def write_params(root: Path, gates: dict | None = None, features: dict | None = None, **sections) -> Recipe:
    """Writes params.yaml (and an empty dvc.yaml) and loads the recipe: a random backbone, unless said otherwise."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    body = {
        "task": {"classes": list(CLASSES), "positive": "suspicious"},
        "source": "footage",
        "frames": {"fps": "30000/1001", "max_side": 96},
        "features": {"size": [HEIGHT, WIDTH], "parts": ["mean"], "weights": "none", **(features or {})},
        "training": {"lr": 0.1, "penalty": 0.001},
        "promotion": {"gates": {"minimum": 0.6, **(gates or {})}},
        **sections,
    }
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    return load_recipe(RECIPE, root / "params.yaml")


def write_tables(data: Path) -> None:
    """Frames of clips in which a bright block moves; the other tables only so that their digests can be taken."""
    for number in range(ASSETS):
        asset = f"{number:016x}"
        rows = [_frame_row(asset, number, index) for index in range(FRAMES)]
        tables.write_shard(data / "frames" / f"{asset}.parquet", rows, tables.FRAMES)
    for table in ("catalog", "annotations", "features"):
        tables.write_shard(data / table / "part-00000.parquet", [], tables.QUARANTINE)


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH, shift: int = 0) -> np.ndarray:
    """(height, width, 3) uint8 RGB: smooth noise, and a block at a place that `shift` moves."""
    noise = np.random.default_rng(seed).integers(0, 120, (6, 8, 3), dtype=np.uint8)
    rgb = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    left = (3 * seed + shift) % max(1, width - 12)
    rgb[height // 3 : height // 3 + 10, left : left + 10] = 230
    return rgb


def _frame_row(asset: str, seed: int, index: int) -> dict:
    return {
        "frame_id": f"{asset}-{index:08d}", "asset_id": asset, "frame_index": index, "pts": index * 1001,
        "time_base_num": 1, "time_base_den": 30000, "width": WIDTH, "height": HEIGHT,
        "jpeg": encode_jpeg(picture(seed, shift=index * (seed + 1)), 92),
        "brightness": 1.0, "contrast": 1.0, "sharpness": 1.0, "perceptual_hash": 0,
    }  # fmt: skip


def write_model(data: Path, recipe: Recipe, seed: int, threshold: float = 0.5) -> str:
    """A temporal head with seeded weights in data/model; returns its digest."""
    featurizer = build_featurizer(recipe.features)
    dimension = featurizer.dimension
    form = {"kind": "temporal", "dimension": dimension, "classes": 2, "hidden": 8, "reach": 2, "dropout": 0.0}
    head = new_head(form, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.3)
    vectors = identity(recipe.features, featurizer.weights_digest)
    save_model(data / "model", head.state_dict(), {"head": form, "threshold": threshold, "vectors": vectors})
    return file_sha256(data / "model" / TENSORS)


def write_evaluation(
    data: Path, skill: float, seed: int = 0, assets: int = 10, frames: int = 20, first: int = 0
) -> float:
    """Predictions on labelled frames that are right the more often the greater `skill`, and their metrics.

    Assets are numbered from `first`; labels depend on asset and frame alone. Returns the frame AUC.
    """
    random = np.random.default_rng(seed)
    model = data / "model" / TENSORS
    version = short_version(file_sha256(model)) if model.is_file() else "x"
    rows, labels, scores = [], [], []
    for number in range(first, first + assets):
        for index in range(frames):
            label = int(index >= frames // 2)
            score = float(np.float32(1 / (1 + np.exp(-random.normal(skill * (2 * label - 1), 1)))))
            labels.append(label)
            scores.append(score)
            rows.append({
                "uri": "clip.mp4", "asset_id": f"{number:016x}", "frame_index": index, "pts": index, "timestamp_s": 0.0,
                "label": CLASSES[label], "prediction": CLASSES[int(score >= 0.5)], "score": score,
                "model_version": version, "prob_normal": 1 - score, "prob_suspicious": score,
            })  # fmt: skip
    folder = data / "evaluation" / "predictions"
    tables.write_shard(folder / "part-00000.parquet", rows, tables.predictions_schema(CLASSES))
    positive = np.array(scores)
    metrics = frame_metrics(np.array(labels), np.stack([1 - positive, positive], 1), 1)
    atomic_json(data / "evaluation" / "metrics.json", metrics)
    atomic_json(data / "validation.json", {"success": True, "suites": {}})
    return metrics["frame_auc"]


def write_lineage(root: Path, data: Path, assets: int = 10) -> None:
    """What the stages before leave apart from tables that are looked into: a commit, a catalog, features, dvc.lock."""
    rows = [catalog_row(f"{number:016x}", "test") for number in range(assets)]
    tables.write_shard(data / "catalog" / "part-00000.parquet", rows, tables.CATALOG)
    for row in rows:
        write_features(data, row["asset_id"], np.zeros((1, 2), np.float32))
    write_lock(root, data)


def write_lock(root: Path, data: Path, recipe: str = RECIPE) -> None:
    """What DVC and git leave of the stages that made the recipe's tables in `data`: dvc.lock, and a commit."""
    model = {"path": f"data/{recipe}/model", "hash": "md5", "md5": dvc_digest(data / "model")}
    stages = {
        f"{stage}@{recipe}": {"cmd": "python", "outs": [model] if stage == "training" else []} for stage in BEFORE
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    if not (root / ".git").is_dir():
        git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
        for command in (["init", "-q"], ["add", "params.yaml"], ["commit", "-qm", "toy"]):
            subprocess.run([*git, *command], cwd=root, check=True)


def write_features(data: Path, asset: str, vectors: np.ndarray, notes: dict[str, str] | None = None) -> None:
    """The shard of one asset in the features table: a row for each of the vectors, (N, D) float32; with the notes of
    what made them."""
    count, dimension = vectors.shape
    schema = tables.features_schema(dimension).with_metadata(notes or {})
    columns = [
        pa.array([f"{asset}-{i:08d}" for i in range(count)]), pa.array([asset] * count),
        pa.array(range(count), pa.int64()), pa.array(range(count), pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=schema.field("vector").type),
    ]  # fmt: skip
    tables.write_shard(data / "features" / f"{asset}.parquet", pa.table(columns, schema=schema), schema)


def read(path: Path) -> dict:
    """A JSON file's content."""
    return json.loads(path.read_text())


@cache
def empty_store() -> Path:
    """An MLflow database with its tables, made once for all tests: MLflow takes seconds over them."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    MlflowClient(f"sqlite:///{folder}/mlflow.db").search_experiments()
    return folder / "mlflow.db"


def give_store(root: Path) -> None:
    """Puts an empty MLflow store into a workspace."""
    target = root / ".sightline" / "mlflow" / "mlflow.db"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(empty_store(), target)
