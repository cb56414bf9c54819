"""From what people pass to `predict` to pictures: files, bytes, base64 text, arrays, tables of one column of these."""

import os
from pathlib import Path

import numpy as np
import pandas as pd

from components.core.errors import SightlineError
from components.serving.jsonbody import encoded
from components.serving.pictures import Limits, Refusal
from components.serving.scoring import of_lists

IN_SERVER = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's scoring server says so in its environment
LONGEST_PATH = 4096
HOW = "pass files, bytes, base64 texts, or uint8 arrays (height, width, 3) RGB"


def cells(given: object) -> list:
    """The pictures, still as they were passed. Raises SightlineError for a table of several columns, and for an array
    that holds no pictures."""
    if isinstance(given, pd.DataFrame):
        if given.shape[1] != 1:
            raise SightlineError(f"the table has {given.shape[1]} columns", "pass one column, of pictures")
        return given.iloc[:, 0].tolist()
    if isinstance(given, dict):
        if len(given) != 1:
            raise SightlineError(f"the mapping has {len(given)} columns", "pass one column, of pictures")
        return cells(next(iter(given.values())))
    if isinstance(given, pd.Series):
        return given.tolist()
    if isinstance(given, np.ndarray):
        return _of_array(given)
    return list(given) if isinstance(given, (list, tuple)) else [given]


def picture(cell: object, limits: Limits) -> bytes | np.ndarray:
    """One picture: encoded, or pixels, (H, W, 3) uint8 RGB. Raises SightlineError, and Refusal for text and lists that
    are none.

    A text is the path of a file or, where there is no such file, base64. A server takes no paths from its clients: what
    lies on its disk is none of theirs.
    """
    if isinstance(cell, (bytes, bytearray, memoryview)):
        return bytes(cell)
    if isinstance(cell, str) and not _names_file(cell):
        return encoded(str(cell), "the text" if _in_server() else "no such file, and as a picture the text", HOW)
    if isinstance(cell, (str, Path)) and not _in_server():
        try:
            return Path(cell).read_bytes()
        except OSError as error:
            raise SightlineError(f"{cell}: cannot be read: {error.strerror}", HOW) from None
    if isinstance(cell, list):
        return of_lists(cell, "the picture", limits)
    if isinstance(cell, np.ndarray):
        return _pixels(cell, limits)
    raise SightlineError(f"a {type(cell).__name__} is no picture", HOW)


def _in_server() -> bool:
    return os.environ.get(IN_SERVER, "").lower() in ("true", "1")


def _names_file(text: str) -> bool:
    return not _in_server() and len(text) <= LONGEST_PATH and os.path.isfile(text)


def _of_array(array: np.ndarray) -> list:
    if array.dtype.kind in "OSU":
        return array.ravel().tolist()
    if array.ndim == 3:
        return [array]
    if array.ndim == 4:
        return list(array)
    raise SightlineError(f"an array of shape {array.shape} holds no pictures", HOW)


def _pixels(array: np.ndarray, limits: Limits) -> np.ndarray:
    """The array as pixels. MLflow's server makes int64 of the numbers that it is sent."""
    if array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise SightlineError(f"an array of shape {array.shape} is no picture", HOW)
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise SightlineError(f"an array of {array.dtype} holds something else than 0 to 255", HOW)
    height, width = array.shape[:2]
    if height * width > limits.pixels:
        raise Refusal(413, f"{width} x {height} pixels are more than {limits.pixels}", "scale the picture down")
    return np.ascontiguousarray(array, np.uint8)
