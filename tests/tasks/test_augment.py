"""Augmentation: nothing asked changes nothing, what is asked stays within its bounds, seeds repeat."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.recipe import Augment
from components.tasks.classification.augment import augmented

EVERYTHING = Augment(
    rotate=15, translate=0.1, scale=0.2, shear=10, elastic=0.05, flip=True, colour=0.3, noise=0.05, erase=0.2
)


def pictures(count: int = 4, height: int = 24, width: int = 32) -> torch.Tensor:
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(0))


def run(params: Augment, pixels: torch.Tensor, seed: int = 0) -> torch.Tensor:
    return augmented(pixels, params, torch.Generator().manual_seed(seed))


def test_nothing_asked_changes_nothing():
    assert torch.equal(run(Augment(), pictures()), pictures())


def test_the_same_seed_gives_the_same_pictures_and_each_its_own():
    same = pictures(1).repeat(4, 1, 1, 1)
    first = run(EVERYTHING, same, 3)
    assert torch.equal(first, run(EVERYTHING, same, 3)) and not torch.equal(first, run(EVERYTHING, same, 4))
    assert not torch.equal(first[0], first[1])


def test_a_flip_is_exact_and_as_often_as_not():
    flipped = run(Augment(flip=True), pictures(64))
    pairs = list(zip(flipped, pictures(64), strict=True))
    mirrored = [torch.allclose(out, picture.flip(-1), atol=1e-5) for out, picture in pairs]
    kept = [torch.allclose(out, picture, atol=1e-5) for out, picture in pairs]
    assert sum(mirrored) + sum(kept) == 64 and 16 < sum(mirrored) < 48


def test_a_turn_keeps_right_angles_whatever_the_pictures_shape():
    """A square stays a square: its area, up to the resampling, in a picture that is no square."""
    picture = torch.zeros(1, 3, 60, 120)
    picture[:, :, 20:40, 50:70] = 1
    for seed in range(8):
        turned = run(Augment(rotate=45), picture, seed)
        assert turned.mean(1).sum() == pytest.approx(400, rel=0.05)
        rows, columns = (turned[0, 0] > 0.5).any(1).sum(), (turned[0, 0] > 0.5).any(0).sum()
        assert abs(int(rows) - int(columns)) <= 2


@settings(max_examples=25, deadline=None)
@given(share=st.floats(0.05, 0.8), seed=st.integers(0, 2**20))
def test_an_erased_area_is_no_larger_than_asked(share, seed):
    gone = (run(Augment(erase=share), pictures(), seed) != pictures()).any(1).float().mean((1, 2))
    assert gone.max() <= share + 0.1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**20), height=st.integers(8, 40), width=st.integers(8, 40))
def test_shape_and_range_stay(seed, height, width):
    pixels = pictures(3, height, width)
    out = run(EVERYTHING, pixels, seed)
    assert out.shape == pixels.shape and out.dtype == torch.float32
    assert out.min() >= 0 and out.max() <= 1 and torch.isfinite(out).all()


def test_edges_go_on_beyond_the_picture():
    """White paper stays white where a shifted picture looks past its edge: no dark border to learn from."""
    params = Augment(rotate=30, translate=0.3, scale=0.5, shear=20, elastic=0.1)
    assert run(params, torch.ones(8, 3, 32, 32)).min() > 0.9999
