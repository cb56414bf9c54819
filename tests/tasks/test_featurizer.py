"""Vectors: parts in their order, and motion that is motion."""

import numpy as np
import pytest
import torch

from components.core.errors import UsageError
from components.core.recipe import Features
from components.tasks.featurizer import build_featurizer, featurizer_digest
from components.tasks.motion import Motion, MotionBetween

SMALL = Features(backbone="sightline_small", weights="none", size=(96, 128), batch_size=4)


def moving_square(step: int, frames: int = 6) -> np.ndarray:
    """(frames, 96, 128, 3) uint8: a bright textured square that moves `step` pixels per frame over a ground."""
    random = np.random.default_rng(0)
    ground = random.integers(60, 100, (96, 128, 3)).astype(np.uint8)
    square = random.integers(150, 255, (20, 20, 3)).astype(np.uint8)
    pictures = []
    for t in range(frames):
        picture = ground.copy()
        picture[40:60, 10 + step * t : 30 + step * t] = square
        pictures.append(picture)
    return np.stack(pictures)


def vectors(pictures: np.ndarray, *parts: str) -> np.ndarray:
    """(T, D) of one sequence, by the module itself."""
    featurizer = build_featurizer(SMALL.model_copy(update={"parts": parts}))
    with torch.inference_mode():
        made = featurizer(torch.from_numpy(pictures)[None])[0].numpy()
    assert made.shape == (len(pictures), featurizer.dimension)
    return made


@pytest.mark.parametrize("parts", [("mean",), ("max", "mean"), ("motion",), ("max", "motion", "mean")])
def test_parts_make_the_vector_in_their_order(parts):
    pictures = moving_square(1)
    alone = [vectors(pictures, part) for part in parts]
    np.testing.assert_allclose(vectors(pictures, *parts), np.concatenate(alone, 1), rtol=1e-4, atol=1e-5)


def test_a_part_named_twice_is_refused():
    with pytest.raises(UsageError, match="twice"):
        build_featurizer(SMALL.model_copy(update={"parts": ("mean", "mean")}))


def test_faster_is_more_motion_and_a_still_or_single_picture_has_none():
    still, slow, fast = (vectors(moving_square(step), "motion") for step in (0, 1, 4))
    single = vectors(moving_square(4, frames=1), "motion")
    assert single.shape == (1, Motion.dimension)
    np.testing.assert_allclose(still, np.broadcast_to(single, still.shape), atol=1e-6)
    assert fast[:, -1].min() > slow[:, -1].max() > still[:, -1].max()


def test_motion_by_index_is_that_of_the_sequence():
    pictures = moving_square(3)
    between = MotionBetween()(
        torch.from_numpy(pictures), torch.arange(6), torch.tensor([1, 0, 1, 2, 3, 4])
    )  # the first against the second
    np.testing.assert_allclose(between.numpy(), vectors(pictures, "motion"), atol=1e-6)


def test_the_digest_needs_no_network():
    for parts in (("mean",), ("motion",)):
        params = SMALL.model_copy(update={"parts": parts, "weights": "shipped"})
        assert featurizer_digest(params) == build_featurizer(params).weights_digest
