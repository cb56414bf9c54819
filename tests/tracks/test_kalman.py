"""The Kalman filter of boxes: its published numbers at one frame a step, and that steps of any length add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.tracks import kalman

BOXES = np.array([[10.0, 20.0, 50.0, 120.0], [300.0, 40.0, 420.0, 100.0], [-30.0, -5.0, 12.5, 700.25]])
STEPS = st.floats(0.01, 40)


def followed(boxes=BOXES, frames=6):
    """Means, covariances and heights of tracks that have followed boxes moving by (3, -1) a frame."""
    means, covariances = kalman.initiate(kalman.to_measurements(boxes))
    for frame in range(1, frames):
        means, covariances = kalman.predict(means, covariances, means[:, 3], 1.0)
        moved = boxes + np.array([3.0, -1.0, 3.0, -1.0]) * frame
        means, covariances = kalman.update(means, covariances, kalman.to_measurements(moved))
    return means, covariances, means[:, 3].copy()


def published(height, position, velocity, aspects):
    """Standard deviations as DeepSORT lists them, (8,)."""
    p, v = position / 20 * height, velocity / 160 * height
    return np.array([p, p, aspects[0], p, v, v, aspects[1], v])


@settings(deadline=None)
@given(first=STEPS, second=STEPS)
def test_two_steps_are_one_of_their_sum(first, second):
    means, covariances, heights = followed()
    once = kalman.predict(means, covariances, heights, first + second)
    twice = kalman.predict(*kalman.predict(means, covariances, heights, first), heights, second)
    for one, two in zip(once, twice, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-9, atol=1e-9)


def test_a_step_of_one_frame_adds_the_published_noise_exactly():
    means, covariances, heights = followed()
    motion = np.eye(8) + np.eye(8, k=4)
    predicted, wider = kalman.predict(means, covariances, heights, 1.0)
    np.testing.assert_allclose(predicted, means @ motion.T, rtol=1e-12)
    for track in range(3):
        noise = np.diag(published(heights[track], 1, 1, (1e-2, 1e-5)) ** 2)
        expected = motion @ covariances[track] @ motion.T + noise
        np.testing.assert_allclose(wider[track], expected, rtol=1e-12, atol=1e-15)


@settings(deadline=None)
@given(step=st.floats(1e-6, 1000))
def test_noise_is_a_covariance_whatever_the_step(step):
    _, noise = kalman.predict(np.zeros((1, 8)), np.zeros((1, 8, 8)), np.array([100.0]), step)
    np.testing.assert_array_equal(noise, noise.transpose(0, 2, 1))
    for axis in range(4):
        assert np.linalg.det(noise[0][np.ix_([axis, axis + 4], [axis, axis + 4])]) > 0


def test_a_track_begins_with_the_published_uncertainty_and_at_rest():
    means, covariances = kalman.initiate(kalman.to_measurements(BOXES))
    np.testing.assert_array_equal(means[0], [30, 70, 0.4, 100, 0, 0, 0, 0])
    for track, height in enumerate(BOXES[:, 3] - BOXES[:, 1]):
        np.testing.assert_allclose(covariances[track], np.diag(published(height, 2, 10, (1e-2, 1e-5)) ** 2))


def test_an_update_is_the_textbook_one_track_by_track():
    means, covariances, _ = followed()
    measurements = kalman.to_measurements(BOXES + np.array([5.0, 2.0, 9.0, 3.0]))
    corrected, narrower = kalman.update(means, covariances, measurements)
    onto = np.eye(4, 8)
    for track in range(3):
        p = means[track, 3] / 20
        innovation = onto @ covariances[track] @ onto.T + np.diag([p, p, 1e-1, p]) ** 2
        gain = covariances[track] @ onto.T @ np.linalg.inv(innovation)
        np.testing.assert_allclose(corrected[track], means[track] + gain @ (measurements[track] - means[track, :4]))
        expected = (np.eye(8) - gain @ onto) @ covariances[track]
        np.testing.assert_allclose(narrower[track], expected, rtol=1e-9, atol=1e-12)
    assert (np.diagonal(narrower, axis1=1, axis2=2) < np.diagonal(covariances, axis1=1, axis2=2)).all()


def test_predicting_and_updating_leave_their_arguments_alone():
    means, covariances, heights = followed()
    before = means.copy(), covariances.copy()
    kalman.predict(means, covariances, heights, 2.5)
    kalman.update(means, covariances, kalman.to_measurements(BOXES))
    np.testing.assert_array_equal(means, before[0])
    np.testing.assert_array_equal(covariances, before[1])


def test_speed_is_learnt_from_a_few_frames():
    means, _, _ = followed(frames=30)
    np.testing.assert_allclose(means[:, 4:6], [[3, -1]] * 3, atol=0.02)


def test_gating_distances_are_those_of_mahalanobis_squared():
    means, covariances, _ = followed()
    measurements = kalman.to_measurements(np.concatenate((BOXES, BOXES + 40)))
    distances = kalman.gating_distances(means, covariances, measurements)
    assert distances.shape == (3, 6)
    expected, projected = kalman.project(means, covariances)
    for track in range(3):
        for row in range(6):
            away = measurements[row] - expected[track]
            assert distances[track, row] == pytest.approx(away @ np.linalg.inv(projected[track]) @ away)


def test_the_gate_lets_19_of_20_measurements_pass():
    means, covariances, heights = followed()
    means, covariances = kalman.predict(means, covariances, heights, 3.0)
    expected, projected = kalman.project(means, covariances)
    drawn = np.random.default_rng(5).multivariate_normal(expected[0], projected[0], 20_000)
    passed = kalman.gating_distances(means[:1], covariances[:1], drawn) <= kalman.GATE
    assert passed.mean() == pytest.approx(0.95, abs=0.005)


def test_a_longer_gap_opens_the_gate_wider():
    means, covariances, heights = followed()
    distances = []
    for step in (1.0, 5.0, 20.0):
        ahead, wider = kalman.predict(means, covariances, heights, step)
        aside = ahead[:, :4] + np.array([60.0, 0, 0, 0])
        distances.append(kalman.gating_distances(ahead, wider, aside)[0, 0])
    assert distances[0] > kalman.GATE > distances[2] and distances == sorted(distances, reverse=True)


def test_boxes_become_measurements_and_boxes_again():
    np.testing.assert_allclose(kalman.to_boxes(kalman.to_measurements(BOXES)), BOXES, rtol=1e-12)


def test_a_state_with_a_side_below_0_is_a_box_without_area():
    boxes = kalman.to_boxes(np.array([[10.0, 20, 0.5, -4], [10, 20, -0.5, 4]]))
    np.testing.assert_array_equal(boxes, [[10, 20, 10, 20], [10, 18, 10, 22]])


def test_no_tracks_and_no_measurements_are_no_trouble():
    means, covariances = kalman.initiate(np.zeros((0, 4)))
    means, covariances = kalman.predict(means, covariances, np.zeros(0), 1.0)
    means, covariances = kalman.update(means, covariances, np.zeros((0, 4)))
    assert means.shape == (0, 8) and covariances.shape == (0, 8, 8)
    assert kalman.gating_distances(means, covariances, np.zeros((3, 4))).shape == (0, 3)
    assert kalman.gating_distances(*followed()[:2], np.zeros((0, 4))).shape == (3, 0)
