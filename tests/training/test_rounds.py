"""Which of several rounds of self-training is kept: the last whose boxes agree no less with the validation split's."""

from types import SimpleNamespace

import pytest
import torch

from components.core.recipe import Training, parse_recipe
from components.tasks.classification.fit import Progress
from components.training import worker
from components.training.outcome import Outcome

BODY = {
    "task": {"kind": "detection", "classes": ["nothing", "thing"], "positive": "thing"},
    "source": "pictures",
    "features": {"parts": ["mean"]},
    "training": {"head": "detector", "lr": 0.001, "penalty": 0.0, "detector": {"self_training": 2}},
}


@pytest.mark.parametrize(
    "agreements, trained, kept",
    [([0.5, 0.6, 0.7], 3, 2), ([0.5, 0.5, 0.4], 3, 1), ([0.6, 0.5, 0.9], 2, 0)],
    ids=["each is better", "one as good stays", "after a worse one none follows"],
)
def test_a_round_is_kept_that_agrees_no_less(agreements, trained, kept, monkeypatch, tmp_path):
    left, before = [], []

    def run(recipe, params, splits, judged, file, previous=None, on_saved=None):
        number = len(before)
        before.append(previous)
        return Outcome({}, {"round": torch.tensor(number)}, Progress(), 0.5, agreements[number])

    monkeypatch.setattr(worker, "run", run)
    monkeypatch.setattr(worker, "hvd", SimpleNamespace(rank=lambda: 0, barrier=lambda: None))
    monkeypatch.setattr(worker, "leave", lambda *given: left.append(given))
    recipe = parse_recipe("things", BODY)
    worker.train(recipe, Training.model_validate(recipe.training.model_dump()), tmp_path)
    *_, judged, final, told = left[0]
    assert int(final.tensors["round"]) == kept and final is judged
    assert told == agreements[:trained] and len(before) == trained
    assert [None if one is None else int(one.tensors["round"]) for one in before[1:]] == list(range(trained - 1))
