"""Mining: which negatives count for more, and that negatives as a whole do not."""

import numpy as np
import pytest

from components.core.recipe import Mining
from components.tasks.classification.mining import mined

LABELS = np.array([0, 1, 0, 0, 2, 1, 0, 0, 0, 0, 0])  # negatives of the class 1: nine, one of them of class 2
SCORES = np.array([0.9, 0.1, 0.8, 0.7, 0.6, 0.2, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_the_hardest_but_the_very_first_count_for_more():
    weights = mined(LABELS, SCORES, 1, Mining(rounds=1, share=0.33, weight=4.0, skip=0.1))
    mean = (3 * 4 + 6) / 9
    assert np.flatnonzero(weights > 1).tolist() == [2, 3, 4]
    assert weights.dtype == np.float32 and weights[LABELS == 1].tolist() == [1.0, 1.0]
    np.testing.assert_allclose(weights[[2, 0, 10]], [4 / mean, 1 / mean, 1 / mean], rtol=1e-6)


def test_negatives_keep_their_share_of_the_loss():
    weights = mined(LABELS, SCORES, 1, Mining(rounds=1, share=0.2, weight=7.0, skip=0.0))
    assert weights[LABELS != 1].mean() == pytest.approx(1) and weights.argmax() == 0


def test_equal_scores_are_told_apart_by_their_order():
    weights = mined(np.zeros(8, np.int64), np.full(8, 0.5), 1, Mining(rounds=1, share=0.25, skip=0.25))
    assert np.flatnonzero(weights > 1).tolist() == [2, 3]


def test_a_share_without_negatives_is_left_as_it_is():
    assert mined(np.ones(3, np.int64), np.ones(3), 1, Mining(rounds=1)).tolist() == [1.0] * 3
