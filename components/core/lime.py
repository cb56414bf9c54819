"""LIME for pictures: which superpixels a score hangs on (Ribeiro, Singh and Guestrin, "Why should I trust you?", 2016).

Superpixels are switched off at random, the model scores each changed picture, and a weighted ridge regression of the
score on the switches gives every superpixel a weight. Pure: pictures in, weights out.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from skimage.segmentation import slic

Score = Callable[[np.ndarray], np.ndarray]  # pictures (N, ..., H, W, 3) uint8 RGB -> scores (N,)


@dataclass(frozen=True)
class Explanation:
    """`weights` (F,) float64: by how much a superpixel's being there raises the score; `intercept`: with all of them
    off. `score`: of the picture as it is; `fit`: the weighted R² of the regression on the samples."""

    weights: np.ndarray
    intercept: float
    score: float
    fit: float


def superpixels(rgb: np.ndarray, count: int, compactness: float) -> np.ndarray:
    """(H, W) int32 labels 0 .. F-1 of about `count` superpixels of (H, W, 3) uint8 RGB: SLIC in CIELAB (Achanta et al.,
    2012). A picture of one colour has a single one."""
    labels = slic(rgb, n_segments=count, compactness=compactness, sigma=1, start_label=0, channel_axis=-1)
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)


def draws(features: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """(samples, features) bool: which superpixels are on, each with a chance of one half; in the first row all are."""
    found = rng.random((samples, features)) < 0.5
    found[0] = True
    return found


def faded(pictures: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The picture with every superpixel off: (..., H, W, 3) uint8 like `pictures`, each in its own mean colour."""
    flat, count = segments.ravel(), int(segments.max()) + 1
    sizes = np.bincount(flat, minlength=count)
    out = np.empty_like(pictures)
    for picture, target in zip(_each(pictures), _each(out), strict=True):
        sums = [np.bincount(flat, picture[..., channel].ravel(), count) for channel in range(3)]
        target[:] = (np.stack(sums, 1) / sizes[:, None]).astype(np.uint8)[segments]
    return out


def perturbed(pictures: np.ndarray, off: np.ndarray, segments: np.ndarray, on: np.ndarray) -> np.ndarray:
    """(S, ..., H, W, 3) uint8: `pictures` with the superpixels that a row of `on` (S, F) lacks taken from `off`."""
    kept = on[:, segments]  # (S, H, W)
    shape = (len(on), *(1,) * (pictures.ndim - 3), *segments.shape, 1)
    return np.where(kept.reshape(shape), pictures[None], off[None])


def proximity(on: np.ndarray, width: float) -> np.ndarray:
    """(S,) float64 weights of the samples: sqrt(exp(-d² / width²)), d the cosine distance from the whole picture."""
    share = on.mean(1)
    # All-on has norm sqrt(F), a row with n on sqrt(n), their product is n: the cosine is sqrt(n / F). Of nothing on
    # the cosine is taken as 0, as scikit-learn does.
    distance = 1 - np.sqrt(share)
    return np.sqrt(np.exp(-(distance**2) / width**2))


def ridge(on: np.ndarray, scores: np.ndarray, weights: np.ndarray, penalty: float) -> tuple[np.ndarray, float, float]:
    """(coefficients (F,), intercept, weighted R²) of the weighted ridge regression of scores (S,) on the switches.

    The normal equations of centred data, solved in float64; scikit-learn's Ridge gives the same.
    """
    x, y = on.astype(np.float64), scores.astype(np.float64)
    weights = weights / weights.sum()
    x_mean, y_mean = weights @ x, weights @ y
    centred, rest = x - x_mean, y - y_mean
    scaled = centred * weights[:, None]
    # Weights were made to sum to 1; the penalty is that of weights as they were given.
    matrix = scaled.T @ centred + penalty * np.eye(x.shape[1])
    found = np.linalg.solve(matrix, scaled.T @ rest)
    left, total = rest - centred @ found, float(weights @ rest**2)
    fit = 1 - float(weights @ left**2) / total if total > 0 else 0.0
    return found, float(y_mean - x_mean @ found), fit


def explain(
    pictures: np.ndarray, segments: np.ndarray, on: np.ndarray, score: Score, width: float, penalty: float, batch: int
) -> Explanation:
    """Explains the score of `pictures`, (H, W, 3) or neighbouring frames (T, H, W, 3), uint8 RGB, by superpixels.

    `segments` (H, W) are those of every frame; `on` (S, F) are the `draws`. `width` is the proximity kernel's,
    `penalty` the ridge's; `batch`: samples made and scored at a time.
    """
    off = faded(pictures, segments)
    scores = np.concatenate([score(perturbed(pictures, off, segments, part)) for part in _batches(on, batch)])
    weights = proximity(on, width)
    found, intercept, fit = ridge(on, scores, weights, penalty / weights.sum())
    return Explanation(found, intercept, float(scores[0]), fit)


def _batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (rows[first : first + size] for first in range(0, len(rows), size))


def _each(pictures: np.ndarray) -> np.ndarray:
    return pictures.reshape(-1, *pictures.shape[-3:])
