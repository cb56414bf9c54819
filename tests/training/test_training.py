"""Training: Horovod's gradients are those of one process on the same batches; a killed training ends the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.core.distributed import launch
from components.core.errors import UsageError
from components.core.files import tree_sha256
from components.core.recipe import Mining, load_recipe, parse_recipe
from components.tasks.classification.fit import Progress, batch_loss, predict_batches
from components.tasks.classification.mining import mined
from components.tasks.classification.model import load_model, new_head
from components.tasks.classification.samples import load_samples
from components.training import checkpoint
from tests.training import steps
from tests.workspaces import RECIPE, kill_when, make_workspace, write_params

PROJECT = Path(__file__).resolve().parents[2]


def stage(*extra, check=True) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "components.training", "--recipe", RECIPE, *extra]
    return subprocess.run(command, check=check, capture_output=True, text=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace after one uninterrupted training stage with two workers; other tests compare with it."""
    root = make_workspace(tmp_path_factory.mktemp("trained") / "workspace")
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root)}
    command = [sys.executable, "-m", "components.training", "--recipe", RECIPE]
    subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
    return root


def test_model_learns_and_says_what_it_is(trained, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(trained))
    model = load_model(trained / "data" / RECIPE / "model")
    history = model.meta["history"]
    assert model.meta["head"]["reach"] == 3  # 0.3 s at 10 frames/s
    assert history[model.meta["best_epoch"] - 1]["val_frame_auc"] > 0.9
    assert 0 < model.meta["threshold"] < 1
    test = load_samples(load_recipe(RECIPE), "test")
    assert model.predict(test).shape == (len(test), 2)


def test_horovod_equals_one_process_on_the_same_batches(workspace, monkeypatch):
    """Two ranks' averaged steps against single-process steps on the union of the ranks' batches."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    launch(steps.RANKS, "tests.training.steps", [str(workspace / "two.safetensors")])
    one = steps.of_one_process()
    for name, tensor in load_file(workspace / "two.safetensors").items():
        torch.testing.assert_close(tensor, one[name], rtol=1e-5, atol=1e-6, msg=name)


def test_killed_training_resumes_to_the_same_bytes(trained, tmp_path, monkeypatch):
    """kill -9 of the whole stage after its first checkpoint; run again, the model equals the uninterrupted one."""
    root = make_workspace(tmp_path / "workspace", epochs=4)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    command = [sys.executable, "-m", "components.training", "--recipe", RECIPE]
    kill_when(command, root, ".sightline/work/training/*/*/checkpoint.safetensors", timeout=300)
    assert not (root / "data" / RECIPE / "model").exists()
    stage()
    assert tree_sha256(root / "data" / RECIPE / "model") == tree_sha256(trained / "data" / RECIPE / "model")


@pytest.mark.slow
def test_a_killed_round_of_mining_resumes_to_the_same_bytes(trained, tmp_path, monkeypatch):
    """kill -9 within the second of two rounds; the model is not that of the first round, which is not trained again.

    Slow: the stage starts three times.
    """
    asked = {"loss_q": 0.3, "mining": {"rounds": 1, "weight": 8.0}}
    models = []
    for name in ("whole", "killed"):
        root = make_workspace(tmp_path / name, finetune=asked)
        monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
        if name == "killed":
            command = [sys.executable, "-m", "components.training", "--recipe", RECIPE]
            kill_when(command, root, ".sightline/work/training/*/*/round-1/checkpoint.safetensors", timeout=300)
            assert not (root / "data" / RECIPE / "model").exists()
        done = stage()
        models.append(root / "data" / RECIPE / "model")
    assert "resumed after epoch 4" in done.stdout + done.stderr
    assert tree_sha256(models[0]) == tree_sha256(models[1])
    first = next((tmp_path / "whole").glob(".sightline/work/training/*/*/checkpoint.safetensors"))
    best = {name.removeprefix("best.head."): tensor for name, tensor in load_file(first).items()}
    assert not torch.equal(best["frame.1.weight"], load_file(models[0] / "head.safetensors")["frame.1.weight"])


def test_mining_weights_a_ranks_own_hard_negatives_and_only_these(workspace):
    head, streams, weights, params = steps.pieces()
    stream, mining = streams[0], Mining(rounds=1, share=0.1, weight=5.0, skip=0.0)
    torch.nn.init.normal_(head.frame[1].weight, generator=torch.Generator().manual_seed(1))
    labels, probabilities = predict_batches(head, stream.once())
    assert len(labels) == sum(len(stream.source.labels(stream.source.groups[i])) for i in stream.positions)
    before = list(stream.epoch(0))
    assert all((batch.weights == 1).all() for batch in before)
    stream.weigh(mined(labels, probabilities[:, 1], 1, mining))
    heavy, light = [], []
    for old, new in zip(before, stream.epoch(0), strict=True):
        assert torch.equal(old.windows, new.windows) and torch.equal(old.labels, new.labels)
        assert (new.weights[new.labels == 1] == 1).all()
        negative, hard = new.labels == 0, new.weights > 1
        scores = head.windows(new.windows, new.present).softmax(-1)[:, 1]
        heavy, light = heavy + scores[hard].tolist(), light + scores[negative & ~hard].tolist()
        assert not torch.equal(batch_loss(head, old, weights, params), batch_loss(head, new, weights, params))
    assert min(heavy) > max(light) and heavy


def test_what_cannot_be_mined_is_refused():
    mining = {"finetune": {"mining": {"rounds": 1}}}
    for training, task, message in (
        ({"head": "mllib"} | mining, {"positive": "b"}, "are not for mllib"),
        (mining, {}, "without task.positive no frame is a negative"),
        ({"finetune": {"mining": {"share": 0.6, "skip": 0.5}}}, {"positive": "b"}, "more than all negatives"),
    ):
        body = {"task": {"classes": ["a", "b"]} | task, "source": "x", "training": {"lr": 0.1, "penalty": 0} | training}
        with pytest.raises(UsageError, match=message):
            parse_recipe("r", body)


def test_checkpoint_restores_everything(tmp_path):
    def step(head, optimizer):
        optimizer.zero_grad()
        head(torch.ones(1, 4, 3)).square().sum().backward()
        optimizer.step()

    form = {"kind": "temporal", "dimension": 3, "classes": 2, "hidden": 4, "reach": 1, "dropout": 0.0}
    heads = [new_head(form, 0), new_head(form, 1)]
    optimizers = [torch.optim.Adam(head.parameters(), 0.1) for head in heads]
    torch.nn.init.normal_(heads[0].frame[1].weight)
    step(heads[0], optimizers[0])
    file = tmp_path / "c.safetensors"
    progress = Progress(3, [{"epoch": 1}], 2, 0.5)
    checkpoint.save(file, heads[0], {"a": torch.ones(2)}, optimizers[0], progress)
    best, restored = checkpoint.load(file, heads[1], optimizers[1])
    assert restored == progress and torch.equal(best["a"], torch.ones(2))
    for head, optimizer in zip(heads, optimizers, strict=True):
        step(head, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True))


def test_tuned_values_are_taken_and_fixed_ones_win(workspace):
    from components.training.__main__ import resolved

    (workspace / "data" / RECIPE / "tuning.json").write_text(json.dumps({"best": {"lr": 0.125, "penalty": 7.0}}))
    write_params(workspace, lr="tuned")
    params = resolved(load_recipe(RECIPE))
    assert (params.lr, params.penalty) == (0.125, 0.001)


def test_more_workers_than_assets_is_one_clear_message(workspace):
    write_params(workspace, workers=7)
    done = stage(check=False)
    assert done.returncode == 2 and "fewer workers" in done.stderr and "Traceback" not in done.stderr
