"""The stage on a trained model of pictures: what it writes, that it repeats, and what it shows of a sequence."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.compute as pc
import pytest
import torch

from components.core import tables
from components.core.files import tree_sha256
from components.core.recipe import load_recipe
from components.explain import select
from components.explain.work import Prober
from components.tasks.classification.export import scorer
from components.tasks.classification.model import load_model
from components.tasks.engines import load
from components.tasks.engines.choice import planned
from tests.picture_sets import CLASSES, RECIPE, SIZE, make_pictures, write_params
from tests.workspaces import kill_when

TRAINING = {"head": "logistic", "workers": 1, "epochs": 30, "patience": None, "batch_size": 12}
EXPLAIN = {"superpixels": [6, 16], "samples": 60, "thresholds": [0.2, 0.5]}


def command(stage: str) -> list[str]:
    return [sys.executable, "-m", f"components.{stage}", "--recipe", RECIPE]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a trained model of three kinds of pictures."""
    root = make_pictures(tmp_path_factory.mktemp("explained") / "workspace", TRAINING, dict(train=12, val=4, test=4))
    subprocess.run(
        command("training"), check=True, env=os.environ | {"SIGHTLINE_WORKSPACE": str(root)}, capture_output=True
    )
    return root


@pytest.fixture
def root(trained, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(trained))
    body = write_params(trained, TRAINING)
    body["recipes"][RECIPE]["explain"] = EXPLAIN
    (trained / "params.yaml").write_text(json.dumps(body))
    return trained


def stage(check: bool = True) -> subprocess.CompletedProcess:
    return subprocess.run(command("explain"), check=check, capture_output=True, text=True)


@pytest.mark.slow
def test_it_writes_maps_boxes_and_a_page_and_repeats_them_after_a_kill(root):
    """Slow: the stage runs four times, each with a Spark session where there is work to do."""
    explained = root / "data" / RECIPE / "explained"
    kill_when(command("explain"), root, ".sightline/work/explain/*/*.seal.json")
    assert not explained.exists()
    assert int(stage().stdout.split(" frames, ")[1].split(" of them new")[0]) < 60, "what was done is kept"
    whole = tree_sha256(explained)
    rows = tables.read_table(explained / "explanations").to_pylist()
    assert len(rows) == 60 and {row["split"] for row in rows} == {"train", "val", "test"}, (
        "every picture of every split"
    )
    assert {row["class"] for row in rows} <= set(CLASSES) and all(row["heat"].startswith(b"\x89PNG") for row in rows)
    boxes = tables.read_table(explained / "boxes")
    assert set(boxes["source"].to_pylist()) == {"lime"} and pc.min(boxes["weight"]).as_py() >= 0
    assert pc.max(pc.add(boxes["x"], boxes["w"])).as_py() <= SIZE
    summary = json.loads((explained / "summary.json").read_text())
    assert summary["frames"] == 60 and summary["boxes"] == len(boxes) and summary["threshold"] in (0.2, 0.5)
    page = (explained / "report" / "index.html").read_text()
    assert page.count("<figure>") == 60 and str(root) not in page

    again = stage()
    assert "60 frames, 0 of them new" in again.stdout and tree_sha256(explained) == whole
    for entry in (root / ".sightline" / "work" / "explain").rglob("*.json"):
        entry.unlink()
    stage()
    assert tree_sha256(explained) == whole, "from nothing, the same bytes"


def test_at_most_so_many_frames_those_it_is_surest_of(root):
    recipe = load_recipe(RECIPE)
    model = load_model(root / "data" / RECIPE / "model")
    whole = select.selection(recipe, model)
    fewer = recipe.explain.model_copy(update={"pictures": 5})
    few = select.selection(recipe.model_copy(update={"explain": fewer}), model).frames
    everything = whole.frames
    assert (len(everything), whole.disputed, whole.empty, len(few)) == (60, 0, [], 5)
    surest = sorted(everything, key=lambda one: (-one.probability, one.frame_id))[:5]
    assert {one.frame_id for one in few} == {one.frame_id for one in surest}


def test_with_a_positive_class_what_is_labelled_and_called_so(root):
    recipe = load_recipe(RECIPE)
    recipe = recipe.model_copy(update={"task": recipe.task.model_copy(update={"positive": "ring"})})
    found = select.selection(recipe, load_model(root / "data" / RECIPE / "model"))
    assert {one.kind for one in found.frames} == {CLASSES.index("ring")}
    assert len(found.frames) + found.disputed == 20 and 30 <= len(found.empty) <= 40


def test_a_split_that_holds_nothing_is_left_out(root, tmp_path, monkeypatch):
    """All validation pictures are in training, as where everything is trained on: of these, too, each is explained."""
    copy = tmp_path / "workspace"
    shutil.copytree(root, copy)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(copy))
    catalog = copy / "data" / RECIPE / "catalog"
    rows = tables.read_table(catalog).to_pylist()
    for row in rows:
        row["split"] = {"val": "train"}.get(row["split"], row["split"])
    tables.write_table(catalog, rows, tables.CATALOG)
    found = select.selection(load_recipe(RECIPE), load_model(copy / "data" / RECIPE / "model"))
    assert len(found.frames) == 60 and {one.split for one in found.frames} == {"train", "test"}


def test_a_frame_lies_among_its_neighbours_of_the_same_clip(tmp_path):
    rows = [
        {
            "frame_id": f"{asset}-{i}", "asset_id": asset, "frame_index": i, "pts": i, "time_base_num": 1,
            "time_base_den": 10, "width": 8, "height": 8, "jpeg": b"", "brightness": 0.0, "contrast": 0.0,
            "sharpness": 0.0, "perceptual_hash": 0,
        }
        for asset in ("a", "b") for i in range(6)
    ]  # fmt: skip
    shard = tmp_path / "pictures.parquet"
    tables.write_shard(shard, rows, tables.FRAMES)
    found = select.places([shard], {"a-0", "a-3", "b-5"}, reach=2, motion=True)
    assert (found["a-0"].rows, found["a-0"].middle) == ((0, 1, 2), 0)
    assert (found["a-3"].rows, found["a-3"].middle) == ((0, 1, 2, 3, 4, 5), 3)
    assert (found["b-5"].rows, found["b-5"].middle) == ((8, 9, 10, 11), 3), "two before it, and the one before these"


def test_a_sequence_is_scored_as_the_whole_model_scores_it(root):
    recipe = load_recipe(RECIPE)
    model = load_model(root / "data" / RECIPE / "model")
    plan = planned(recipe.features.model_copy(update={"engine": "torch"}), 10)
    prober = Prober(plan, load(plan, 1), model.head)
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = scorer(recipe.features, model)(torch.from_numpy(frames))[:, 1].numpy()
    np.testing.assert_allclose(prober.probabilities(frames, 1), wanted, atol=1e-5)
