"""params.yaml: what is refused, and with which words."""

from fractions import Fraction
from pathlib import Path

import pytest

from components.core.errors import UsageError
from components.core.recipe import load_recipe, parse_recipe, recipe_names

PROJECT = Path(__file__).resolve().parents[2]
GOOD = {"task": {"classes": ["a", "b"], "positive": "b"}, "source": "x", "training": {"lr": 0.1, "penalty": 0.0}}


@pytest.mark.parametrize("name", recipe_names(PROJECT / "params.yaml"))
def test_the_projects_recipes_are_valid(name):
    assert load_recipe(name, PROJECT / "params.yaml").name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainning": {}}, "unknown parameter recipes.r.trainning.*did you mean 'training'"),
        ({"training": {"ephocs": 3}}, "unknown parameter recipes.r.training.ephocs.*did you mean 'epochs'"),
        ({"ingest": {"split": {"tests": []}}}, "recipes.r.ingest.split.tests.*did you mean 'test'"),
        ({"promotion": {"gates": {"minumum": 1}}}, "did you mean 'minimum'"),
        ({"training": {"epochs": 0}}, r"recipes.r.training.epochs = 0: .*greater than 0"),
        ({"frames": {"fps": "fast"}}, "recipes.r.frames.fps"),
        ({"features": {"parts": ["sum"]}}, r"recipes.r.features.parts.0 = 'sum'"),
        ({"task": {"classes": ["a", "b"], "positive": "c"}}, "'c' is not one of classes"),
        ({"training": {"lr": "tuned"}}, "training.lr is `tuned` but tuning.space has no range"),
        ({"tuning": {"space": {"lr": {"low": 1, "high": 0.1}}}}, "low 1.0 must be below high 0.1"),
        ({"training": {"detector": {"identity_weight": "tuned"}}}, "model light does not use it"),
        ({"training": {"workers": 2, "min_workers": 2}}, "min_workers 2 is not below workers 2"),
        ({"training": {"detector": {"nms": "tuned"}}}, "recipes.r.training.detector.nms = 'tuned'"),
    ],
)
def test_refused(change, message):
    with pytest.raises(UsageError, match="(?s)" + message) as caught:
        parse_recipe("r", GOOD | change)
    assert caught.value.exit_code == 2 and caught.value.remedy


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(UsageError, match="(?s)no recipe 'suspicous'.*did you mean 'suspicious'"):
        load_recipe("suspicous", PROJECT / "params.yaml")


@pytest.mark.parametrize("text", ["", "- a\n", "recipes: 3\n", "recipes: {a: [\n"])
def test_files_that_are_no_params(tmp_path, text):
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(UsageError, match="params.yaml"):
        load_recipe("a", tmp_path / "params.yaml")


@pytest.mark.parametrize(("written", "rate"), [(5, 5), (12.5, Fraction(25, 2)), ("30000/1001", Fraction(30000, 1001))])
def test_rates_are_exact(written, rate):
    assert parse_recipe("r", GOOD | {"frames": {"fps": written}}).frames.fps == rate


def test_labels_that_look_like_numbers_are_text():
    written = GOOD | {"ingest": {"label_map": {0: "a", 1: "b"}}}
    assert parse_recipe("r", written).ingest.label_map == {"0": "a", "1": "b"}


def test_loaded_values_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse_recipe("r", GOOD).training.epochs = 3


def test_values_found_by_a_search_are_put_where_they_belong_and_checked():
    training = parse_recipe("r", GOOD).training
    changed = training.at({"lr": 0.5, "batch_size": 7.6, "detector.backbone_rate": 0.25})
    assert (changed.lr, changed.batch_size, changed.detector.backbone_rate) == (0.5, 8, 0.25)
    assert training.at({}) == training and training.detector.backbone_rate != 0.25
    with pytest.raises(ValueError, match="greater than 0"):
        training.at({"batch_size": 0.2})
