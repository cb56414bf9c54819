"""Tensors on the wire: whatever bytes come, they are a request that can be answered, or refused with a reason."""

import base64
import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from components.serving.pictures import Limits, Refusal
from components.serving.tensors import Infer, Output, elements, packed, parse, render

LIMITS = Limits(body_bytes=10_000, pictures=4, pixels=100)
PARTS = st.lists(st.binary(max_size=40), max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["name", "datatype", "shape", "data", "parameters"])


def request(*inputs: dict, tail: bytes = b"", **fields) -> tuple[bytes, str]:
    """(body, where its JSON ends)."""
    head = json.dumps({"inputs": list(inputs)} | fields).encode()
    return head + tail, str(len(head))


def pixels(shape: list[int], **fields) -> dict:
    return {"name": "pictures", "datatype": "UINT8", "shape": shape} | fields


def files(count: int, **fields) -> dict:
    return {"name": "encoded", "datatype": "BYTES", "shape": [count]} | fields


def read(*inputs: dict, tail: bytes = b"", **fields) -> Infer:
    return parse(*request(*inputs, tail=tail, **fields), LIMITS)


@given(PARTS)
def test_elements_come_back_as_they_were_packed(parts):
    assert elements(packed(parts), len(parts), "it") == parts


@given(st.binary(max_size=60), st.integers(0, 5))
@example(b"\xff\xff\xff\xff", 1)
@example(b"\x00\x00\x00\x00\x00", 1)
def test_any_bytes_are_elements_or_refused(content, count):
    """And they are elements only where packing them anew gives these bytes: nothing is skipped, nothing read twice."""
    try:
        found = elements(content, count, "it")
    except Refusal as refusal:
        assert refusal.status == 400
    else:
        assert len(found) == count and packed(found) == content


@given(PARTS.filter(bool), st.data())
def test_a_tensor_cut_short_is_refused(parts, data):
    whole = packed(parts)
    with pytest.raises(Refusal, match="ends"):
        elements(whole[: data.draw(st.integers(0, len(whole) - 1))], len(parts), "it")


@given(st.binary(max_size=80), st.none() | st.text(max_size=4) | st.integers(-1, 90).map(str))
@example(b"", "99999999999999999999")
@example(b"{}", "٢")
def test_any_body_is_refused_or_understood(body, length):
    understood_or_refused(body, length)


@given(JSON)
def test_any_json_is_refused_or_understood(value):
    understood_or_refused(json.dumps(value).encode(), None)
    understood_or_refused(*request(value))


@given(st.sampled_from(["pixels", "pixels binary", "files", "files binary"]), NAMES, JSON, st.binary(max_size=20))
def test_a_request_with_any_one_field_changed_is_refused_or_understood(kind, name, value, tail):
    one = {
        "pixels": pixels([1, 1, 2, 3], data=[1, 2, 3, 4, 5, 6]),
        "pixels binary": pixels([1, 1, 2, 3], parameters={"binary_data_size": 6}),
        "files": files(1, data=["aGk="]),
        "files binary": files(1, parameters={"binary_data_size": 6}),
    }[kind]
    understood_or_refused(*request(one | {name: value}, tail=tail))
    understood_or_refused(*request(one | {"parameters": {"binary_data_size": len(tail)}}, tail=tail))


def understood_or_refused(body: bytes, length: str | None) -> None:
    try:
        found = parse(body, length, LIMITS)
    except Refusal as refusal:
        assert refusal.status in (400, 413) and refusal.error and refusal.remedy
    else:
        assert 1 <= len(found.pictures) <= LIMITS.pictures


def test_pixels_are_read_row_by_row_nested_or_binary():
    rgb = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)
    shape = list(rgb.shape)
    flat, nested = pixels(shape, data=rgb.ravel().tolist()), pixels(shape, data=rgb.tolist())
    binary = pixels(shape, parameters={"binary_data_size": rgb.size})
    for found in (read(flat), read(nested), read(binary, tail=rgb.tobytes())):
        assert np.array_equal(np.asarray(found.pictures), rgb) and found.pictures.dtype == np.uint8


def test_files_are_read_from_base64_or_binary():
    parts = [b"one", b"", b"\0\xff"]
    whole = packed(parts)
    binary = files(3, parameters={"binary_data_size": len(whole)})
    assert read(binary, tail=whole).pictures == parts
    texts = [base64.encodebytes(bytes(range(90))).decode(), "aGk="]
    assert read(files(2, data=texts)).pictures == [bytes(range(90)), b"hi"]
    column = {"name": "encoded", "datatype": "BYTES", "shape": [2, 1], "data": [[text] for text in texts]}
    assert read(column).pictures == [bytes(range(90)), b"hi"]


@pytest.mark.parametrize(
    ("inputs", "status", "says"),
    [
        ([], 400, "inputs is not a list of one tensor"),
        ([pixels([1, 1, 1, 3], data=[1, 2, 3])] * 2, 400, "inputs is not a list of one tensor"),
        ([{"name": "input-0"}], 400, "no input of this name"),
        ([files(1, datatype="UINT8", data=["aGk="])], 400, "another datatype than BYTES"),
        ([pixels([1, 1, 3], data=[1, 2, 3])], 400, "has not the shape [N, height, width, 3]"),
        ([pixels([1, 1, 1, 4], data=[1, 2, 3, 4])], 400, "has not the shape"),
        ([pixels([0, 1, 1, 3], data=[])], 400, "has not the shape"),
        ([pixels([1, 1, 1, -3], data=[])], 400, "has no shape"),
        ([pixels([True, 1, 1, 3], data=[1, 2, 3])], 400, "has no shape"),
        ([pixels([1, 1, 1, 3], data=[1, 2])], 400, "has not the shape"),
        ([pixels([1, 1, 1, 3], data=[1, 2, 256])], 400, "whole numbers from 0 to 255"),
        ([pixels([1, 1, 1, 3], data=[1, 2, 3.5])], 400, "whole numbers from 0 to 255"),
        ([pixels([1, 1, 1, 3], data=[1, "2" * 5000, None])], 400, "whole numbers from 0 to 255"),
        ([pixels([1, 1, 1, 3], data=[[[[1, 2], 3]]])], 400, "has not the shape"),
        ([pixels([1, 1, 1, 3])], 400, "neither data nor binary_data_size"),
        ([pixels([1, 1, 1, 3], parameters={"shared_memory_region": "x"})], 400, "neither data nor"),
        ([pixels([1, 1, 1, 3], data=[1, 2, 3], parameters={"binary_data_size": 0})], 400, "both data and"),
        ([pixels([1, 1, 1, 3], parameters={"binary_data_size": 3})], 400, "is not 0, the bytes after the JSON"),
        ([pixels([5, 1, 1, 3], data=[])], 413, "more than 4 pictures"),
        ([pixels([1, 11, 10, 3], data=[])], 413, "more than 100 pixels"),
        ([pixels([1, 10**30, 10**30, 3], data=[])], 413, "more than 100 pixels"),
        ([files(5, data=["aGk="] * 5)], 413, "more than 4 pictures"),
        ([files(1, data=["no base64!"])], 400, "element 1 of encoded is not base64"),
        ([files(2, data=["aGk=", 7])], 400, "element 2 of encoded is no base64 text"),
    ],
)
def test_what_is_refused_and_why(inputs, status, says):
    with pytest.raises(Refusal) as refused:
        read(*inputs)
    assert refused.value.status == status and says in refused.value.error


@pytest.mark.parametrize(
    ("length", "says"), [("-1", "is not a number"), ("1e1", "is not a number"), ("200", "is not a number"), ("", "is")]
)
def test_where_the_json_ends_must_be_within_the_body(length, says):
    with pytest.raises(Refusal, match=says):
        parse(b"{}" * 50, length, LIMITS)


def test_bytes_that_belong_to_no_tensor_are_refused():
    with pytest.raises(Refusal, match="2 bytes follow the JSON"):
        read(pixels([1, 1, 1, 3], data=[1, 2, 3]), tail=b"xx")


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 7}, {"outputs": {}}, {"outputs": [{}]}, {"outputs": [7]}, {"parameters": []},
        {"parameters": {"binary_data_output": 1}}, {"outputs": [{"name": "boxes", "parameters": {"binary_data": "x"}}]},
    ],
)  # fmt: skip
def test_wrong_words_beside_the_input_are_refused(fields):
    with pytest.raises(Refusal) as refused:
        read(pixels([1, 1, 1, 3], data=[1, 2, 3]), **fields)
    assert refused.value.status == 400


OUTPUTS = [
    Output("scores", "FP32", (2, 2), np.array([[0.5, 0.25], [1.0, 0.0]], np.float32)),
    Output("classes", "INT64", (2, 1), np.array([[1], [2]])),
    Output("predictions", "BYTES", (2,), ["größer", "b"]),
]


def test_an_answer_in_json_and_in_binary():
    asked = read(pixels([1, 1, 1, 3], data=[1, 2, 3]), id="\ud800")
    body, length = render({"model_name": "m"}, OUTPUTS, asked)
    told = json.loads(body)
    assert length is None and told["id"] == "\ud800" and told["model_name"] == "m"
    assert [one["data"] for one in told["outputs"]] == [[0.5, 0.25, 1.0, 0.0], [1, 2], ["größer", "b"]]
    assert [one["shape"] for one in told["outputs"]] == [[2, 2], [2, 1], [2]]

    mixed = [{"name": "predictions"}, {"name": "classes"}, {"name": "scores", "parameters": {"binary_data": False}}]
    asked = read(pixels([1, 1, 1, 3], data=[1, 2, 3]), outputs=mixed, parameters={"binary_data_output": True})
    body, length = render({}, OUTPUTS, asked)
    told, tail = json.loads(body[: int(length)]), body[int(length) :]
    sizes = [one.get("parameters", {}).get("binary_data_size") for one in told["outputs"]]
    assert [one["name"] for one in told["outputs"]] == ["predictions", "classes", "scores"] and "id" not in told
    assert sizes == [17, 16, None] and "data" not in told["outputs"][0] and told["outputs"][2]["data"]
    assert elements(tail[:17], 2, "it") == ["größer".encode(), b"b"]
    assert np.frombuffer(tail[17:], "<i8").tolist() == [1, 2]


def test_an_output_that_is_not_there_is_refused():
    asked = read(pixels([1, 1, 1, 3], data=[1, 2, 3]), outputs=[{"name": "logits"}])
    with pytest.raises(Refusal, match="no output 'logits'"):
        render({}, OUTPUTS, asked)
