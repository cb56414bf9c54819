"""A bundle in memory, ready to score."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from components.core.bundle import Bundle, Pointer, model_tag
from components.core.media import fit, resize

VECTORS = "vectors"  # the graph's output
HEADER = "X-Sightline-Model"  # of every answer: the model's tag


class Watched:
    """An ONNX Runtime session whose passes somebody hears of: how many pictures, how many seconds."""

    def __init__(self, session: onnxruntime.InferenceSession, told: Callable[[int, float], None]):
        self._session, self._told = session, told

    def run(self, outputs: list[str], feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
        """As the session's; `feeds` has `frames`, (..., height, width, 3)."""
        began = time.perf_counter()
        given = self._session.run(outputs, feeds)
        self._told(int(np.prod(feeds["frames"].shape[:-3])), time.perf_counter() - began)
        return given

    def __getattr__(self, name: str):
        return getattr(self._session, name)


class ServedModel:
    """One version of one recipe's classifier, and what all kinds of models share.

    Never changes after it was loaded; may be asked from any number of threads.
    """

    def __init__(self, pointer: Pointer, bundle: Bundle, session: onnxruntime.InferenceSession):
        self.pointer, self.version, self.digest = pointer, pointer.version, pointer.digest
        self.bundle, self._session = bundle, session

    @property
    def identity(self) -> dict:
        """What every answer says of the model: recipe, version, digest."""
        return {"recipe": self.bundle.recipe, "version": self.version, "digest": self.digest}

    @property
    def tag(self) -> str:
        """The identity in one line, for headers and logs."""
        return model_tag(self.bundle.recipe, self.pointer)

    def watch(self, told: Callable[[int, float], None]) -> None:
        """Has `told` hear of every pass of the network from now on: how many pictures, how many seconds."""
        self._session = Watched(self._session, told)

    def prepare(self, rgb: np.ndarray) -> np.ndarray:
        """A picture, (H, W, 3) uint8 RGB of any size, scaled as the training's frames were: (height, width, 3)."""
        return resize(fit(rgb, self.bundle.max_side), self.bundle.height, self.bundle.width)

    def check(self) -> None:
        """Has one black picture scored. Raises ValueError where no probabilities of the classes come back."""
        self._check_probabilities(self.predict([self.black()]))

    def black(self) -> np.ndarray:
        """A black picture as `prepare` gives it."""
        return np.zeros((self.bundle.height, self.bundle.width, 3), np.uint8)

    def predict(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Probabilities, (B, C) float32, of B unrelated pictures as `prepare` gives them: each its own sequence."""
        batch = np.stack(pictures)[:, None]  # (B, 1, height, width, 3)
        return self._session.run(["probabilities"], {"frames": batch})[0][:, 0]

    @property
    def gives_vectors(self) -> bool:
        """True where the graph gives what the backbone makes of a picture."""
        return VECTORS in {given.name for given in self._session.get_outputs()}

    def vectors(self, pictures: list[np.ndarray]) -> np.ndarray:
        """What the backbone makes of B unrelated pictures as `prepare` gives them: (B, D) float32. Only where
        `gives_vectors`."""
        return self._session.run([VECTORS], {"frames": np.stack(pictures)[:, None]})[0][:, 0]

    def sequence(self, frames: list[np.ndarray]) -> np.ndarray:
        """Probabilities, (T, C) float32, of T neighbouring frames of one source, each as `prepare` gives it."""
        return self._session.run(["probabilities"], {"frames": np.stack(frames)[None]})[0][0]

    def look(self, pictures: list[np.ndarray]) -> Any:
        """What the network finds in B unrelated pictures as `prepare` gives them, for `said` and `part`: here
        probabilities, (B, C) float32."""
        return self.predict(pictures)

    @staticmethod
    def part(looked: Any, rows: slice) -> Any:
        """Of what `look` gives, what is of these pictures."""
        return looked[rows]

    def said(self, looked: Any, sizes: list[tuple[int, int]], least: float | None) -> list[dict]:
        """What the service answers for pictures in which `look` found this: as `called`.

        `sizes`: height and width that each had before; `least`: the score asked for. Both are of use where boxes are
        found.
        """
        return self.called(looked)

    def answers(self, pictures: list[np.ndarray], sizes: list[tuple[int, int]], least: float | None) -> list[dict]:
        """What the service answers for unrelated pictures as `prepare` gives them, see `said`."""
        return self.said(self.look(pictures), sizes, least)

    def called(self, probabilities: np.ndarray) -> list[dict]:
        """For each row of (B, C) probabilities: prediction (class), score, probabilities.

        The score is the positive class's probability, or without one that of the prediction.
        """
        bundle, results = self.bundle, []
        positive = None if bundle.positive is None else bundle.classes.index(bundle.positive)
        for row in probabilities:
            best = int(row.argmax())
            if bundle.by_threshold:
                best = positive if row[positive] >= bundle.threshold else 1 - positive
            score = float(row[best if positive is None else positive])
            named = {name: float(value) for name, value in zip(bundle.classes, row, strict=True)}
            results.append({"prediction": bundle.classes[best], "score": score, "probabilities": named})
        return results

    def _check_probabilities(self, probabilities: np.ndarray) -> None:
        if probabilities.shape != (1, len(self.bundle.classes)) or not np.isfinite(probabilities).all():
            raise ValueError(f"it gives no probabilities of {self.bundle.classes}")
