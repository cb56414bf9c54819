"""A bundle in memory, ready to score."""

from pathlib import Path

import numpy as np
import onnxruntime

from components.core.bundle import GRAPH, Bundle, Pointer, read_bundle
from components.core.errors import SightlineError
from components.core.media import fit, resize


class ServedModel:
    """One version of one recipe's model. Never changes after it was loaded; may be asked from any number of threads."""

    def __init__(self, pointer: Pointer, bundle: Bundle, session: onnxruntime.InferenceSession):
        self.version, self.bundle, self.digest, self._session = pointer.version, bundle, pointer.digest, session

    @property
    def identity(self) -> dict:
        """What every answer says of the model: recipe, version, digest."""
        return {"recipe": self.bundle.recipe, "version": self.version, "digest": self.digest}

    @property
    def tag(self) -> str:
        """The identity in one line, for headers and logs."""
        return f"{self.bundle.recipe}/v{self.version}@{self.digest[:12]}"

    def prepare(self, rgb: np.ndarray) -> np.ndarray:
        """A picture, (H, W, 3) uint8 RGB of any size, scaled as the training's frames were: (height, width, 3)."""
        return resize(fit(rgb, self.bundle.max_side), self.bundle.height, self.bundle.width)

    def predict(self, pictures: list[np.ndarray]) -> np.ndarray:
        """Probabilities, (B, C) float32, of B unrelated pictures, each (H, W, 3) uint8 RGB: each its own sequence."""
        batch = np.stack([self.prepare(picture)[None] for picture in pictures])  # (B, 1, height, width, 3)
        return self._session.run(["probabilities"], {"frames": batch})[0][:, 0]

    def sequence(self, frames: list[np.ndarray]) -> np.ndarray:
        """Probabilities, (T, C) float32, of T neighbouring frames of one source, each as `prepare` gives it."""
        return self._session.run(["probabilities"], {"frames": np.stack(frames)[None]})[0][0]

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


def load_model(deployed: Path, pointer: Pointer, threads: int) -> ServedModel:
    """The model that a pointer names, every digest checked, and warmed up with one black picture.

    `threads`: how many one prediction may use. Raises SightlineError where the bundle is not the one the pointer names,
    is damaged, or does not give probabilities of its classes.
    """
    folder = deployed / pointer.folder
    bundle = read_bundle(folder)
    if bundle.digest != pointer.digest:
        raise SightlineError(f"{folder}: is not the bundle that the pointer names", "run the deployment stage again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    try:
        session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        model = ServedModel(pointer, bundle, session)
        probabilities = model.predict([np.zeros((bundle.height, bundle.width, 3), np.uint8)])
    except Exception as error:  # ONNX Runtime's exceptions have no common class but this
        raise SightlineError(f"{folder / GRAPH}: cannot be run: {error}", "run the deployment stage again") from error
    if probabilities.shape != (1, len(bundle.classes)) or not np.isfinite(probabilities).all():
        raise SightlineError(f"{folder / GRAPH}: gives no probabilities of {bundle.classes}", "build it anew")
    return model
