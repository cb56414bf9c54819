"""Hard negatives: the frames without the positive class that a model takes for it, made to count for more."""

import math

import numpy as np

from components.core.recipe import Mining


def mined(labels: np.ndarray, scores: np.ndarray, positive: int, params: Mining) -> np.ndarray:
    """Weights of the rows' losses, (N,) float32, for the next round of training.

    labels (N,) class indices; scores (N,) probabilities of the class `positive`, by the model of the round before. It
    weights what bootstrapping (K.-K. Sung and T. Poggio, 1998) adds to the training set. The negatives' mean weight is
    1. Where scores are equal the earlier row counts as the harder one.

    The hardest negative of all is also the likeliest to be labelled wrongly: hence `params.skip`.
    """
    weights = np.ones(len(labels), np.float32)
    negatives = np.flatnonzero(labels != positive)
    if not len(negatives):
        return weights
    hardest = negatives[np.argsort(-scores[negatives], kind="stable")]
    first = round(params.skip * len(negatives))
    weights[hardest[first : first + math.ceil(params.share * len(negatives))]] = params.weight
    weights[negatives] /= weights[negatives].mean()
    return weights
