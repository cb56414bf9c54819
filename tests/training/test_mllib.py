"""The head `mllib` gives MLlib's own probabilities, for two classes and for more, and needs nothing that follows."""

import numpy as np
import pytest

from components.core.errors import SightlineError, UsageError
from components.core.recipe import load_recipe, parse_recipe
from components.core.spark import spark_session
from components.tasks.classification.heads import Head
from components.tasks.classification.model import head_form, load_model
from components.tasks.classification.samples import load_samples, split_source
from components.training import mllib
from tests import picture_sets, workspaces

ARTICLE = {"head": "mllib", "max_iter": 5, "penalty": 0.03, "l1_ratio": 0.5, "balanced": False}
CCTV = {"head": "mllib", "max_iter": 20, "penalty": 0.05, "l1_ratio": 0.3}


@pytest.fixture(scope="module")
def session():
    with spark_session("test") as session:
        yield session


@pytest.fixture
def glyphs(tmp_path, monkeypatch):
    """Three classes without a positive one."""
    root = picture_sets.make_pictures(tmp_path / "glyphs", ARTICLE, {"train": 12, "val": 4, "test": 4})
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    return load_recipe(picture_sets.RECIPE)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Two classes, one of them positive and rare."""
    root = workspaces.make_workspace(tmp_path / "toy", **CCTV)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    return load_recipe(workspaces.RECIPE)


@pytest.mark.parametrize("name", ["glyphs", "toy"])
def test_probabilities_are_those_of_mllib(name, session, request):
    recipe = request.getfixturevalue(name)
    source = split_source(recipe, "train")
    model = mllib.fitted(mllib.labelled(session, source, recipe.training), recipe.training)
    samples = source.read_all()
    head = Head(**head_form(recipe, recipe.training, samples.vectors.shape[1]))
    head.load_state_dict(mllib.head_state(model))
    from pyspark.ml.linalg import Vectors

    theirs = np.array([model.predictProbability(Vectors.dense(v.astype(float))).toArray() for v in samples.vectors])
    from components.tasks.classification.fit import predict

    ours = predict(head, samples)
    assert ours.shape == theirs.shape == (len(samples), len(recipe.task.classes))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert theirs.std(0).min() > 0.01, "a model that says the same of all would prove nothing"


def test_balanced_lifts_the_rare_class(toy, session):
    source = split_source(toy, "train")
    means = []
    for balanced in (False, True):
        params = toy.training.model_copy(update={"balanced": balanced})
        state = mllib.head_state(mllib.fitted(mllib.labelled(session, source, params), params))
        means.append(float(state["frame.1.bias"][1] - state["frame.1.bias"][0]))
    assert means[0] < means[1]


def test_a_class_without_frames_is_named(glyphs, session):
    task = glyphs.task.model_copy(update={"classes": (*glyphs.task.classes, "star")})
    source = split_source(glyphs.model_copy(update={"task": task}), "train")
    with pytest.raises(SightlineError, match="no labelled frame of class 'star'"):
        mllib.labelled(session, source, glyphs.training)


def test_it_leaves_a_model_like_any_other(toy, tmp_path):
    mllib.train(toy, toy.training, tmp_path)
    model = load_model(tmp_path / "model")
    assert model.meta["head"]["kind"] == "linear" and 0 < model.meta["threshold"] < 1
    assert model.meta["history"][-1]["val_frame_auc"] > 0.9 and model.backbone is None
    test = load_samples(toy, "test")
    assert model.predict(test).shape == (len(test), 2)


def test_tuned_is_refused():
    body = workspaces.params(**CCTV | {"penalty": "tuned"})["recipes"][workspaces.RECIPE]
    with pytest.raises(UsageError, match="give a number"):
        parse_recipe(workspaces.RECIPE, body)
