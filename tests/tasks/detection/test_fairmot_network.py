"""FairMOT as a network: shapes, peaks read back, gradients, learning, and the same as a graph."""

import warnings
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from components.core.errors import UsageError
from components.core.recipe import Features
from components.core.torchvision_compat import import_torchvision
from components.tasks.classification.export import OPSET
from components.tasks.detection.body import Body
from components.tasks.detection.samples import Batch
from components.tasks.detection.tracking.dla import CHANNELS, Base
from components.tasks.detection.tracking.fairmot import FINER, DLAFairMOT, Embedded, FairMOT, LightFairMOT
from components.tasks.detection.tracking.losses import JointLoss, Maps
from tests.tasks.detection.drawn import batch

SIZE = (64, 96)
FORM = {"classes": 3, "max_boxes": 4, "score_floor": 0.05, "nms": 0.5}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def light(stride: int = 8, **more) -> LightFairMOT:
    torch.manual_seed(0)
    features = Features(backbone="sightline_small", weights="none", size=SIZE)
    return LightFairMOT(Body(features, most=FINER), **FORM | more, stride=stride)


def published(deformable: bool) -> DLAFairMOT:
    torch.manual_seed(0)
    return DLAFairMOT(SIZE, **FORM, deformable=deformable)


MAKERS = {
    "light-8": lambda: light(8), "light-4": lambda: light(4), "dla34": lambda: published(False),
    "dla34-deformable": lambda: published(True),
}  # fmt: skip


@pytest.fixture(params=MAKERS)
def network(request) -> FairMOT:
    return MAKERS[request.param]()


def blank(count: int = 2) -> torch.Tensor:
    return torch.rand((count, 3, *SIZE), generator=torch.Generator().manual_seed(1))


def labelled(seeds: range) -> Batch:
    """Generated pictures, their rectangles told apart by colour and half of the picture: four identities."""
    drawn = batch(seeds, *SIZE)
    right = (drawn.boxes[:, 0] + drawn.boxes[:, 2] > 1).long()
    return replace(drawn, identities=2 * right + drawn.classes - 1)


def test_maps_and_what_is_found_have_their_shapes(network):
    network.eval()
    stride, dim = (8 if network.shape == (8, 12) else 4), (128 if isinstance(network, DLAFairMOT) else 64)
    assert network.shape == (SIZE[0] // stride, SIZE[1] // stride)
    with torch.inference_mode():
        maps, found = network.maps(blank(3)), network(blank(3))
    assert (maps.offset is None) == isinstance(network, LightFairMOT)
    shown = [part for part in maps if part is not None]
    assert [part.shape[1] for part in shown] == [2, 4, *([] if maps.offset is None else [2]), dim]
    assert all(part.shape[2:] == network.shape for part in shown)
    assert found.boxes.shape == (3, 4, 4) and found.scores.shape == found.classes.shape == (3, 4)
    assert found.embeddings.shape == (3, 4, dim) and found.embeddings.dtype == torch.float32
    assert torch.allclose(found.probabilities.sum(1), torch.ones(3))
    there = found.scores > 0
    assert there.any() and ((found.classes >= 1) == there).all()
    assert torch.allclose(found.embeddings.norm(dim=2), there.float(), atol=1e-5)


def test_a_fresh_network_gives_its_prior_everywhere(network):
    """One tenth, and boxes of an eighth of the sides, or of the longer one, about the cells' middles."""
    maps = network.maps(blank(1))
    assert maps.heat.sigmoid().mean().item() == pytest.approx(0.1, abs=0.03)
    across = max(network.shape) / 8
    down = across if isinstance(network, DLAFairMOT) else min(network.shape) / 8
    assert maps.size.mean((0, 2, 3)).tolist() == pytest.approx([across, down, across, down], rel=0.3)
    assert maps.offset is None or maps.offset.mean().item() == pytest.approx(0.5, abs=0.3)


def test_planted_peaks_are_read_back_as_their_boxes():
    """Best first, each with its cell's embedding; of two of a kind that overlap the better one stays."""
    network = MAKERS["dla34"]()
    network.max_boxes = 5
    height, width = network.shape
    sides = torch.tensor([width, height, width, height])
    maps = Maps(*(torch.zeros(2, channels, height, width) for channels in (2, 4, 2, 128)))
    maps.heat.fill_(-9)
    planted = [  # picture, kind, row, column, logit, offset, distances
        (0, 0, 2, 3, 2.0, (0.25, 0.5), (2.0, 1.0, 3.0, 2.5)),
        (0, 1, 5, 8, 3.0, (0.5, 0.75), (1.0, 2.0, 1.5, 2.0)),
        (0, 0, 4, 3, 1.0, (0.25, 0.5), (2.0, 3.0, 3.0, 0.5)),  # the first one's box again, less sure
        (1, 1, 0, width - 1, 0.5, (0.5, 0.5), (4.0, 1.0, 4.0, 1.0)),  # reaches out of the picture
    ]
    for picture, kind, row, column, logit, offset, distances in planted:
        maps.heat[picture, kind, row, column] = logit
        maps.offset[picture, :, row, column] = torch.tensor(offset)
        maps.size[picture, :, row, column] = torch.tensor(distances)
        maps.embedding[picture, row * 7 + column, row, column] = 5.0
    found = network.decoded(maps)
    first = torch.tensor([[7.5, 3.75, 10.0, 7.75], [1.25, 1.5, 6.25, 5.0]]) / sides
    assert torch.allclose(found.boxes[0, :2], first, atol=1e-6)
    assert torch.allclose(found.boxes[1, 0], torch.tensor([1 - 4.5 / width, 0, 1, 1.5 / height]), atol=1e-6)
    assert found.scores[0].tolist() == pytest.approx([*torch.tensor([3.0, 2.0]).sigmoid().tolist(), 0, 0, 0])
    assert found.classes.tolist() == [[2, 1, 0, 0, 0], [2, 0, 0, 0, 0]]
    assert found.embeddings[0, 0].nonzero().item() == 5 * 7 + 8 and found.embeddings[0, 1].nonzero().item() == 2 * 7 + 3
    assert found.embeddings[1, 0].max() == 1 and not found.embeddings[0, 2:].any()
    assert found.probabilities[0, 0] < found.probabilities[1, 0]


def test_a_light_ones_boxes_are_counted_from_the_middles_of_cells():
    """What cells around a peak say is taken in by the square of their heat."""
    network = light(8)
    height, width = network.shape
    heat, size = torch.full((1, 2, height, width), -9.0), torch.ones(1, 4, height, width)
    heat[0, 0, 2, 3], heat[0, 0, 2, 4] = 2.0, 0.0
    size[0, :, 2, 3], size[0, :, 2, 4] = torch.tensor([2.0, 1, 3, 2]), torch.tensor([4.0, 1, 2, 2])
    found = network.decoded(Maps(heat, size, None, torch.ones(1, 64, height, width)))
    sides = torch.tensor([width, height, width, height])
    high, low = torch.tensor([1.5, 1.5, 6.5, 4.5]), torch.tensor([0.5, 1.5, 6.5, 4.5])
    share = 1 / (1 + (0.5 / torch.tensor(2.0).sigmoid()) ** 2)
    assert torch.allclose(found.boxes[0, 0], (share * high + (1 - share) * low) / sides, atol=1e-4)


@pytest.mark.parametrize("backbone", ["resnet50", "mobilenet_v2"])
def test_any_backbone_serves(backbone):
    """One whose layers are called more than once, at several sizes, too."""
    body = Body(Features(backbone=backbone, weights="none", size=SIZE), most=FINER)
    network = LightFairMOT(body, **FORM, stride=8).train()
    assert network.shape == (8, 12) and len(body.finer) >= 2
    network.loss(labelled(range(2)), JointLoss(64, 4))["loss"].backward()
    assert all(p.grad is not None for p in network.lateral.parameters())


def test_more_boxes_than_cells_are_filled_up_with_zeros():
    network = light(8, max_boxes=300).eval()
    found = network(blank(1))
    assert found.boxes.shape == (1, 300, 4) and found.embeddings.shape == (1, 300, 64)
    assert not found.embeddings[0, 192:].any()


@pytest.mark.parametrize("boxes", [True, False], ids=["boxes", "no-boxes"])
def test_gradients_reach_all_that_is_trained(network, boxes):
    """Also where no picture shows anything, as the ring of gradients needs."""
    joint = JointLoss(network.dim, 4)
    given = labelled(range(3))
    if not boxes:
        given = given.where(torch.zeros(len(given.boxes), dtype=torch.bool))
    parts = network.train().loss(given, joint)
    offset = set() if isinstance(network, LightFairMOT) else {"offset_loss"}
    assert set(parts) == {"hm_loss", "wh_loss", "id_loss", "loss"} | offset
    parts["loss"].backward()
    named = [*network.named_parameters(), *joint.named_parameters()]
    missing = [name for name, p in named if p.requires_grad and (p.grad is None or not torch.isfinite(p.grad).all())]
    assert not missing
    if boxes and isinstance(network, LightFairMOT):
        assert all(p.grad.any() for name, p in named if p.requires_grad)
    still = {name for name, p in named if not p.requires_grad}
    assert not still or {name.rsplit(".", 2)[0] for name in still} == {"base.level3.project", "base.level4.project"}
    assert network.body is getattr(network, network.prefix[:-1])


def test_a_light_one_learns_a_few_pictures():
    """Every loss falls by four fifths; what is found is what was shown, and embeddings tell the identities apart."""
    network, given = light(4), labelled(range(8))
    joint = JointLoss(64, 4)
    optimizer = torch.optim.AdamW([*network.parameters(), *joint.parameters()], lr=0.004)
    losses = []
    for _ in range(120):
        parts = network.loss(given, joint)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        losses.append({name: part.item() for name, part in parts.items()})
    for name in ("hm_loss", "wh_loss", "id_loss"):
        assert losses[-1][name] < 0.2 * losses[0][name], name
    network.eval()
    with torch.inference_mode():
        found = network(given.pixels)
    embeddings, identities = [], []
    for box, picture, identity in zip(given.boxes, given.picture, given.identities, strict=True):
        off = (found.boxes[picture] - box).abs().amax(1)
        assert off.min() < 0.1 and found.scores[picture, off.argmin()] > 0.3
        embeddings.append(found.embeddings[picture, off.argmin()])
        identities.append(identity)
    alike, same = torch.stack(embeddings) @ torch.stack(embeddings).T, torch.stack(identities)
    same = same[:, None] == same
    assert alike[same].min() > alike[~same].max()


def exported(network: nn.Module, path) -> onnxruntime.InferenceSession:
    names = Embedded._fields
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), (blank(2),), str(path), input_names=["pixels"], output_names=list(names),
            dynamic_axes={name: {0: "batch"} for name in ("pixels", *names)}, opset_version=OPSET, dynamo=False,
        )  # fmt: skip
    return onnxruntime.InferenceSession(path)


def test_the_graph_finds_the_same(network, tmp_path):
    """Of any number of pictures, within 1e-4."""
    for name, parameter in network.named_parameters():
        if "conv_offset_mask" in name:
            nn.init.normal_(parameter, std=0.005)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 1.0
    network.train()(blank(4))  # normalised by what it has seen, its maps differ from cell to cell
    nn.init.normal_(network.hm[-1].weight, std=0.1)
    session = exported(network, tmp_path / "graph.onnx")
    for count in (1, 3):
        pixels = blank(count)
        with torch.inference_mode():
            expected = network(pixels)
        assert expected.scores.max() > 0.1
        for ours, theirs in zip(session.run(None, {"pixels": pixels.numpy()}), expected, strict=True):
            assert ours.shape == theirs.shape and ours.dtype == theirs.numpy().dtype
            assert np.abs(ours - theirs.numpy()).max() < 1e-4


def test_the_base_is_the_dla34_that_others_know():
    """timm's, with the same tensors, gives the same last map."""
    import_torchvision()
    import timm

    base = Base().eval()
    theirs = timm.create_model("dla34", num_classes=0).eval()
    missing, unknown = theirs.load_state_dict(base.state_dict(), strict=False)
    assert not missing and all(name.startswith(("level3.project.", "level4.project.")) for name in unknown)
    with torch.inference_mode():
        maps, expected = base(blank()), theirs.forward_features(blank())
    assert [tuple(plane.shape[1:]) for plane in maps] == [
        (channels, SIZE[0] >> level, SIZE[1] >> level) for level, channels in enumerate(CHANNELS)
    ]
    assert torch.allclose(maps[-1], expected, atol=1e-6)


def test_a_fresh_decoder_makes_maps_finer_bilinearly():
    up = published(False).ida_up.up_2
    plane = torch.arange(6.0).view(1, 1, 1, 6).expand(1, 64, 6, 6)
    finer = up(plane)
    assert finer.shape == (1, 64, 24, 24)
    assert finer[0, 5, 12, 4:20].tolist() == pytest.approx([(x + 0.5) / 4 - 0.5 for x in range(4, 20)], abs=1e-5)


def test_what_cannot_be_is_refused():
    with pytest.raises(UsageError, match="stride 16"):
        light(16)
    with pytest.raises(UsageError, match="60x96.*\n.*64, 96"):
        DLAFairMOT((60, 96), **FORM)
