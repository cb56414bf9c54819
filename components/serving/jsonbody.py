"""JSON that strangers send: read into values, numbers and bytes without a surprise for the process."""

import base64
import binascii
import json
from itertools import chain
from typing import Any

import numpy as np

from components.serving.pictures import Refusal


def parsed(body: bytes | str, what: str, how: str) -> Any:
    """The value that a JSON text holds. Raises Refusal (400) with the remedy `how`."""
    try:
        return json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else error
        raise Refusal(400, f"{what} is not JSON ({why})", how) from None


def mapping(given: object, what: str, how: str) -> dict:
    """The value, if it is a JSON object. Raises Refusal (400)."""
    if not isinstance(given, dict):
        raise Refusal(400, f"{what} is not a JSON object", how)
    return given


def encoded(text: object, what: str, how: str) -> bytes:
    """The bytes of a base64 text, which may have line breaks as MIME's has. Raises Refusal (400)."""
    if not isinstance(text, str) or not text:
        raise Refusal(400, f"{what} is no base64 text", how)
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise Refusal(400, f"{what} is not base64 ({error})", how) from None


def flat(values: object, shape: tuple[int, ...], what: str, how: str) -> list:
    """The elements of lists within lists of this shape, the last index counting fastest. Raises Refusal (400)."""
    rows = [values]
    for size in shape:
        if any(type(row) is not list or len(row) != size for row in rows):
            raise Refusal(400, f"{what} has not the shape {list(shape)}", how)
        rows = list(chain.from_iterable(rows))
    return rows


def pixels(values: list, shape: tuple[int, ...], what: str, how: str) -> np.ndarray:
    """A uint8 array of this shape, of a list of as many whole numbers from 0 to 255. Raises Refusal (400).

    NumPy is not asked to guess a type: a long text among numbers would have it take terabytes.
    """
    try:
        return np.frombuffer(bytes(values), np.uint8).reshape(shape)
    except (TypeError, ValueError):
        raise Refusal(400, f"{what} holds something else than whole numbers from 0 to 255", how) from None


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")
