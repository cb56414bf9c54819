"""Costs and assignments: known values, and the edge cases of empty, forbidden and equal."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.tracks.association import assign, embedding_distances, fuse_motion, iou_distances, unit
from components.tracks.kalman import GATE

INF = np.inf


def test_iou_distances_of_equal_overlapping_touching_and_distant_boxes():
    box = np.array([[0.0, 0, 10, 10]])
    others = np.array([[0.0, 0, 10, 10], [5, 0, 15, 10], [0, 0, 10, 5], [10, 0, 20, 10], [100, 100, 110, 110]])
    distances = iou_distances(box, others)
    assert distances.dtype == np.float64
    np.testing.assert_allclose(distances, [[0, 1 - 50 / 150, 0.5, 1, 1]], rtol=1e-15)


def test_boxes_without_area_are_at_1_from_all_even_themselves():
    point = np.array([[3.0, 3, 3, 3]])
    assert iou_distances(point, point) == 1 and iou_distances(point, np.array([[0.0, 0, 9, 9]])) == 1


@pytest.mark.parametrize("counts", [(0, 0), (0, 3), (3, 0)])
def test_distances_of_nothing_have_the_shape_of_nothing(counts):
    first, second = counts
    assert iou_distances(np.zeros((first, 4)), np.zeros((second, 4))).shape == counts
    assert embedding_distances(np.zeros((first, 8)), np.zeros((second, 8))).shape == counts
    assert fuse_motion(np.zeros(counts), np.zeros(counts)).shape == counts


def test_embedding_distances_are_0_alike_1_across_2_opposite_and_1_without_any():
    first = unit(np.array([[3.0, 0, 0]]))
    second = unit(np.array([[0.5, 0, 0], [0, 2, 0], [-7, 0, 0], [0, 0, 0], [1, 1, 0]]))
    np.testing.assert_allclose(embedding_distances(first, second), [[0, 1, 2, 1, 1 - 0.5**0.5]], atol=1e-15)


def test_motion_is_fused_by_its_weight_and_forbids_beyond_the_gate():
    fused = fuse_motion(np.array([[0.1, 0.1, 0.1, INF]]), np.array([[0.0, GATE, GATE + 1e-9, 0.0]]))
    np.testing.assert_allclose(fused, [[0.098, 0.098 + 0.02 * GATE, INF, INF]])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0), (2, 3)])
def test_without_a_possible_pair_all_stay_alone(shape):
    pairs, rows, columns = assign(np.full(shape, INF), 0.5)
    assert pairs.shape == (0, 2)
    assert rows.tolist() == list(range(shape[0])) and columns.tolist() == list(range(shape[1]))


def test_the_least_total_wins_over_the_least_single_cost():
    pairs, rows, columns = assign(np.array([[0.1, 0.2], [0.15, 0.9]]), 1.0)
    assert pairs.tolist() == [[0, 1], [1, 0]] and len(rows) == len(columns) == 0


def test_a_row_stays_alone_rather_than_spoil_a_good_pair():
    """An assignment that must pair all rows would give column 0 to row 1, for 0.45, and then lose row 0 at 0.6."""
    pairs, rows, columns = assign(np.array([[0.05, 0.6], [0.45, INF]]), 0.5)
    assert pairs.tolist() == [[0, 0]] and rows.tolist() == [1] and columns.tolist() == [1]


def test_a_pair_at_the_limit_is_none():
    assert assign(np.array([[0.5]]), 0.5)[0].tolist() == []
    assert assign(np.array([[np.nextafter(0.5, 0)]]), 0.5)[0].tolist() == [[0, 0]]


def test_equal_costs_give_the_same_pairs_every_time():
    cost = np.full((5, 7), 0.25)
    assert len({assign(cost.copy(), 0.5)[0].tobytes() for _ in range(20)}) == 1


@settings(max_examples=60, deadline=None)
@given(
    cost=arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.one_of(st.just(INF), st.floats(0, 1)),
    )
)
def test_no_other_set_of_pairs_costs_less(cost):
    most = 0.5
    pairs, rows, columns = assign(cost, most)
    assert sorted([*pairs[:, 0], *rows]) == list(range(cost.shape[0]))
    assert sorted([*pairs[:, 1], *columns]) == list(range(cost.shape[1]))
    assert (cost[pairs[:, 0], pairs[:, 1]] < most).all()
    tall = cost if cost.shape[0] <= cost.shape[1] else cost.T
    best = min(
        sum(min(tall[row, column], most) for row, column in enumerate(order))
        for order in permutations(range(tall.shape[1]), tall.shape[0])
    )
    alone = min(cost.shape) - len(pairs)
    assert cost[pairs[:, 0], pairs[:, 1]].sum() + most * alone == pytest.approx(best)
