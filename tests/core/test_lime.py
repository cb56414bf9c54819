"""LIME against the reference package on the same superpixels and samples, and what its parts promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lime.lime_image import LimeImageExplainer
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge

from components.core import lime
from tests.explain.made import blob, blob_score

WIDTH, PENALTY = 0.25, 1.0


class Reference(LimeImageExplainer):
    """The reference, which keeps the samples it has drawn."""

    def data_labels(self, *arguments, **options):
        self.drawn, labels = super().data_labels(*arguments, **options)
        return self.drawn, labels


def test_it_agrees_with_the_reference_on_the_same_superpixels_and_samples():
    picture = blob((96, 128), (70, 40), 22)
    labels = lime.superpixels(picture, 40, 10.0)
    count = int(labels.max()) + 1
    reference = Reference(kernel_width=WIDTH, random_state=0)

    def both(pictures: np.ndarray) -> np.ndarray:
        found = blob_score(pictures, (96, 128), (70, 40), 22)
        return np.stack([1 - found, found], 1)

    theirs = reference.explain_instance(
        picture,
        both,
        labels=(1,),
        top_labels=None,
        num_features=count,
        num_samples=400,
        segmentation_fn=lambda _: labels,
    )
    wanted = np.zeros(count)
    for place, weight in theirs.local_exp[1]:
        wanted[place] = weight
    on = reference.drawn.astype(bool)
    found = lime.explain(picture, labels, on, lambda many: both(many)[:, 1], WIDTH, PENALTY, 64)
    assert spearmanr(wanted, found.weights).statistic > 0.95
    np.testing.assert_allclose(found.weights, wanted, atol=1e-9)
    assert found.intercept == pytest.approx(theirs.intercept[1])
    assert found.fit == pytest.approx(theirs.score)
    assert found.score == pytest.approx(float(both(picture[None])[0, 1]))


def test_the_weight_lies_on_what_the_score_hangs_on():
    picture = blob((96, 128), (70, 40), 22)
    labels = lime.superpixels(picture, 40, 10.0)
    on = lime.draws(int(labels.max()) + 1, 300, np.random.default_rng(0))
    found = lime.explain(
        picture, labels, on, lambda many: blob_score(many, (96, 128), (70, 40), 22), WIDTH, PENALTY, 32
    )
    y, x = np.mgrid[:96, :128]
    inside = (x - 70) ** 2 + (y - 40) ** 2 < 18**2
    weights = found.weights[labels]
    assert weights[inside].mean() > 5 * abs(weights[~inside].mean())


def test_superpixels_are_numbered_without_a_gap_and_repeat():
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    labels = lime.superpixels(picture, 30, 10.0)
    assert labels.shape == (60, 80) and set(np.unique(labels)) == set(range(labels.max() + 1))
    assert np.array_equal(labels, lime.superpixels(picture, 30, 10.0))


def test_a_picture_of_one_colour_has_a_superpixel_and_no_weight():
    picture = np.full((32, 48, 3), 90, np.uint8)
    labels = lime.superpixels(picture, 1, 10.0)
    on = lime.draws(int(labels.max()) + 1, 20, np.random.default_rng(0))
    found = lime.explain(picture, labels, on, lambda many: np.full(len(many), 0.3), WIDTH, PENALTY, 8)
    np.testing.assert_allclose(found.weights, 0, atol=1e-12)
    assert (found.fit, found.intercept) == (0.0, pytest.approx(0.3))


def test_what_is_off_is_off_in_every_frame_of_a_sequence():
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    labels = lime.superpixels(frames[1], 12, 10.0)
    off = lime.faded(frames, labels)
    on = lime.draws(int(labels.max()) + 1, 4, np.random.default_rng(1))
    changed = lime.perturbed(frames, off, labels, on)
    assert changed.shape == (4, 3, 40, 50, 3) and np.array_equal(changed[0], frames)
    for row, many in zip(on, changed, strict=True):
        kept = row[labels]
        for frame, picture, gone in zip(frames, many, off, strict=True):
            assert np.array_equal(picture[kept], frame[kept]) and np.array_equal(picture[~kept], gone[~kept])
    place = labels == 3
    np.testing.assert_allclose(off[0][place], np.broadcast_to(frames[0][place].mean(0), (place.sum(), 3)), atol=1.0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.floats(0.01, 10))
def test_the_regression_is_scikit_learns(seed, features, penalty):
    rng = np.random.default_rng(seed)
    on = lime.draws(features, 40, rng)
    scores, weights = rng.random(40), lime.proximity(on, WIDTH)
    found, intercept, fit = lime.ridge(on, scores, weights, penalty / weights.sum())
    theirs = Ridge(alpha=penalty).fit(on, scores, sample_weight=weights)
    np.testing.assert_allclose(found, theirs.coef_, atol=1e-8)
    assert intercept == pytest.approx(theirs.intercept_)
    assert fit == pytest.approx(theirs.score(on, scores, sample_weight=weights))


def test_samples_are_drawn_alike_for_the_same_seed_and_the_first_is_whole():
    one, two = (lime.draws(30, 50, np.random.default_rng(4)) for _ in range(2))
    assert np.array_equal(one, two) and one[0].all() and 0.4 < one[1:].mean() < 0.6
    weights = lime.proximity(one, WIDTH)
    assert weights[0] == 1 and (weights[1:] < 1).all() and (weights > 0).all()
