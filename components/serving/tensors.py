"""Tensors on the wire: the inference request and response of the Open Inference Protocol, version 2.

A request names one input tensor of N pictures: `pictures`, UINT8 (N, H, W, 3) RGB, or `encoded`, BYTES (N): picture
files. Its elements are JSON, numbers or base64 text, row by row or nested; or with the binary extension they follow the
JSON: the header Inference-Header-Content-Length says where the JSON ends, `binary_data_size` how long a tensor is. In
binary, numbers are little endian, and each element of BYTES has its length, 4 bytes, before it.

https://github.com/kserve/open-inference-protocol, and Triton's protocol/extension_binary_data.md
"""

import json
import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from components.serving import jsonbody
from components.serving.pictures import DIGITS, Limits, Refusal

LENGTH = "Inference-Header-Content-Length"
PIXELS, FILES = "pictures", "encoded"
INPUTS = {PIXELS: ("UINT8", [-1, -1, -1, 3]), FILES: ("BYTES", [-1])}
WIRE = {"FP32": "<f4", "INT64": "<i8"}  # how numbers of a data type are laid out
HOW = "send one input tensor, `pictures` or `encoded`, see /docs"


@dataclass(frozen=True)
class Infer:
    """What a request asks: its id; pictures, encoded or (H, W, 3) uint8 RGB; the outputs by name, and whether each is
    wanted in binary, None: all of them, in the form that `binary` says."""

    id: str | None
    pictures: Sequence[bytes | np.ndarray]
    outputs: dict[str, bool] | None
    binary: bool


@dataclass(frozen=True)
class Output:
    """A tensor of an answer: `data` is an array, or of BYTES a list of texts."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: np.ndarray | list[str]


def parse(body: bytes, length: str | None, limits: Limits) -> Infer:
    """What a request's body asks, of whose bytes so many as the header `length` says are JSON (None: all).

    Raises Refusal (400, 413), naming the field.
    """
    ends = _length(length, len(body))
    given = jsonbody.mapping(jsonbody.parsed(body[:ends], "the request", HOW), "the request", HOW)
    asked = given.get("id")
    if asked is not None and not isinstance(asked, str):
        raise Refusal(400, "id is not a text", "send id as a string, or leave it out")
    inputs = given.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise Refusal(400, "inputs is not a list of one tensor", HOW)
    pictures = _input(jsonbody.mapping(inputs[0], "the input", HOW), body[ends:], limits)
    binary = _flag(given, "the request", "binary_data_output")
    return Infer(asked, pictures, _outputs(given.get("outputs"), binary), binary)


def wanted(asked: Infer, known: Iterable[str]) -> dict[str, bool]:
    """The outputs of an answer by name, and whether each is to be in binary. Raises Refusal (400) where one that is not
    `known` is asked for."""
    if asked.outputs is None:
        return {name: asked.binary for name in known}
    names = list(known)
    for name in asked.outputs:
        if name not in names:
            raise Refusal(400, f"there is no output {name[:64]!r}", f"known here: {', '.join(names)}")
    return asked.outputs


def render(about: dict, outputs: list[Output], asked: Infer) -> tuple[bytes, str | None]:
    """(the body of an answer, the value of the header LENGTH or None where all of it is JSON).

    `about`: the fields beside `id` and `outputs`. Raises Refusal (400) where an output is asked for that is not there.
    """
    known = {output.name: output for output in outputs}
    tensors, tail = [], []
    for name, binary in wanted(asked, known).items():
        output = known[name]
        tensor = {"name": name, "datatype": output.datatype, "shape": list(output.shape)}
        if binary:
            tail.append(_packed(output))
            tensors.append(tensor | {"parameters": {"binary_data_size": len(tail[-1])}})
        else:
            plain = output.data if output.datatype == "BYTES" else output.data.ravel().tolist()
            tensors.append(tensor | {"data": plain})
    # In ASCII: half a surrogate pair is a text in JSON, and cannot be said otherwise.
    head = json.dumps(({} if asked.id is None else {"id": asked.id}) | about | {"outputs": tensors}).encode()
    return b"".join([head, *tail]), str(len(head)) if tail else None


def elements(content: bytes, count: int, what: str) -> list[bytes]:
    """The elements of a BYTES tensor in binary: so many, each after its length. Raises Refusal (400)."""
    found, at = [], 0
    for number in range(1, count + 1):
        if len(content) - at < 4:
            raise Refusal(400, f"{what} ends before the length of element {number} of {count}", HOW)
        (size,) = struct.unpack_from("<I", content, at)
        at += 4
        if size > len(content) - at:
            raise Refusal(400, f"{what} ends within element {number} of {count}", HOW)
        found.append(content[at : at + size])
        at += size
    if at != len(content):
        raise Refusal(400, f"{what} has {len(content) - at} bytes after its last element", HOW)
    return found


def packed(parts: Sequence[bytes]) -> bytes:
    """The elements of a BYTES tensor in binary, as `elements` reads them."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def _packed(output: Output) -> bytes:
    if output.datatype == "BYTES":
        return packed([text.encode() for text in output.data])
    return np.ascontiguousarray(output.data, WIRE[output.datatype]).tobytes()


def _length(given: str | None, whole: int) -> int:
    if given is None:
        return whole
    if not (given.isascii() and given.isdecimal() and len(given) <= DIGITS and int(given) <= whole):
        raise Refusal(400, f"{LENGTH} is not a number of bytes from 0 to {whole}, the length of the body", HOW)
    return int(given)


def _input(given: dict, tail: bytes, limits: Limits) -> Sequence[bytes | np.ndarray]:
    """The pictures of the input tensor; `tail`: what follows the JSON."""
    name, datatype = given.get("name"), given.get("datatype")
    if not isinstance(name, str) or name not in INPUTS:
        raise Refusal(400, "there is no input of this name", f"known here: {', '.join(INPUTS)}")
    if datatype != INPUTS[name][0]:
        raise Refusal(400, f"input {name} is of another datatype than {INPUTS[name][0]}", HOW)
    shape = given.get("shape")
    if not isinstance(shape, list) or not shape or any(type(size) is not int or size < 0 for size in shape):
        raise Refusal(400, f"input {name} has no shape", HOW)
    _check_shape(name, shape, limits)
    content = _binary(name, given, tail)
    if name == PIXELS:
        return _pixels(given.get("data"), content, tuple(shape))
    if content is not None:
        return elements(content, shape[0], f"input {name}")
    texts = _plain(given.get("data"), tuple(shape), f"input {name}")
    return [jsonbody.encoded(text, f"element {number} of {name}", HOW) for number, text in enumerate(texts, start=1)]


def _check_shape(name: str, shape: list[int], limits: Limits) -> None:
    """Raises Refusal (400, 413) for a shape that cannot be, before anything is made of it."""
    likely = len(shape) == 4 and shape[3] == 3 if name == PIXELS else len(shape) == 1 or shape[1:] == [1]
    if not likely or 0 in shape:
        said = "[N, height, width, 3]" if name == PIXELS else "[N]"
        raise Refusal(400, f"input {name} has not the shape {said}", HOW)
    if shape[0] > limits.pictures:
        raise Refusal(413, f"more than {limits.pictures} pictures", "send fewer pictures in one request")
    if name == PIXELS and shape[1] * shape[2] > limits.pixels:
        raise Refusal(
            413, f"pictures of more than {limits.pixels} pixels", "scale the pictures down, or send them encoded"
        )


def _binary(name: str, given: dict, tail: bytes) -> bytes | None:
    """The tensor's bytes after the JSON, None where its elements are within. Raises Refusal (400)."""
    size = _parameters(given, f"input {name}").get("binary_data_size")
    if size is None:
        if tail:
            raise Refusal(400, f"{len(tail)} bytes follow the JSON, and input {name} has no binary_data_size", HOW)
        return None
    if "data" in given:
        raise Refusal(400, f"input {name} has both data and binary_data_size", "send one of them")
    if type(size) is not int or size != len(tail):
        raise Refusal(400, f"binary_data_size of input {name} is not {len(tail)}, the bytes after the JSON", HOW)
    return tail


def _pixels(data: object, content: bytes | None, shape: tuple[int, ...]) -> np.ndarray:
    what, count = f"input {PIXELS}", math.prod(shape)
    if content is None:
        return jsonbody.pixels(_plain(data, shape, what), shape, what, HOW)
    if len(content) != count:
        raise Refusal(400, f"{what} has {len(content)} bytes, its shape {count}", HOW)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _plain(data: object, shape: tuple[int, ...], what: str) -> list:
    """The elements of a tensor in JSON, row by row."""
    if not isinstance(data, list):
        raise Refusal(400, f"{what} has neither data nor binary_data_size", HOW)
    nested = bool(data) and isinstance(data[0], list)
    return jsonbody.flat(data, shape if nested else (math.prod(shape),), what, HOW)


def _outputs(given: object, binary: bool) -> dict[str, bool] | None:
    if given is None or given == []:
        return None
    if not isinstance(given, list):
        raise Refusal(400, "outputs is not a list", HOW)
    wanted = {}
    for one in given:
        name = jsonbody.mapping(one, "an output", HOW).get("name")
        if not isinstance(name, str):
            raise Refusal(400, "an output has no name", HOW)
        wanted[name] = _flag(one, f"output {name[:64]!r}", "binary_data", binary)
    return wanted


def _flag(given: dict, what: str, name: str, otherwise: bool = False) -> bool:
    value = _parameters(given, what).get(name, otherwise)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name} of {what} is neither true nor false", HOW)
    return value


def _parameters(given: dict, what: str) -> dict:
    parameters = given.get("parameters")
    return {} if parameters is None else jsonbody.mapping(parameters, f"parameters of {what}", HOW)
