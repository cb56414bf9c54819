"""A trial of the whole network: the same figures for the same point, by the parameters it was given."""

from components.core.recipe import load_recipe
from components.tuning.find import search_key
from components.tuning.trial import run_trial
from tests.picture_sets import RECIPE, make_pictures, write_params

TRAINING = {"head": "finetune", "workers": 2, "batch_size": 8, "augment": {"rotate": 5}}


def test_fine_tuning_can_be_tried(tmp_path, monkeypatch):
    root = make_pictures(tmp_path / "workspace", TRAINING, {"train": 8, "val": 4})
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    recipe = load_recipe(RECIPE)
    recipe = recipe.model_copy(update={"tuning": recipe.tuning.model_copy(update={"epochs": 2})})
    found = [run_trial(recipe, {"lr": lr}) for lr in (0.01, 0.01, 0.0001)]
    assert found[0] == found[1] and found[0]["loss"] != found[2]["loss"]
    assert found[0]["status"] == "ok" and 0 <= found[0]["metrics"]["val_accuracy"] <= 1
    key = search_key(recipe)
    write_params(root, TRAINING | {"augment": {"rotate": 6}})
    changed = load_recipe(RECIPE)
    assert search_key(changed.model_copy(update={"tuning": recipe.tuning})) != key
