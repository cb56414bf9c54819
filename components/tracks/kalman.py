"""Kalman filter of boxes for N tracks at once, as in DeepSORT, JDE and FairMOT, over any step of time.

State (8): centre x and y, aspect a = width / height, height h, in pixels, and their velocities per frame interval at
the nominal rate. Noise is in proportion to the height: 1/20 of it for positions, 1/160 for velocities.

The published filter knows steps of one frame only, and adds diag(p^2, v^2) to position and velocity in each. Here the
noise is the integral over the step of a white noise on position and velocity, [[p^2 + v^2/6, -v^2/2], [-v^2/2, v^2]]
per unit of time (a covariance, as p^2 >= v^2 / 12). Over a step of 1 that is the published noise exactly, and several
steps add up to what one step of their sum gives.
"""

import numpy as np

GATE = 9.4877  # 95 % of chi-square with 4 degrees of freedom
POSITION, VELOCITY = 1 / 20, 1 / 160  # standard deviations in units of the height
ASPECT, ASPECT_VELOCITY, ASPECT_MEASURED = 1e-2, 1e-5, 1e-1  # those of the aspect, which do not grow with the height
HEIGHT_VELOCITY = 7  # its place in the state
# Places in an 8x8 matrix that is laid out in a row: variances of positions and of velocities, and what they share.
_POSITIONS, _VELOCITIES, _UPPER, _LOWER = slice(0, 28, 9), slice(36, 64, 9), slice(4, 32, 9), slice(32, 60, 9)
_OF_HEIGHT, _OF_ASPECT = np.array([1.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 0.0])


def to_measurements(boxes: np.ndarray) -> np.ndarray:
    """Centre x, y, aspect and height, (M, 4) float64, of boxes (M, 4) left, top, right, bottom that have an area."""
    sizes = boxes[:, 2:] - boxes[:, :2]
    measurements = np.empty((len(boxes), 4))
    measurements[:, :2] = boxes[:, :2] + sizes / 2
    measurements[:, 2] = sizes[:, 0] / sizes[:, 1]
    measurements[:, 3] = sizes[:, 1]
    return measurements


def to_boxes(means: np.ndarray) -> np.ndarray:
    """Boxes (N, 4) left, top, right, bottom of states (N, 8) or measurements (N, 4); sides are never below 0."""
    halves = np.maximum(means[:, 2:4], 0) / 2
    halves[:, 0] *= np.maximum(means[:, 3], 0)
    return np.concatenate((means[:, :2] - halves, means[:, :2] + halves), axis=1)


def initiate(measurements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 8) and covariances (N, 8, 8) of tracks that begin with measurements (N, 4). Velocities are 0."""
    means = np.concatenate((measurements, np.zeros_like(measurements)), axis=1)
    covariances = np.zeros((len(means), 8, 8))
    flat, heights = covariances.reshape(-1, 64), measurements[:, 3]
    flat[:, _POSITIONS] = _variances(heights, 2 * POSITION, ASPECT)
    flat[:, _VELOCITIES] = _variances(heights, 10 * VELOCITY, ASPECT_VELOCITY)
    return means, covariances


def predict(
    means: np.ndarray, covariances: np.ndarray, heights: np.ndarray, dt: float
) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 8) and covariances (N, 8, 8) after `dt` frame intervals; the arguments stay as they are.

    `heights` (N,) scale the noise: hold those of the last update until the next, and two steps are one of their sum.
    """
    means, covariances = np.array(means, np.float64), np.array(covariances, np.float64, order="C")
    means[:, :4] += dt * means[:, 4:]
    covariances[:, :4] += dt * covariances[:, 4:]
    covariances[:, :, :4] += dt * covariances[:, :, 4:]
    position = _variances(heights, POSITION, ASPECT)
    velocity = _variances(heights, VELOCITY, ASPECT_VELOCITY)
    shared = velocity * (dt * (dt - 1) / 2)
    flat = covariances.reshape(-1, 64)
    flat[:, _POSITIONS] += position * dt + velocity * (dt * (1 - dt) * (1 - 2 * dt) / 6)
    flat[:, _UPPER] += shared
    flat[:, _LOWER] += shared
    flat[:, _VELOCITIES] += velocity * dt
    return means, covariances


def project(means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (N, 4) and covariance (N, 4, 4) of the measurement that each of N tracks expects."""
    projected = np.array(covariances[:, :4, :4], order="C")
    projected.reshape(-1, 16)[:, ::5] += _variances(means[:, 3], POSITION, ASPECT_MEASURED)
    return means[:, :4].copy(), projected


def update(means: np.ndarray, covariances: np.ndarray, measurements: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 8) and covariances (N, 8, 8) of N tracks corrected by one measurement each, (N, 4)."""
    expected, projected = project(means, covariances)
    across = np.ascontiguousarray(covariances[:, :4])  # (N, 4, 8): measurement against state
    gains = np.linalg.solve(projected, across).transpose(0, 2, 1)  # (N, 8, 4)
    means = means + (gains @ (measurements - expected)[:, :, None])[:, :, 0]
    covariances = covariances - gains @ across
    return means, (covariances + covariances.transpose(0, 2, 1)) / 2  # rounding must not add up to asymmetry


def gating_distances(means: np.ndarray, covariances: np.ndarray, measurements: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distances, (N, M), of M measurements (M, 4) from what N tracks expect. Compare with GATE."""
    expected, projected = project(means, covariances)
    away = measurements.T[None] - expected[:, :, None]  # (N, 4, M)
    whitened = np.linalg.inv(np.linalg.cholesky(projected)) @ away
    return np.square(whitened).sum(axis=1)


def _variances(heights: np.ndarray, share: float, aspect: float) -> np.ndarray:
    """(N, 4): (share * height)^2, of the aspect its own."""
    return np.square(share * heights)[:, None] * _OF_HEIGHT + aspect**2 * _OF_ASPECT
