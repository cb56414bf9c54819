"""A detector's bundle in memory: scores of the frame as a whole, and boxes in the pixels of the picture."""

from typing import NamedTuple

import numpy as np

from components.core.boxes import placed
from components.serving.model import ServedModel


class Found(NamedTuple):
    """What the graph finds in B pictures; see `components.core.bundle.Bundle`."""

    boxes: np.ndarray  # (B, K, 4) float32 left, top, right, bottom in units of the picture, 0..1
    scores: np.ndarray  # (B, K) float32, best first, 0 where there is no box
    classes: np.ndarray  # (B, K) int64, places in the bundle's classes
    probabilities: np.ndarray  # (B, C) float32
    embeddings: np.ndarray | None = None  # (B, K, D) float32 of length 1, 0 where there is no box

    def of(self, row: int) -> "Found":
        """What is found in one of the pictures: B is 1."""
        return self.rows(slice(row, row + 1))

    def rows(self, rows: slice) -> "Found":
        """What is found in these of the pictures."""
        return Found(*(None if part is None else part[rows] for part in self))


class ServedDetector(ServedModel):
    """One version of one recipe's detector. Looks at every frame by itself."""

    outputs: tuple[str, ...] = ("boxes", "scores", "classes", "probabilities")  # what the graph is asked for

    def check(self) -> None:
        """Has one black picture looked at. Raises ValueError where no boxes and probabilities of the classes come
        back."""
        found = self.find([self.black()])
        self._check_probabilities(found.probabilities)
        places = found.scores.shape
        if len(places) != 2 or found.boxes.shape != (*places, 4) or found.classes.shape != places:
            raise ValueError("it gives boxes, scores and classes that do not belong together")
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise ValueError("it gives boxes or scores that are no numbers")

    def find(self, pictures: list[np.ndarray]) -> Found:
        """What is found in B pictures as `prepare` gives them."""
        given = self._session.run(self.outputs, {"frames": np.stack(pictures)})
        return Found(**dict(zip(self.outputs, given, strict=True)))

    def predict(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Probabilities, (B, C) float32, of B pictures as `prepare` gives them."""
        return self.find(pictures).probabilities

    def sequence(self, frames: list[np.ndarray]) -> np.ndarray:
        """The same: neighbours do not count."""
        return self.predict(frames)

    def look(self, pictures: list[np.ndarray]) -> Found:
        """What is found in B pictures as `prepare` gives them."""
        return self.find(pictures)

    @staticmethod
    def part(looked: Found, rows: slice) -> Found:
        """Of what is found, what is of these pictures."""
        return looked.rows(rows)

    def said(self, looked: Found, sizes: list[tuple[int, int]], least: float | None) -> list[dict]:
        """What the service answers: as `called`, and `boxes` of each picture as `boxed` gives them.

        `sizes`: height and width that each had before; `least`: the score from which boxes are wanted, those that are
        called where it is None.
        """
        least = self.bundle.box_threshold if least is None else least
        boxes = self.boxed(looked, sizes)
        wanted = [[box for box in row if box["score"] >= least] for row in boxes]
        return [row | {"boxes": kept} for row, kept in zip(self.called(looked.probabilities), wanted, strict=True)]

    def boxed(self, found: Found, sizes: list[tuple[int, int]]) -> list[list[dict]]:
        """Of each picture all boxes, best first: class, score, and left `x`, top `y`, `w`, `h` in pixels of the
        picture of that size, (height, width)."""
        return [
            [
                {"class": self.bundle.classes[kind], "score": float(score), **placed(box, size)}
                for box, score, kind in zip(boxes, scores, classes, strict=True)
                if score > 0
            ]
            for boxes, scores, classes, size in zip(*found[:3], sizes, strict=True)
        ]
