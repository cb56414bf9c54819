"""What MLflow calls to load the model. Knows bundles alone: neither MLflow, nor how they came about."""

import json
import os
from pathlib import Path

import pandas as pd

from components.core.bundle import read_pointer
from components.core.errors import SightlineError
from components.pyfunc.cells import cells, picture
from components.serving.load import load_model
from components.serving.model import ServedModel
from components.serving.pictures import LEAST, Limits, Refusal
from components.serving.score import prepared
from components.serving.scoring import record

AT_ONCE = 32  # pictures that go through the network together
LIMITS = Limits()


class Pictures:
    """A bundle's model as MLflow's `python_function` models are."""

    def __init__(self, model: ServedModel):
        self.model = model

    def predict(self, model_input: object, params: dict | None = None) -> pd.DataFrame:
        """A row for each picture, in their order: prediction, score, `prob_CLASS` of every class, and where the model
        finds boxes `boxes`, as JSON: a list of {class, score, x, y, w, h} in pixels, best first.

        `model_input`: as `components.pyfunc.cells` takes it; `params`: `min_score`, from which boxes are wanted;
        without it those are given that the model calls. Raises SightlineError, naming the picture.
        """
        least = (params or {}).get(LEAST)
        least = None if least is None or not self.model.bundle.finds_boxes else float(least)
        rows, given = [], cells(model_input)
        for start in range(0, len(given), AT_ONCE):
            rows += self._rows(given[start : start + AT_ONCE], start, least)
        return pd.DataFrame(rows, columns=list(columns(self.model.bundle.classes, self.model.bundle.finds_boxes)))

    def _rows(self, given: list, start: int, least: float | None) -> list[dict]:
        pictures, sizes = [], []
        for number, cell in enumerate(given, start=start + 1):
            try:
                (small,), (size,) = prepared(self.model, [picture(cell, LIMITS)], LIMITS)
            except Refusal as refusal:
                raise SightlineError(f"picture {number}: {refusal.error}", refusal.remedy) from None
            except SightlineError as error:
                raise SightlineError(f"picture {number}: {error.problem}", error.remedy) from None
            pictures.append(small)
            sizes.append(size)
        rows = [record(result) for result in self.model.answers(pictures, sizes, least)]
        return [row | ({"boxes": json.dumps(row["boxes"])} if "boxes" in row else {}) for row in rows]


def columns(classes: tuple[str, ...], finds_boxes: bool) -> dict[str, str]:
    """The columns of a prediction, by name, with MLflow's names of their types."""
    named = {"prediction": "string", "score": "double"} | {f"prob_{name}": "double" for name in classes}
    return named | ({"boxes": "string"} if finds_boxes else {})


def _load_pyfunc(data_path: str) -> Pictures:
    """The model of the folder that `components.pyfunc.write` made: published bundles of which a pointer names one.

    Raises SightlineError where its bytes are not those that were exported.
    """
    deployed = Path(data_path)
    pointer = read_pointer(deployed)
    if pointer is None:
        raise SightlineError(f"{deployed}: names no bundle", "export the model again: sightline export mlflow")
    return Pictures(load_model(deployed, pointer, threads=_cores()))


def _cores() -> int:
    """How many this process may use, where the system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
