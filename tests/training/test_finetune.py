"""Fine-tuning: it learns, resumes to the same bytes, and two ranks do what one process does on the union."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from components.core.distributed import launch
from components.core.errors import SightlineError, UsageError
from components.core.files import file_sha256, tree_sha256
from components.core.recipe import Mining, load_recipe, parse_recipe
from components.deployment.build import build_bundle
from components.tasks.classification.export import scorer
from components.tasks.classification.finetune import Learner, rate
from components.tasks.classification.fit import class_weights, seed_epoch
from components.tasks.classification.mining import mined
from components.tasks.classification.model import BACKBONE, TENSORS, load_model
from components.tasks.classification.pictures import Pictures, PictureStream
from components.tasks.classification.samples import split_source
from tests.picture_sets import CLASSES, RECIPE, make_pictures, params
from tests.workspaces import kill_when

PROJECT = Path(__file__).resolve().parents[2]
STEPS = 3
TRAINING = {
    "head": "finetune", "workers": 2, "epochs": 5, "patience": 5, "batch_size": 8, "dropout": 0.1,
    "finetune": {"backbone_rate": 1.0, "average": 0.5}, "augment": {"rotate": 10, "scale": 0.1, "elastic": 0.02},
}  # fmt: skip
SPLITS = {"train": 24, "val": 6, "test": 10}
COMMAND = [sys.executable, "-m", "components.training", "--recipe", RECIPE]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace after one uninterrupted fine-tuning with two workers."""
    root = make_pictures(tmp_path_factory.mktemp("trained") / "workspace", TRAINING, SPLITS)
    subprocess.run(COMMAND, check=True, env=os.environ | {"SIGHTLINE_WORKSPACE": str(root)}, capture_output=True)
    return root


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """A workspace whose recipe lets two ranks be compared with one: statistics frozen, nothing drawn by a rank."""
    changed = TRAINING | {"dropout": 0.0, "finetune": {"batch_norm": "frozen", "precision": "float32"}, "augment": {}}
    root = make_pictures(tmp_path / "workspace", changed, {"train": 6, "val": 1})
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    return root


def test_it_learns_what_the_untrained_backbone_does_not_know(trained, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(trained))
    recipe, model = load_recipe(RECIPE), load_model(trained / "data" / RECIPE / "model")
    samples = model.samples(recipe, "test")
    accuracy = np.mean(model.predict(samples).argmax(1) == samples.labels)
    assert len(samples) == 30 and accuracy > 0.9
    assert model.meta["threshold"] is None and model.meta["vectors"]["weights"] == model.meta["backbone"]["sha256"]
    history = model.meta["history"]
    assert history[-1]["val_balanced_log_loss"] < history[0]["val_balanced_log_loss"]


def test_exported_whole_it_gives_what_it_gives_on_its_vectors(trained, monkeypatch):
    """The graph that is served reads the backbone beside the head, and the digest names both."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(trained))
    recipe, model = load_recipe(RECIPE), load_model(trained / "data" / RECIPE / "model")
    samples = model.samples(recipe, "test")
    stream = PictureStream(split_source(recipe, "test", table="frames"), recipe.features.size, 64, 0)
    batch = next(stream.once())
    frames = (batch.pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)[:, None]
    with torch.inference_mode():
        whole = scorer(recipe.features, model)(frames)[:, 0].numpy()
    assert (batch.labels.numpy() == samples.labels).all()
    np.testing.assert_allclose(whole, model.predict(samples), atol=1e-5)


def test_its_bundle_names_its_own_weights(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(trained))
    data = trained / "data" / RECIPE
    bundle, difference = build_bundle(load_recipe(RECIPE), data, tmp_path, {"accuracy": 1.0})
    assert difference < 1e-4 and bundle.threshold is None and bundle.positive is None
    assert bundle.lineage["weights"] == file_sha256(data / "model" / BACKBONE)


def test_another_backbone_beside_the_head_is_refused(trained, tmp_path):
    folder = trained / "data" / RECIPE / "model"
    other = tmp_path / "model"
    other.mkdir()
    for file in folder.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    tensors = load_file(other / BACKBONE)
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, other / BACKBONE)
    with pytest.raises(SightlineError, match=f"{BACKBONE} is not the one that {TENSORS}"):
        load_model(other)


@pytest.mark.slow
def test_killed_fine_tuning_resumes_to_the_same_bytes(trained, tmp_path, monkeypatch):
    """kill -9 of the whole stage after its first checkpoint; run again, the model equals the uninterrupted one.

    Slow: the stage starts twice, with two workers each time.
    """
    root = make_pictures(tmp_path / "workspace", TRAINING, SPLITS)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    kill_when(COMMAND, root, ".sightline/work/training/*/*/checkpoint.safetensors", timeout=300)
    assert not (root / "data" / RECIPE / "model").exists()
    done = subprocess.run(COMMAND, check=True, capture_output=True, text=True)
    assert "resumed after epoch" in done.stdout + done.stderr
    assert tree_sha256(root / "data" / RECIPE / "model") == tree_sha256(trained / "data" / RECIPE / "model")


def test_two_ranks_equal_one_process_on_the_union(pictures, monkeypatch):
    """Averaged steps of two ranks against steps on the union of their batches, statistics frozen, in float32."""
    (pictures / "ranks.py").write_text(
        "import sys, horovod.torch as hvd\n"
        "from safetensors.torch import save_file\n"
        "from tests.training.test_finetune import pieces, STEPS\n"
        "hvd.init()\n"
        "learner, streams = pieces()\n"
        "optimizer = hvd.DistributedOptimizer(learner.optimizer, named_parameters=learner.named_parameters())\n"
        "batches = streams[hvd.rank()].epoch(0)\n"
        "for step in range(STEPS):\n"
        "    optimizer.zero_grad(); learner.loss(next(batches), None).backward(); optimizer.step()\n"
        "if hvd.rank() == 0: save_file(learner.state(), sys.argv[1])\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pictures), str(PROJECT)]))
    launch(2, "ranks", [str(pictures / "two.safetensors")])
    learner, streams = pieces()
    before, epochs = learner.state(), [stream.epoch(0) for stream in streams]
    for _ in range(STEPS):
        parts = [next(epoch) for epoch in epochs]
        union = Pictures(
            *(torch.cat([getattr(part, name) for part in parts]) for name in ("pixels", "labels", "weights"))
        )
        learner.optimizer.zero_grad()
        learner.loss(union, None).backward()
        learner.optimizer.step()
    moved = 0.0
    for name, tensor in load_file(pictures / "two.safetensors").items():
        torch.testing.assert_close(tensor, learner.state()[name], rtol=1e-3, atol=1e-5, msg=name)
        moved += float((tensor - before[name]).abs().sum())
    assert moved > 0.01


def test_each_rank_mines_its_own_pictures(pictures, monkeypatch):
    """By the network as it is when asked: weights come after the pictures they are of, in either rank's share."""
    body = params({**TRAINING, "augment": {}, "finetune": {"precision": "float32", "mining": {"rounds": 1}}})
    body["recipes"][RECIPE]["task"]["positive"] = CLASSES[1]
    (pictures / "params.yaml").write_text(yaml.safe_dump(body))
    (pictures / "ranks.py").write_text(
        "import sys, torch, horovod.torch as hvd\n"
        "from safetensors.torch import save_file\n"
        "from components.core.recipe import load_recipe\n"
        "from components.training.learners import NetworkLearner\n"
        "hvd.init()\n"
        f"recipe = load_recipe('{RECIPE}')\n"
        "learner = NetworkLearner(recipe, recipe.training, ('train',), False)\n"
        "torch.nn.init.normal_(learner.learner.network.head.frame[1].weight)\n"
        "learner.revise(None)\n"
        "labels, scores = learner.learner.predict(learner.stream.once())\n"
        "weights = torch.cat([batch.weights for batch in learner.stream.once()])\n"
        "kept = {'labels': torch.from_numpy(labels), 'scores': torch.from_numpy(scores), 'weights': weights}\n"
        "save_file(kept, f'{sys.argv[1]}-{hvd.rank()}.safetensors')\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pictures), str(PROJECT)]))
    launch(2, "ranks", [str(pictures / "mined")])
    found = [load_file(pictures / f"mined-{rank}.safetensors") for rank in range(2)]
    assert sum(len(share["labels"]) for share in found) == 18
    for share in found:
        labels, scores, weights = (share[name].numpy() for name in ("labels", "scores", "weights"))
        assert np.array_equal(weights, mined(labels, scores[:, 1], 1, Mining(rounds=1)))
        assert weights.max() > 1 and (weights[labels == 1] == 1).all()


def pieces():
    """The same learner and both ranks' streams, for whoever trains them. SGD: Adam would hide the gradients' scale."""
    recipe = load_recipe(RECIPE)
    source = split_source(recipe, "train", table="frames")
    streams = [PictureStream(source, recipe.features.size, 4, 0, rank, 2) for rank in range(2)]
    learner = Learner(recipe, recipe.training, class_weights(streams[0].counts, True), streams[0].steps)
    torch.nn.init.normal_(learner.network.head.frame[1].weight, std=0.1, generator=torch.Generator().manual_seed(0))
    learner.optimizer = torch.optim.SGD([p for _, p in learner.named_parameters()], 0.05, momentum=0.9)
    learner.network.eval()
    return learner, streams


def test_vectors_in_training_are_the_featurizers(pictures):
    learner, streams = pieces()
    batch = next(streams[0].once())
    frames = (batch.pixels * 255).round().to(torch.uint8).permute(0, 2, 3, 1)[:, None]
    with torch.inference_mode():
        torch.testing.assert_close(learner.network.vectors(batch.pixels), learner.network.featurizer(frames)[:, 0])


def test_frozen_statistics_stay_and_the_average_lags(pictures):
    recipe = load_recipe(RECIPE)
    changed = recipe.training.finetune.model_copy(update={"average": 0.9})
    stream = PictureStream(split_source(recipe, "train", table="frames"), recipe.features.size, 8, 0)
    learner = Learner(recipe, recipe.training.model_copy(update={"finetune": changed}), torch.ones(3), stream.steps)
    norms = {name: t.clone() for name, t in learner.network.state_dict().items() if "running" in name}
    learner.train_epoch(stream, 0)
    assert norms and all(torch.equal(learner.network.state_dict()[name], t) for name, t in norms.items())
    weight = [net.head.frame[1].weight for net in (learner.network, learner.average)]
    assert 0 < weight[1].norm().item() < weight[0].norm().item()
    assert learner.best() is learner.average


def test_every_epoch_draws_anew_and_the_same_when_asked_again():
    first, again, other = (torch.rand(3, generator=seed_epoch(1, epoch, 0)) for epoch in (2, 2, 3))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_rate_rises_then_falls_to_nothing():
    rates = [rate(step, 100) for step in range(100)]
    assert rates[0] < rates[4] and max(rates) > 0.99 and rates[-1] < 0.001 and rates[5:] == sorted(rates[5:])[::-1]


def test_motion_is_refused():
    body = params(TRAINING, parts=["mean", "motion"])["recipes"][RECIPE]
    with pytest.raises(UsageError, match="motion, which finetune cannot train"):
        parse_recipe(RECIPE, body)
