"""The scoring protocol of MLflow's pyfunc models: from its JSON to pictures, from results to its predictions.

A JSON object holds one of four forms, whose cells are pictures: base64 text (or `{"b64": text}`, as TensorFlow Serving
has it), or pixels as lists [H][W][3] of whole numbers from 0 to 255, which is what MLflow's client makes of an array.

    {"inputs": [CELL, ...]}                                  also one CELL, or {"picture": [CELL, ...]}
    {"instances": [CELL, ...]}                               also [{"picture": CELL}, ...]
    {"dataframe_split": {"columns": ["picture"], "data": [[CELL], ...]}}
    {"dataframe_records": [{"picture": CELL}, ...]}

Beside it, `params` may hold `min_score`.
"""

from dataclasses import dataclass

import numpy as np

from components.core.bundle import Bundle
from components.serving import jsonbody
from components.serving.pictures import LEAST, Limits, Refusal

FORMS = ("inputs", "instances", "dataframe_split", "dataframe_records")
PARAMS, B64 = "params", "b64"
HOW = 'send {"instances": [BASE64, ...]}, see /docs'


@dataclass(frozen=True)
class Asked:
    """The pictures of a request, encoded or as pixels, (H, W, 3) uint8 RGB; the score from which boxes are wanted, None
    where it does not say."""

    pictures: list[bytes | np.ndarray]
    least: float | None


def parse(body: bytes, bundle: Bundle, limits: Limits) -> Asked:
    """What a JSON body asks of the model of this bundle. Raises Refusal (400, 413), naming the picture."""
    given = jsonbody.mapping(jsonbody.parsed(body, "the body", HOW), "the body", HOW)
    forms = [name for name in given if name in FORMS]
    unknown = [name for name in given if name not in (*FORMS, PARAMS)]
    if unknown:
        raise Refusal(400, f"the body has a field {unknown[0][:64]!r}", f"known here: {', '.join((*FORMS, PARAMS))}")
    if len(forms) != 1:
        raise Refusal(400, f"the body holds {' and '.join(forms) or 'none'} of {', '.join(FORMS)}", HOW)
    cells = _cells(forms[0], given[forms[0]])
    if not cells:
        raise Refusal(400, f"{forms[0]} holds no picture", HOW)
    if len(cells) > limits.pictures:
        raise Refusal(413, f"more than {limits.pictures} pictures", "send fewer pictures in one request")
    named = "the picture" if len(cells) == 1 else f"picture {{}} of {len(cells)}"
    pictures = [_picture(cell, named.format(number), limits) for number, cell in enumerate(cells, start=1)]
    return Asked(pictures, _least(given.get(PARAMS), bundle))


def record(result: dict) -> dict:
    """A result of the model as a row of MLflow's predictions: prediction, score, a `prob_CLASS` of every class, and
    `boxes` where the model finds them."""
    row = {"prediction": result["prediction"], "score": result["score"]}
    row |= {f"prob_{name}": value for name, value in result["probabilities"].items()}
    return row | ({"boxes": result["boxes"]} if "boxes" in result else {})


def of_lists(rows: list, what: str, limits: Limits) -> np.ndarray:
    """Pixels, (H, W, 3) uint8 RGB, of lists [H][W][3] of whole numbers. Raises Refusal (400, 413)."""
    height, width = len(rows), len(rows[0]) if rows and isinstance(rows[0], list) else 0
    if not height or not width:
        raise Refusal(400, f"{what} has no pixels", HOW)
    if height * width > limits.pixels:
        raise Refusal(413, f"{what}: {width} x {height} pixels are more than {limits.pixels}", "scale the picture down")
    shape = (height, width, 3)
    return jsonbody.pixels(jsonbody.flat(rows, shape, what, HOW), shape, what, HOW)


def _cells(form: str, given: object) -> list:
    """The pictures of one of the forms, still as they were sent."""
    if form == "dataframe_split":
        given = jsonbody.mapping(given, form, HOW)
        columns, rows = given.get("columns"), given.get("data")
        if isinstance(columns, list) and len(columns) != 1:
            raise Refusal(400, f"{form} has {len(columns)} columns", "send one column, of pictures")
        rows = _list(rows, f"{form}.data")
        return [_only(row, f"row {number} of {form}") for number, row in enumerate(rows, start=1)]
    if form == "inputs" and isinstance(given, dict) and not _is_cell(given):
        given = _only(given, form)  # a column by its name
    if form == "inputs" and _is_cell(given):
        return [given]
    cells = _list(given, form)
    if _depth(cells) == 3:
        return [cells]  # pixels of one picture
    return [_only(cell, form) if isinstance(cell, dict) and not _is_cell(cell) else cell for cell in cells]


def _is_cell(given: object) -> bool:
    return isinstance(given, str) or (isinstance(given, dict) and isinstance(given.get(B64), str))


def _picture(cell: object, what: str, limits: Limits) -> bytes | np.ndarray:
    if isinstance(cell, dict):
        cell = _only(cell, what)  # {"b64": text}, in a column or without one
    if not isinstance(cell, list):
        return jsonbody.encoded(cell, what, HOW)
    return of_lists(cell, what, limits)


def _only(row: object, what: str) -> object:
    """The one value of a row, which has one column."""
    values = list(row.values()) if isinstance(row, dict) else row
    if not isinstance(values, list) or len(values) != 1:
        raise Refusal(400, f"{what} has not one column", "send one column, of pictures")
    return values[0]


def _list(given: object, what: str) -> list:
    if not isinstance(given, list):
        raise Refusal(400, f"{what} is not a list", HOW)
    return given


def _depth(values: object) -> int:
    """How many lists lie within each other, as far as the first of each shows; no more than four are looked at."""
    depth = 0
    while isinstance(values, list) and values and depth < 4:
        values, depth = values[0], depth + 1
    return depth


def _least(params: object, bundle: Bundle) -> float | None:
    """The score that `params` asks for. Raises Refusal (400)."""
    if params is None:
        return None
    given = jsonbody.mapping(params, PARAMS, f"send {PARAMS} as {{{LEAST}: 0.3}}, or leave it out")
    unknown = [name for name in given if name != LEAST]
    if unknown:
        raise Refusal(400, f"{PARAMS} has a field {unknown[0][:64]!r}", f"known here: {LEAST}")
    least = given.get(LEAST)
    if least is None:
        return None
    if not bundle.finds_boxes:
        raise Refusal(400, f"{LEAST}: {bundle.recipe}'s model finds no boxes", f"leave {LEAST} out")
    if type(least) not in (int, float) or not 0 <= least <= 1:
        raise Refusal(400, f"{LEAST} is not a number from 0 to 1", f"send {LEAST}: 0.3 for example")
    return float(least)
