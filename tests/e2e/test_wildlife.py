"""From pictures and a word for each to a served detector, the stages of two recipes in one flow, at a small size.

Slow, because it runs 19 stages for real, LIME among them, with Spark, Horovod, MLflow and Prefect.
"""

import json

import httpx
import pyarrow.parquet as pq
import pytest

from components.core.media import encode_jpeg
from tests.e2e.conftest import Workspace, served
from tests.footage import picture

pytestmark = pytest.mark.slow
SIGHTINGS = {
    "ingest": {"wild": {"seed": 9, "pictures": 90, "empty": 0.45, "several": 0.35, "camouflage": 0.0}},
    "validation": {"min_frames_per_class": 2},
    "training": {"epochs": 8},
    "explain": {"pictures": None, "superpixels": [25], "samples": 60, "rounds": 1},
}
WILDLIFE = {"training": {"epochs": 8}, "validation": {"min_frames_per_class": 2}}


def test_from_a_word_for_each_picture_to_a_detector_that_answers(tmp_path):
    workspace = Workspace(tmp_path / "workspace", "wildlife", WILDLIFE)
    workspace.change("sightings", **SIGHTINGS)
    # So small a set teaches little: what is tested here is that all of it fits together.
    for recipe in ("sightings", "wildlife"):
        metric = {"sightings": "average_precision", "wildlife": "ap50"}[recipe]
        workspace.change(recipe, promotion={"gates": {"metric": metric, "minimum": 0.0, "max_regression": 0.02}})
    workspace.sightline("run", "wildlife")
    data = workspace.root / "data"
    metrics = json.loads((data / "wildlife" / "evaluation" / "metrics.json").read_text())
    assert json.loads((data / "wildlife" / "decision.json").read_text())["promoted"]
    assert {"corloc", "mean_iou", "ap50", "lime_corloc", "whole_picture_mean_iou", "centred_recall50"} <= set(metrics)
    boxes = pq.read_table(data / "wildlife" / "annotations").to_pylist()
    splits = {row["asset_id"]: row["split"] for row in pq.read_table(data / "wildlife" / "catalog").to_pylist()}
    human = {splits[row["asset_id"]] for row in boxes if row["source"] == "human" and row["x"] is not None}
    assert human == {"test"}, "no box that a person drew is there to learn from"
    assert any(row["source"] == "lime" and splits[row["asset_id"]] == "train" for row in boxes)
    with served(workspace) as url:
        shown = {"picture": encode_jpeg(picture(1, 320, 240), 90)}
        answer = httpx.post(f"{url}/v1/predict?min_score=0", files=shown, timeout=30)
    (result,) = answer.raise_for_status().json()["results"]
    assert result["prediction"] in ("nothing", "animal") and isinstance(result["boxes"], list)
    shown = next((workspace.root / ".sightline" / "wild").glob("*/pictures/IMG_0001.jpg"))
    workspace.sightline("predict", "wildlife", str(shown), "-o", "scores")
    (drawn,) = (workspace.root / "scores" / "drawn").iterdir()
    assert drawn.suffix == ".jpg" and drawn.stat().st_size > 1000
