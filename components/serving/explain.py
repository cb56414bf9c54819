"""LIME on request: which parts of a picture a served model's score hangs on. Pure but for the model's passes."""

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

from components.core import heat, lime
from components.core.media import fit
from components.serving.model import ServedModel

SUPERPIXELS, COMPACTNESS, WIDTH, PENALTY = 50, 10.0, 0.25, 1.0
SMOOTH = 0.07  # of the map, as a share of the shorter side
NOTHING = 1e-6  # a weight that is rounding; the map, scaled to its highest value, would show it as any other
BATCH = 8  # samples in a pass: other requests come between two
SIDE = 1280  # pixels of the longer side of the picture under its map


@dataclass(frozen=True)
class Explained:
    """Why a picture, (H, W, 3) uint8 RGB as it was sent, has its probability of class `kind`, found by `samples`.

    `labels`: (h, w) int32 of the picture as the model takes it; `found`: what their weights are.
    """

    model: ServedModel
    kind: int
    samples: int
    picture: np.ndarray
    labels: np.ndarray
    found: lime.Explanation

    @property
    def name(self) -> str:
        """The class."""
        return self.model.bundle.classes[self.kind]

    def map(self) -> np.ndarray:
        """(h, w) uint8: how much each place adds to the score."""
        weights = np.where(np.abs(self.found.weights) < NOTHING, 0, self.found.weights)
        return heat.grey(heat.heat_map([(self.labels, replace(self.found, weights=weights))], SMOOTH))

    def overlay(self) -> bytes:
        """The picture under its map as a PNG, its longer side SIDE pixels at most."""
        return _png(np.ascontiguousarray(heat.over(fit(self.picture, SIDE), self.map())[..., ::-1]))

    def plain(self) -> dict:
        """As the service answers it in JSON."""
        order = np.argsort(-self.found.weights, kind="stable")
        places = np.argsort(order)[self.labels]  # of each pixel, in the list
        (high, wide), (height, width) = self.labels.shape, self.picture.shape[:2]
        rows = []
        for place, label in enumerate(order):
            ys, xs = np.nonzero(places == place)
            left, top, right, bottom = xs.min() / wide, ys.min() / high, (xs.max() + 1) / wide, (ys.max() + 1) / high
            rows.append({
                "weight": float(self.found.weights[label]), "x": left * width, "y": top * height,
                "w": (right - left) * width, "h": (bottom - top) * height, "area": len(xs) / places.size,
            })  # fmt: skip
        return {
            "model": self.model.identity, "class": self.name, "probability": self.found.score,
            "samples": self.samples, "fit": self.found.fit, "superpixels": rows,
            "labels": _text(_png(places.astype(np.uint8 if len(rows) <= 256 else np.uint16))),
            "heat": _text(_png(self.map())),
        }  # fmt: skip


def explained(
    model: ServedModel, picture: np.ndarray, kind: int | None, samples: int, check: Callable[[], None]
) -> Explained:
    """Explains the probability of class `kind`, a place in the bundle's (None: the one that is called), of a picture,
    (H, W, 3) uint8 RGB. The same picture gives the same explanation.

    `check` is asked before every pass, and ends the work by raising.
    """
    small = model.prepare(picture)
    if kind is None:
        (called,) = model.called(model.predict([small]))
        kind = model.bundle.classes.index(called["prediction"])

    def score(pictures: np.ndarray) -> np.ndarray:
        check()
        return model.predict(list(pictures))[:, kind]

    labels = lime.superpixels(small, SUPERPIXELS, COMPACTNESS)
    on = lime.draws(int(labels.max()) + 1, samples, np.random.default_rng(0))
    found = lime.explain(small, labels, on, score, WIDTH, PENALTY, BATCH)
    return Explained(model, kind, samples, picture, labels, found)


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
