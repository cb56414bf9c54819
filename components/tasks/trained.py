"""A trained model of whatever task: a classifier or a detector, told by its files. Both answer for frames alike."""

from pathlib import Path

from components.core.errors import SightlineError
from components.tasks.classification import model as classification
from components.tasks.detection import model as detection

HEAD, DETECTOR = classification.TENSORS, detection.TENSORS
Trained = classification.TrainedModel | detection.TrainedDetector


def tensors_file(folder: str | Path) -> Path:
    """The file in a model's folder whose digest is the model's: head.safetensors, or a detector's detector.safetensors.

    Raises SightlineError where there is neither, or both.
    """
    there = [file for file in (Path(folder) / HEAD, Path(folder) / DETECTOR) if file.is_file()]
    if len(there) != 1:
        problem = f"holds both {HEAD} and {DETECTOR}" if there else f"holds neither {HEAD} nor {DETECTOR}"
        raise SightlineError(f"{folder}: {problem}", "run the training stage")
    return there[0]


def load_trained(folder: str | Path) -> Trained:
    """The model in a folder. Raises SightlineError where there is none, a file is missing or does not fit."""
    kinds = {HEAD: classification.load_model, DETECTOR: detection.load_detector}
    return kinds[tensors_file(folder).name](folder)
