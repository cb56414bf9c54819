"""Both detectors: they learn, weigh their boxes, take pictures without any, repeat, are saved, loaded and exported."""

import json

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.core.recipe import Augment, Detector, Training, load_recipe
from components.core.torchvision_compat import nms
from components.tasks.detection.boxes import Detections, frame_probabilities, giou_loss, overlaps, settled, survivors
from components.tasks.detection.export import export_onnx, finder, outputs
from components.tasks.detection.heatmap import focal_loss, peaks, targets
from components.tasks.detection.learner import Learner
from components.tasks.detection.light import averaged
from components.tasks.detection.metrics import box_metrics
from components.tasks.detection.model import TENSORS, load_detector, new_network, save_detector
from components.tasks.detection.samples import NOTHING, Boxes, BoxStream, batch_of, box_source
from tests.tasks.detection.drawn import CLASSES, RECIPE, Drawn, batch, make_workspace, picture, recipe

KINDS = ("light", "faster_rcnn")
SIZE = (64, 96)
FORM = {
    "classes": 3, "max_boxes": 4, "score_floor": 0.05, "nms": 0.5, "backbone": "sightline_small", "size": list(SIZE),
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def params(model: str, epochs: int, **more) -> Training:
    # Random weights: the backbone learns as fast as the rest.
    own = {name: more.pop(name) for name in list(more) if name in Detector.model_fields}
    detector = {"model": model, "precision": "float32", "backbone_rate": 1.0} | own
    return Training(**{"head": "detector", "epochs": epochs, "lr": 0.002, "batch_size": 16} | more, detector=detector)


def network(model: str, seed: int = 0) -> torch.nn.Module:
    return new_network({"model": model, **FORM}, "none", seed)


def trained(model: str, stream: Drawn, epochs: int, **more) -> tuple[Learner, list[float]]:
    learner = Learner(recipe(SIZE), params(model, epochs, **more), stream.steps)
    return learner, [learner.train_epoch(stream, epoch) for epoch in range(epochs)]


def blank(count: int = 2) -> torch.Tensor:
    return torch.rand((count, 3, *SIZE), generator=torch.Generator().manual_seed(1))


def box(*sides: float, kind: int = 1, weight: float = 1.0) -> Boxes:
    return Boxes(np.array([sides], np.float32), np.array([kind], np.int64), np.array([weight], np.float32))


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> tuple[Learner, list[float]]:
    torch.set_num_threads(1)
    augment = Augment(flip=True, translate=0.05, scale=0.1, colour=0.1)
    return trained("light", Drawn(128, 16), 14, lr=0.004, augment=augment)


def test_light_learns_rectangles(good):
    """Eight tens of average precision on pictures it has not seen; frames without a rectangle are told apart."""
    learner, losses = good
    assert losses[-1] < 0.4 * losses[0]
    seeds = range(5000, 5064)
    found = learner.predict([batch(range(at, at + 16)) for at in seeds[::16]])
    truths = [picture(seed)[1] for seed in seeds]
    figures = box_metrics(truths, found, len(CLASSES))
    assert figures["ap50"] > 0.8 and figures["corloc"] > 0.8 and figures["mean_iou"] > 0.6
    empty = np.array([not len(truth) for truth in truths])
    assert found.probabilities[empty, 0].mean() > found.probabilities[~empty, 0].mean() + 0.3


def test_a_worker_trains_on_its_share_of_the_tables(tmp_path, monkeypatch):
    """From JPEG rows and annotations to the figures of the held-out split, as one of two workers does."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(make_workspace(tmp_path / "workspace", {"train": 40, "val": 10})))
    known = load_recipe(RECIPE)
    stream = BoxStream(box_source(known, "train"), SIZE, 8, 0, 1, 2)
    learner = Learner(known, params("light", 3, lr=0.004), stream.steps)
    losses = [learner.train_epoch(stream, epoch) for epoch in range(3)]
    held = BoxStream(box_source(known, "val"), SIZE, 8, 0)
    parts = [learner.predict(held.once(rank, 2)) for rank in range(2)]
    found = Detections(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    truths = held.shown(0, 2) + held.shown(1, 2)
    assert losses[-1] < losses[0] and len(found.scores) == len(truths) == 8
    assert set(box_metrics(truths, found, len(CLASSES))) == {"ap50", "ap", "corloc", "mean_iou", "recall50"}


def test_faster_rcnn_learns_too():
    stream = Drawn(24, 8)
    _, losses = trained("faster_rcnn", stream, 5, lr=0.002)
    assert losses[-1] < 0.6 * losses[0]


@pytest.mark.parametrize("model", KINDS)
def test_detections_have_fixed_shapes_and_zeros_behind(model):
    found = network(model).eval()(blank(3))
    assert found.boxes.shape == (3, 4, 4) and found.scores.shape == found.classes.shape == (3, 4)
    assert found.classes.dtype == torch.int64 and found.probabilities.shape == (3, 3)
    assert torch.allclose(found.probabilities.sum(1), torch.ones(3))
    there = found.scores > 0
    assert ((found.classes >= 1) == there).all() and (found.boxes[~there] == 0).all()
    assert (found.scores[there] >= 0.05).all() and (found.scores.diff() <= 0).all()
    assert found.boxes.min() >= 0 and found.boxes.max() <= 1


@pytest.mark.parametrize("model", KINDS)
def test_pictures_without_boxes_give_every_parameter_a_gradient(model):
    """As the ring of gradients needs: a rank whose batch has no box takes part like any other."""
    net = network(model).train()
    parts = net.loss(batch_of(blank(), [NOTHING, NOTHING]))
    figures = {name: float(part.detach()) for name, part in parts.items()}
    assert np.isfinite(list(figures.values())).all()
    assert all(value == 0 for name, value in figures.items() if "box" in name)
    sum(parts.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("model", KINDS)
def test_loss_of_a_box_is_in_proportion_to_its_weight_and_none_without(model):
    """The boxes' losses halve with the weight; at weight 0 they, and their gradients, are exactly 0."""
    net = network(model).eval()

    def losses(weight: float) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        return net.loss(batch_of(blank(1), [box(0.2, 0.2, 0.6, 0.7, weight=weight)]))

    whole, half, none = losses(1.0), losses(0.5), losses(0.0)
    for name in (name for name in whole if "box" in name):
        assert whole[name].item() > 0 and half[name].item() == pytest.approx(whole[name].item() / 2, rel=1e-5)
        gradients = torch.autograd.grad(none[name], list(net.parameters()), allow_unused=True, retain_graph=True)
        assert none[name].item() == 0 and all(g is None or not g.any() for g in gradients)


def test_a_box_of_weight_zero_is_neither_object_nor_background():
    """What the map says at its centre changes no loss; a weighted box beside it keeps all of its cells."""
    both = Boxes(
        np.array([[0.1, 0.1, 0.9, 0.9], [0.3, 0.3, 0.7, 0.7]], np.float32),
        np.array([1, 1]),
        np.array([1, 0], np.float32),
    )
    wanted = targets(batch_of(blank(1), [both]), 2, (8, 12))
    alone = targets(batch_of(blank(1), [both.at(np.array([True, False]))]), 2, (8, 12))
    assert torch.equal(wanted.cells, alone.cells) and torch.equal(wanted.share, alone.share)
    assert wanted.share.sum() == pytest.approx(1) and (wanted.box == 0).all()
    net = network("light").eval()
    batches = [batch_of(blank(1), [box(0.3, 0.3, 0.7, 0.7, weight=0.0)])]
    logits, _ = net.maps(batches[0].pixels)
    logits = logits.detach().requires_grad_()
    centre = targets(batches[0], 2, net.shape)
    gradient = torch.autograd.grad(focal_loss(logits, centre), logits)[0]
    at = tuple(centre.centre[:, 0])
    assert gradient[at] == 0 and (gradient != 0).sum() == gradient.numel() - 1


def test_samples_weigh_what_their_boxes_do():
    """Of both of Faster R-CNN's stages: background counts 1, what is matched to a box counts as the box does."""
    net = network("faster_rcnn")
    boxes = torch.tensor([[8.0, 8, 40, 40], [50, 10, 90, 60]])
    for stage in (net.propose, net.decide):
        near = torch.cat([boxes, boxes + 1, torch.tensor([[0.0, 45, 12, 60]]).repeat(20, 1)])
        drawn = stage.sampled(near, boxes, torch.tensor([1, 2]), torch.tensor([0.25, 0.0]))
        assert set(zip(drawn.labels.tolist(), drawn.weights.tolist(), strict=True)) == {(0, 1.0), (1, 0.25), (2, 0.0)}
        assert drawn.mean(torch.ones(len(drawn.rows))) == pytest.approx((20 + 2 * 0.25) / 24)


def test_soft_weights_can_be_left_out_of_the_loss():
    drawn = batch_of(blank(1), [box(0.2, 0.2, 0.6, 0.7, weight=0.3)])
    sure = batch_of(blank(1), [box(0.2, 0.2, 0.6, 0.7)])
    hard = Learner(recipe(SIZE), params("light", 1, soft_weights=False), 1)
    soft = Learner(recipe(SIZE), params("light", 1), 1)
    generator = torch.Generator()
    losses = [learner.loss(given, generator).item() for learner, given in ((hard, drawn), (hard, sure), (soft, drawn))]
    assert losses[0] == losses[1] > losses[2]


def test_a_target_is_one_at_the_centre_and_its_class_alone():
    wanted = targets(batch_of(blank(1), [box(0.25, 0.25, 0.75, 0.75, kind=2)]), 2, (8, 12))
    assert wanted.heat[0, 1].max() == 1 and wanted.heat[0, 1, 4, 6] == 1 and not wanted.heat[0, 0].any()
    assert wanted.centre[:, 0].tolist() == [0, 1, 4, 6]
    values, kinds, cells = peaks(wanted.heat, 3)
    assert (values[0, 0], kinds[0, 0], cells[0, 0]) == (1, 1, 4 * 12 + 6) and values[0, 1] == 0


def test_a_box_is_the_mean_of_its_neighbours_by_the_square_of_their_heat():
    boxes = torch.rand(1, 4, 5, 6, generator=torch.Generator().manual_seed(3))
    heat = torch.zeros(1, 2, 5, 6)
    heat[0, 0, 2, 3], heat[0, 1, 2, 4] = 0.8, 0.4
    mean = averaged(boxes.flatten(2), heat).view(boxes.shape)
    expected = (4 * boxes[0, :, 2, 3] + boxes[0, :, 2, 4]) / 5
    assert torch.allclose(mean[0, :, 2, 3], expected, atol=1e-5)
    assert torch.allclose(mean[0, :, 1, 2], boxes[0, :, 2, 3], atol=1e-5), "cells without heat add nothing"


@pytest.mark.parametrize("model", KINDS)
def test_the_same_seed_gives_the_same_bytes(model):
    stream = Drawn(16, 8)
    augment = Augment(flip=True, scale=0.2, noise=0.05)
    first, again = (trained(model, stream, 1, augment=augment)[0].state() for _ in range(2))
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    other = trained(model, stream, 1, augment=augment, seed=1)[0].state()
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_restoring_puts_a_network_back(good):
    state = good[0].state()
    fresh = Learner(recipe(SIZE), params("light", 14), 8)
    given = [batch(range(4))]
    fresh.restore(state)
    for ours, theirs in zip(fresh.predict(given), good[0].predict(given), strict=True):
        assert np.array_equal(ours, theirs)
    assert [part.shape[0] for part in fresh.predict([])] == [0] * 4
    norms = len(fresh.statistics())
    frozen = Learner(recipe(SIZE), params("light", 1, batch_norm="frozen"), 8)
    assert 0 < len(frozen.statistics()) < norms
    before = frozen.network.body.backbone.stem[1].running_mean.clone()
    frozen.train_epoch(Drawn(8, 8), 0)
    assert torch.equal(frozen.network.body.backbone.stem[1].running_mean, before)


@pytest.fixture(params=KINDS)
def saved(request, tmp_path, good):
    """(folder, learner) of a detector of each kind on disk."""
    learner = good[0] if request.param == "light" else trained("faster_rcnn", Drawn(16, 8), 2)[0]
    save_detector(tmp_path / "model", learner.state(), {"detector": learner.form, "classes": list(CLASSES)})
    return tmp_path / "model", learner


def test_a_saved_detector_finds_the_same(saved):
    folder, learner = saved
    model, given = load_detector(folder), batch(range(900, 908))
    with torch.inference_mode():
        again = model.network(given.pixels)
    for ours, theirs in zip(again, learner.predict([given]), strict=True):
        assert np.array_equal(ours.numpy(), theirs)
    assert model.meta["classes"] == list(CLASSES) and model.digest == model.meta["tensors"]["sha256"]


def test_the_graph_finds_the_same(saved, tmp_path):
    """Of any number of pictures, within 1e-4; twice the same bytes."""
    model = load_detector(saved[0])
    for name in ("one", "two"):
        export_onnx(model, tmp_path / f"{name}.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    session = onnxruntime.InferenceSession(tmp_path / "one.onnx")
    assert session.get_inputs()[0].shape == ["batch", *SIZE, 3]
    assert [output.name for output in session.get_outputs()] == list(outputs(model))
    for count in (1, 5):
        frames = np.stack([picture(700 + seed)[0] for seed in range(count)])
        with torch.inference_mode():
            expected = finder(model)(torch.from_numpy(frames))
        for ours, theirs in zip(session.run(None, {"frames": frames}), expected, strict=True):
            assert ours.shape == theirs.shape and ours.dtype == theirs.numpy().dtype
            assert np.abs(ours - theirs.numpy()).max() < 1e-4
        assert expected.scores.max() > 0.1


def test_what_is_no_detector_is_refused(good, tmp_path):
    learner, folder = good[0], tmp_path / "model"
    meta = {"detector": learner.form}
    with pytest.raises(SightlineError, match="not a detector"):
        load_detector(folder)
    save_detector(folder, learner.state(), meta)
    whole = (folder / TENSORS).read_bytes()
    (folder / TENSORS).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(SightlineError, match="is not the one"):
        load_detector(folder)
    state = learner.state()
    state.pop("heat.4.bias")
    save_detector(folder, state, meta)
    with pytest.raises(SightlineError, match="heat.4.bias"):
        load_detector(folder)
    save_detector(folder, learner.state(), {"detector": learner.form | {"model": "other"}})
    with pytest.raises(SightlineError, match="other"):
        load_detector(folder)
    (folder / "model.json").write_text(json.dumps({}))
    with pytest.raises(SightlineError, match="not a detector"):
        load_detector(folder)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**20), count=st.integers(1, 30), threshold=st.floats(0.1, 0.9))
def test_suppression_is_the_greedy_one(seed, count, threshold):
    corners = torch.rand((2, count, 2, 2), generator=torch.Generator().manual_seed(seed))
    boxes = torch.cat([corners.amin(2), corners.amax(2)], 2)
    scores = torch.linspace(1, 0.5, count)
    kept = survivors(boxes, None, threshold, count)
    for row in range(2):
        assert kept[row].nonzero()[:, 0].tolist() == sorted(nms(boxes[row], scores, threshold).tolist())


def test_suppression_is_within_a_class_and_fills_up_with_zeros():
    boxes = torch.tensor([[[0.1, 0.1, 0.5, 0.5], [0.1, 0.1, 0.5, 0.52], [0.1, 0.1, 0.5, 0.5], [0.5, 0.5, 0.5, 0.9]]])
    scores, classes = torch.tensor([[0.9, 0.8, 0.7, 0.6]]), torch.tensor([[1, 1, 2, 1]])
    boxes, scores, classes = settled(boxes, scores, classes, 6, 0.05, 0.5)
    assert scores[0].tolist() == pytest.approx([0.9, 0.7, 0, 0, 0, 0]) and classes[0].tolist() == [1, 2, 0, 0, 0, 0]
    assert boxes.shape == (1, 6, 4) and not boxes[0, 2:].any()


def test_overlap_and_its_generalisation():
    first = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1], [0, 0, 1, 1]])
    second = torch.tensor([[1.0, 0, 3, 2], [0, 0, 1, 1], [2, 0, 3, 1]])
    assert overlaps(first, second).diagonal().tolist() == pytest.approx([1 / 3, 1, 0])
    assert giou_loss(first, second).tolist() == pytest.approx([2 / 3, 0, 1 + 1 / 3])


def test_a_frame_shows_background_where_no_class_is_likely():
    rows = frame_probabilities(torch.tensor([[0.0, 0.0], [0.5, 0.5], [1.0, 0.0]]))
    assert torch.allclose(rows, torch.tensor([[1, 0, 0], [0.2, 0.4, 0.4], [0, 1, 0]]), atol=1e-6)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "vit_small_dinov2"])
def test_any_backbone_serves(backbone):
    """Strides of 32 and of 14: the map is doubled until a cell is about eight pixels."""
    net = new_network({"model": "light", **FORM, "backbone": backbone, "size": [56, 84]}, "none", 0).eval()
    assert net.shape == (8, 12)
    assert net(torch.rand(1, 3, 56, 84)).boxes.shape == (1, 4, 4)
