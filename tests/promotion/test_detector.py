"""A detector of pictures that all show something, from its evaluation to the service that answers with its boxes."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from components.core import profile, tracking
from components.core.bundle import read_bundle, read_pointer
from components.core.errors import UsageError
from components.core.recipe import load_recipe
from components.deployment import __main__ as deployment
from components.evaluation import __main__ as evaluation
from components.monitoring.footage import reference
from components.promotion import __main__ as promotion
from components.serving.load import load_model
from components.tasks.detection.model import load_detector, save_detector
from tests.deployment import detecting, making
from tests.promotion.conftest import enter
from tests.tasks.detection import drawn

GATES = {"gates": {"metric": "ap50", "minimum": 0.3, "max_regression": 0.02}}


@pytest.fixture
def shown(tmp_path, monkeypatch):
    """(recipe, data folder) of a workspace with an empty MLflow store, the current one."""
    root = tmp_path / "workspace"
    recipe, data = detecting.make_shown(root, {"train": 5, "val": 5, "test": 40}, promotion=GATES)
    enter(root, monkeypatch)
    making.give_store(root)
    return recipe, data


def judged(recipe, data) -> dict:
    """The decision on the model that is there, after its evaluation."""
    evaluation.main(recipe)
    making.write_lock(data.parents[1], data, recipe.name)
    promotion.main(recipe)
    return making.read(data / "decision.json")


def blurred(data, share: float) -> None:
    """Another model in place of the one that is there: its map of centres is multiplied by so much."""
    model = load_detector(data / "model")
    state = model.network.state_dict()
    state["heat.4.weight"] = state["heat.4.weight"] * share
    state["sides.4.weight"] = state["sides.4.weight"] * share
    save_detector(data / "model", state, model.meta)


def test_it_is_promoted_by_its_boxes_deployed_watched_and_served(shown, capsys):
    recipe, data = shown
    first = judged(recipe, data)
    assert first["promoted"] and first["metrics"]["ap50"] > 0.5 and "frame_auc" not in first["metrics"]
    version = tracking.version_by_alias(recipe.name, tracking.CHAMPION)
    kept = reference(version)
    figures = profile.figures(kept)
    assert np.isfinite(figures["score"]).sum() == 40 and np.isfinite(figures["error"]).sum() == 32
    deployment.main(recipe)
    bundle = read_bundle(data / "bundle")
    assert bundle.finds_boxes and bundle.threshold == bundle.box_threshold == detecting.THRESHOLD
    assert bundle.metrics["ap50"] == first["metrics"]["ap50"]
    deployed = data.parents[1] / ".sightline" / "deployed" / recipe.name
    served = load_model(deployed, read_pointer(deployed), 1)
    rgb, boxes = drawn.picture(20_001, fewest=1, kinds=1)
    (answer,) = served.answers([served.prepare(rgb)], [rgb.shape[:2]], None)
    assert answer["prediction"] == "red" and len(answer["boxes"]) == len(boxes)


def test_a_challenger_is_compared_by_the_boxes_of_the_same_pictures(shown):
    recipe, data = shown
    judged(recipe, data)
    blurred(data, 0.5)
    worse = judged(recipe, data)
    assert not worse["promoted"] and worse["difference"]["high"] < 0
    assert worse["champion"]["frames"] == 32 and worse["champion"]["metrics"]["ap50"] > worse["metrics"]["ap50"]
    assert any("may be worse by" in reason for reason in worse["reasons"])


def test_on_a_slice_boxes_must_not_get_worse_either(shown):
    """The same model but for twelve pictures of one site, in which it finds nothing any more."""
    recipe, data = shown
    evaluation.main(recipe)
    file = data / "evaluation" / "predictions" / "part-00000.parquet"
    table = pq.read_table(file)
    known = [row for row in table.to_pylist() if row["truth"] is not None]
    site = {row["asset_id"] for row in known[:12]}
    rows = [row | {"site": "pond" if row["asset_id"] in site else "hill"} for row in table.to_pylist()]
    pq.write_table(table.from_pylist(rows, table.schema), file)
    making.write_lock(data.parents[1], data, recipe.name)
    promotion.main(recipe)
    blurred(data, 0.999)
    evaluation.main(recipe)
    rows = [row | {"found": []} if row["asset_id"] in site else row for row in rows]
    model = load_detector(data / "model").digest[:12]
    pq.write_table(table.from_pylist([row | {"model_version": model} for row in rows], table.schema), file)
    making.write_lock(data.parents[1], data, recipe.name)
    lenient = recipe.promotion.gates.model_copy(update={"max_regression": 0.2, "min_improvement": -1.0})
    recipe = recipe.model_copy(update={"promotion": recipe.promotion.model_copy(update={"gates": lenient})})
    promotion.main(recipe)
    decision = making.read(data / "decision.json")
    assert not decision["promoted"]
    assert any("on site pond (12 assets) it is worse" in reason for reason in decision["reasons"])


def test_a_gate_that_is_not_defined_is_named_with_the_remedy(shown):
    recipe, data = shown
    body = yaml.safe_load((data.parents[1] / "params.yaml").read_text())
    body["recipes"][drawn.RECIPE]["promotion"] = {"gates": {"metric": "frame_auc"}}
    (data.parents[1] / "params.yaml").write_text(yaml.safe_dump(body))
    evaluation.main(recipe)
    with pytest.raises(UsageError, match="frame_auc is not defined.*one side only") as refused:
        promotion.main(load_recipe(recipe.name))
    assert "gate by ap50" in refused.value.remedy
