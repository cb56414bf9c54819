"""What is called, out of probabilities, by the kind of model."""

import numpy as np
import pytest

from components.core.bundle import GRAPH, Bundle, Pointer, read_bundle, write_manifest
from components.serving.model import ServedModel


def served(classes, positive, threshold) -> ServedModel:
    bundle = Bundle("made", tuple(classes), positive, threshold, 4, 4, None, None, 1, {}, {"accuracy": 0.5})
    return ServedModel(Pointer(1, "v1", "0" * 64), bundle, None)


@pytest.mark.parametrize(
    ("classes", "positive", "threshold", "row", "prediction", "score"),
    [
        ("ab", "b", 0.3, [0.6, 0.4], "b", 0.4),
        ("ab", "b", 0.5, [0.6, 0.4], "a", 0.4),
        ("ab", "a", 0.7, [0.6, 0.4], "b", 0.6),
        ("ab", None, None, [0.6, 0.4], "a", 0.6),
        ("abc", "b", 0.1, [0.5, 0.2, 0.3], "a", 0.2),
        ("abc", None, None, [0.2, 0.3, 0.5], "c", 0.5),
    ],
)
def test_called(classes, positive, threshold, row, prediction, score):
    (answer,) = served(classes, positive, threshold).called(np.array([row]))
    assert (answer["prediction"], answer["score"]) == (prediction, score)
    assert answer["probabilities"] == dict(zip(classes, row, strict=True))


def test_a_bundle_without_a_positive_class_comes_back(tmp_path):
    (tmp_path / GRAPH).write_bytes(b"graph")
    written = write_manifest(tmp_path, served("abc", None, None).bundle)
    found = read_bundle(tmp_path)
    assert found == written and found.positive is None and found.threshold is None and not found.by_threshold
