"""Augmentation with boxes: they stay on their objects, go where their objects go, and seeds repeat."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.core.recipe import Augment, Training
from components.tasks.detection.augment import augmented
from components.tasks.detection.samples import Batch, Boxes, batch_of
from tests.tasks.detection.drawn import batch

HEIGHT, WIDTH = 60, 100
EVERYTHING = Augment(rotate=20, translate=0.2, scale=0.3, shear=10, flip=True, colour=0.2, noise=0.05, erase=0.2)


def block(count: int, box: tuple[int, int, int, int] = (40, 20, 64, 36)) -> Batch:
    """So many pictures of one white rectangle (left, top, right, bottom in pixels) on black."""
    left, top, right, bottom = box
    pixels = torch.zeros(count, 3, HEIGHT, WIDTH)
    pixels[:, :, top:bottom, left:right] = 1
    share = np.array([[left / WIDTH, top / HEIGHT, right / WIDTH, bottom / HEIGHT]], np.float32)
    return batch_of(pixels, [Boxes(share, np.array([1]), np.ones(1, np.float32))] * count)


def run(given: Batch, params: Augment, seed: int = 0) -> Batch:
    return augmented(given, params, torch.Generator().manual_seed(seed))


def bounds(picture: torch.Tensor) -> torch.Tensor:
    """Left, top, right and bottom, in units of the picture, of what is brighter than half of the brightest."""
    bright = picture.mean(0) > picture.max() / 2
    rows, columns = bright.any(1).nonzero(), bright.any(0).nonzero()
    return torch.stack(
        [columns.min() / WIDTH, rows.min() / HEIGHT, (columns.max() + 1) / WIDTH, (rows.max() + 1) / HEIGHT]
    )


@settings(max_examples=40, deadline=None)
@given(
    rotate=st.floats(0, 60), translate=st.floats(0, 0.15), scale=st.floats(0, 0.3), shear=st.floats(0, 20),
    flip=st.booleans(), seed=st.integers(0, 2**20),
)  # fmt: skip
def test_boxes_stay_on_their_objects(rotate, translate, scale, shear, flip, seed):
    """The rectangle is found again in the changed picture: within two pixels of where its box says."""
    params = Augment(rotate=rotate, translate=translate, scale=scale, shear=shear, flip=flip)
    changed = run(block(3), params, seed)
    assert changed.picture.tolist() == [0, 1, 2]
    for picture, box in zip(changed.pixels, changed.boxes, strict=True):
        off = (bounds(picture) - box).abs() * torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
        assert off.max() < 2.5


def test_a_flip_mirrors_picture_and_box():
    before, after = block(32), run(block(32), Augment(flip=True))
    mirrored = after.boxes[:, 0] > before.boxes[:, 0] - 0.01
    expected = torch.stack([1 - before.boxes[:, 2], before.boxes[:, 1], 1 - before.boxes[:, 0], before.boxes[:, 3]], 1)
    same = torch.isclose(after.boxes, before.boxes, atol=1e-6).all(1)
    other = torch.isclose(after.boxes, expected, atol=1e-6).all(1)
    assert (same | other).all() and 8 < other.sum() < 24 and mirrored.any()


def test_boxes_mostly_outside_are_left_out_and_the_others_cut():
    """A shift of up to the whole width: what remains is at least half of a box, and inside of the picture."""
    changed = run(block(200), Augment(translate=1.0))
    assert 20 < len(changed.boxes) < 180 and len(changed.pixels) == 200
    assert len(changed.boxes) == len(changed.weights) == len(changed.classes) == len(changed.picture)
    area = (changed.boxes[:, 2:] - changed.boxes[:, :2]).prod(1)
    whole = (24 / WIDTH) * (16 / HEIGHT)
    assert (area >= 0.499 * whole).all() and (area < 0.95 * whole).any()
    assert changed.boxes.min() >= 0 and changed.boxes.max() <= 1


def test_beyond_the_edge_is_the_mean_colour_and_no_object_grows():
    """An object at the edge, shifted inwards, keeps its size: its edge is not drawn out to the picture's."""
    given = block(64, (0, 20, 24, 36))
    changed = run(given, Augment(translate=0.3))
    for at, box in zip(changed.picture, changed.boxes, strict=True):
        bright = (changed.pixels[at].mean(0) > 0.5).float().mean()
        assert bright == pytest.approx(float((box[2:] - box[:2]).prod()), abs=0.02)


def test_the_same_seed_gives_the_same_batch_and_nothing_asked_changes_nothing():
    given = batch(range(6))
    first, again, other = (run(given, EVERYTHING, seed) for seed in (3, 3, 4))
    assert torch.equal(first.pixels, again.pixels) and torch.equal(first.boxes, again.boxes)
    assert not torch.equal(first.pixels, other.pixels)
    kept = run(given, Augment())
    assert torch.equal(kept.pixels, given.pixels) and torch.equal(kept.boxes, given.boxes)


def test_pictures_without_boxes_are_changed_too():
    given = batch_of(
        torch.rand(2, 3, HEIGHT, WIDTH), [Boxes(np.empty((0, 4), np.float32), *[np.empty(0, int)] * 2)] * 2
    )
    changed = run(given, EVERYTHING)
    assert len(changed.boxes) == 0 and not torch.equal(changed.pixels, given.pixels)


def test_what_boxes_cannot_follow_is_refused():
    with pytest.raises(ValidationError, match="elastic"):
        Training(head="detector", augment=Augment(elastic=0.1))
