"""FairMOT's losses against figures worked out by hand."""

import math

import pytest
import torch

from components.core.errors import UsageError
from components.tasks.detection.heatmap import targets
from components.tasks.detection.samples import Batch
from components.tasks.detection.tracking.losses import (
    DETECTION_START,
    IDENTITY_START,
    JointLoss,
    Maps,
    combined,
    detection_parts,
    distance_loss,
    identity_loss,
    shapes,
)


def labelled(*rows: tuple, pictures: int = 1) -> Batch:
    """Rows of (box, class, weight, picture, identity)."""
    boxes, classes, weights, picture, identities = zip(*rows, strict=True) if rows else ([],) * 5
    return Batch(
        torch.zeros(pictures, 3, 8, 8), torch.tensor(boxes).float().view(-1, 4), torch.tensor(classes).long(),
        torch.tensor(weights).float(), torch.tensor(identities).long(), torch.tensor(picture).long(),
    )  # fmt: skip


def flat(pictures: int = 1, kinds: int = 1, dim: int = 3, height: int = 4, width: int = 6) -> Maps:
    """Maps that say nothing: zeros."""
    return Maps(*(torch.zeros(pictures, channels, height, width) for channels in (kinds, 4, 2, dim)))


BOX = (0.25, 0.125, 0.75, 0.625)  # of 4 rows and 6 columns: 3 wide and 2 high, its middle at column 3, row 1.5


def test_shapes_count_cells_from_the_middle():
    given = labelled((BOX, 1, 1.0, 0, 0), ((-0.5, 0.0, 0.3, 1.0), 1, 1.0, 0, 1))
    distances, offsets = shapes(given.boxes, targets(given, 1, (4, 6)).centre, (4, 6))
    assert distances[0].tolist() == pytest.approx([1.5, 1, 1.5, 1]) and offsets[0].tolist() == pytest.approx([0, 0.5])
    # a box whose middle is outside: from the edge
    assert distances[1].tolist() == pytest.approx([3, 2, 1.8, 2]) and offsets[1].tolist() == pytest.approx([0, 0])


def test_parts_of_one_box_are_those_worked_out_by_hand():
    given = labelled((BOX, 1, 1.0, 0, 2))
    wanted = targets(given, 1, (4, 6))
    parts = detection_parts(flat(), given, wanted)
    assert parts["wh_loss"].item() == pytest.approx((1.5 + 1 + 1.5 + 1) / 4)
    assert parts["offset_loss"].item() == pytest.approx(0.5 / 2)
    centre = 0.5**2 * math.log(2)
    around = sum((1 - height) ** 4 * 0.5**2 * math.log(2) for height in wanted.heat.flatten().tolist())
    assert parts["hm_loss"].item() == pytest.approx(centre + around, rel=1e-5)
    assert wanted.heat.flatten().tolist().count(1.0) == 1


def test_parts_are_per_picture_and_as_their_weights_say():
    one, two = (BOX, 1, 1.0, 0, 0), (BOX, 1, 0.5, 1, 1)
    both = detection_parts(flat(2), labelled(one, two, pictures=2), targets(labelled(one, two, pictures=2), 1, (4, 6)))
    assert both["wh_loss"].item() == pytest.approx(1.25 * 1.5 / 2)
    none = labelled((BOX, 1, 0.0, 0, 0))
    parts = detection_parts(flat(), none, targets(none, 1, (4, 6)))
    assert parts["wh_loss"].item() == parts["offset_loss"].item() == 0


def test_the_loss_of_a_union_is_the_mean_over_equal_batches():
    """As several workers need, though one batch has three boxes and the other has none known."""
    torch.manual_seed(0)
    rows = [(BOX, 1, 1.0, 0, 0), ((0, 0, 0.3, 0.4), 1, 0.5, 0, 1), ((0.5, 0.5, 1, 1), 1, 1.0, 0, 2)]
    other = (BOX, 1, 1.0, 1, -1)
    joint, maps = JointLoss(3, 4), Maps(*(torch.randn(2, channels, 4, 6) for channels in (1, 4, 2, 3)))
    whole = joint(maps, labelled(*rows, other, pictures=2))
    first = joint(Maps(*(part[:1] for part in maps)), labelled(*rows))
    second = joint(Maps(*(part[1:] for part in maps)), labelled((*other[:3], 0, -1)))
    assert second["id_loss"] == 0
    for name in whole:
        assert whole[name].item() == pytest.approx((first[name] + second[name]).item() / 2, rel=1e-5)


def test_small_parts():
    found, truth = torch.tensor([[1.0, 3.0], [0.0, 0.0]]), torch.tensor([[0.0, 1.0], [5.0, 5.0]])
    assert distance_loss(found, truth, torch.tensor([1.0, 0.2]), 5).item() == pytest.approx((1.5 + 1) / 5)
    logits = torch.tensor([[0.0, math.log(3)], [1.0, 1.0]])
    wanted = (math.log(4 / 3) + 0.5 * math.log(2)) / 2
    assert identity_loss(logits, torch.tensor([1, 0]), torch.tensor([1.0, 0.5]), 2).item() == pytest.approx(wanted)
    value = combined(*(torch.tensor(number) for number in (2.0, 3.0, 0.0, math.log(2))))
    assert value.item() == pytest.approx(0.5 * (2 + 3 / 2 + math.log(2)))


def test_identities_are_told_by_direction_at_the_published_scale():
    joint = JointLoss(3, 5)
    assert joint.scale == pytest.approx(math.sqrt(2) * math.log(4))
    embedding = torch.tensor([[3.0, 0.0, 4.0]])
    assert torch.allclose(joint.logits(embedding), joint.logits(embedding * 7), atol=1e-6)
    expected = joint.classifier.weight @ torch.tensor([0.6, 0.0, 0.8]) * joint.scale + joint.classifier.bias
    assert torch.allclose(joint.logits(embedding)[0], expected, atol=1e-6)


def test_the_whole_is_weighed_as_published():
    """A classifier of zeros finds five identities alike; who is unknown teaches nothing."""
    joint = JointLoss(3, 5)
    torch.nn.init.zeros_(joint.classifier.weight)
    torch.nn.init.zeros_(joint.classifier.bias)
    parts = joint(flat(), labelled((BOX, 1, 1.0, 0, 2), ((0, 0, 0.2, 0.2), 1, 1.0, 0, -1)))
    assert parts["id_loss"].item() == pytest.approx(math.log(5))
    detection = (parts["hm_loss"] + 0.1 * parts["wh_loss"] + parts["offset_loss"]).item()
    expected = math.exp(1.85) * detection + math.exp(1.05) * math.log(5) + DETECTION_START + IDENTITY_START
    assert parts["loss"].item() == pytest.approx(expected / 2, rel=1e-5)
    assert all(part.shape == () for part in parts.values()) and all(p.ndim for p in joint.parameters())


@pytest.mark.parametrize("rows", [(), ((BOX, 1, 1.0, 0, -1),), ((BOX, 1, 0.0, 0, 1),)])
def test_batches_that_teach_little_still_reach_everything(rows):
    """No box, an unknown identity, a box of weight 0: every map and parameter gets a gradient, if one of zeros."""
    joint, maps = JointLoss(3, 4), Maps(*(part.requires_grad_() for part in flat()))
    parts = joint(maps, labelled(*rows))
    assert parts["id_loss"] == 0 and torch.isfinite(parts["loss"])
    parts["loss"].backward()
    assert all(part.grad is not None and torch.isfinite(part.grad).all() for part in (*maps, *joint.parameters()))


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_identities_are_refused(count):
    with pytest.raises(UsageError, match=f"{count} identities"):
        JointLoss(3, count)
