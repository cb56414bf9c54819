"""KServe's protocol (Open Inference Protocol, version 2), spoken with a service in a process of its own."""

import base64
import json

import httpx
import numpy as np
import pytest

from tests.deployment import detecting, making
from tests.serving.conftest import publish, wait_for
from tests.serving.test_detector import png
from tests.serving.test_service import bomb, encoded, form

LENGTH = "inference-header-content-length"
DATATYPES = {"FP32": "<f4", "INT64": "<i8"}


def get(service, path: str) -> httpx.Response:
    return httpx.get(f"{service.url}{path}", timeout=60)


def infer(service, body: dict, tail: bytes = b"", name: str = "toy", **headers: str) -> httpx.Response:
    content = json.dumps(body).encode()
    if tail:
        headers[LENGTH] = str(len(content))
    url = f"{service.url}/v2/models/{name}/infer"
    return httpx.post(url, content=content + tail, headers=headers, timeout=60)


def pixels(rgb: np.ndarray, **fields) -> dict:
    return {"name": "pictures", "datatype": "UINT8", "shape": list(rgb.shape)} | fields


def files(contents: list[bytes], **fields) -> dict:
    return {"name": "encoded", "datatype": "BYTES", "shape": [len(contents)]} | fields


def outputs(answer: httpx.Response) -> dict[str, np.ndarray]:
    """The tensors of an answer, read as the protocol says, without any of the service's code."""
    assert answer.status_code == 200, answer.text
    ends = int(answer.headers.get(LENGTH, len(answer.content)))
    told, at, found = json.loads(answer.content[:ends]), ends, {}
    for one in told["outputs"]:
        size = one.get("parameters", {}).get("binary_data_size")
        if size is None:
            data = one["data"]
        else:
            part, at = answer.content[at : at + size], at + size
            data = texts(part) if one["datatype"] == "BYTES" else np.frombuffer(part, DATATYPES[one["datatype"]])
        found[one["name"]] = np.array(data, DATATYPES.get(one["datatype"])).reshape(one["shape"])
    assert at == len(answer.content)
    return found


def texts(part: bytes) -> list[str]:
    found = []
    while part:
        size = int.from_bytes(part[:4], "little")
        found.append(part[4 : 4 + size].decode())
        part = part[4 + size :]
    return found


@pytest.fixture(scope="module")
def rgb() -> np.ndarray:
    return np.stack([making.picture(seed, 60, 100) for seed in (1, 2, 3)])


@pytest.fixture(scope="module")
def results(service, rgb) -> list[dict]:
    return form(service, *(png(one) for one in rgb)).json()["results"]


def agree(found: dict[str, np.ndarray], results: list[dict]) -> None:
    assert found["probabilities"].dtype == np.float32
    wanted = np.array([list(result["probabilities"].values()) for result in results])
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)
    assert found["predictions"].tolist() == [result["prediction"] for result in results]


def test_server_health_and_model_are_told(service):
    assert get(service, "/v2").json()["extensions"] == ["binary_tensor_data"]
    assert get(service, "/v2/health/live").json() == {"live": True}
    assert get(service, "/v2/health/ready").json() == {"ready": True}
    told = get(service, "/v2/models/toy").json()
    assert told == get(service, "/v2/models/toy/versions/1").json()
    assert (told["name"], told["versions"]) == ("toy", ["1"])
    assert {one["name"]: (one["datatype"], one["shape"]) for one in told["inputs"]} == {
        "pictures": ("UINT8", [-1, -1, -1, 3]), "encoded": ("BYTES", [-1]),
    }  # fmt: skip
    assert told["outputs"][0] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}
    assert told["parameters"] == {"classes": ["normal", "suspicious"]}
    for path in ("/v2/models/toy/ready", "/v2/models/toy/versions/1/ready"):
        assert get(service, path).json() == {"name": "toy", "ready": True}


def test_pixels_are_scored_in_json_nested_flat_and_binary(service, rgb, results):
    """As the same pictures are by /v1/predict: they are scaled to the model's size in the same way."""
    bodies = [
        ({"inputs": [pixels(rgb, data=rgb.tolist())]}, b""),
        ({"inputs": [pixels(rgb, data=rgb.ravel().tolist())], "parameters": {}}, b""),
        ({"inputs": [pixels(rgb, parameters={"binary_data_size": rgb.size})]}, rgb.tobytes()),
    ]
    for body, tail in bodies:
        answer = infer(service, body, tail)
        agree(outputs(answer), results)
        told = answer.json()
        assert (told["model_name"], told["model_version"]) == ("toy", "1") and "id" not in told
        assert answer.headers["x-sightline-model"].startswith("toy/v1@")


def test_files_of_any_sizes_are_scored_in_base64_and_binary(service):
    contents = [encoded(1), encoded(2, ".jpg", height=90), encoded(3, ".webp", width=31)]
    results = form(service, *contents).json()["results"]
    inline = files(contents, data=[base64.b64encode(content).decode() for content in contents])
    agree(outputs(infer(service, {"inputs": [inline]})), results)
    tail = b"".join(len(content).to_bytes(4, "little") + content for content in contents)
    binary = files(contents, parameters={"binary_data_size": len(tail)})
    agree(outputs(infer(service, {"inputs": [binary]}, tail)), results)


def test_outputs_are_chosen_binary_and_ids_echoed(service, rgb, results):
    body = {"id": "a \ud800 \u2603", "inputs": [pixels(rgb, data=rgb.tolist())]}
    answer = infer(service, body | {"parameters": {"binary_data_output": True}})
    assert answer.headers["content-type"] == "application/octet-stream"
    agree(outputs(answer), results)
    assert json.loads(answer.content[: int(answer.headers[LENGTH])])["id"] == body["id"]
    one = infer(service, body | {"outputs": [{"name": "predictions"}]})
    assert one.headers["content-type"] == "application/json" and one.json()["id"] == body["id"]
    assert list(outputs(one)) == ["predictions"]
    mixed = [{"name": "probabilities", "parameters": {"binary_data": True}}, {"name": "predictions"}]
    agree(outputs(infer(service, body | {"outputs": mixed})), results)


def test_a_version_may_be_named_and_only_the_served_one_answers(service, rgb, results):
    body = {"inputs": [pixels(rgb, data=rgb.tolist())]}
    agree(outputs(infer(service, body, name="toy/versions/1")), results)
    for path in ("versions/2", "versions/01", "versions/2/ready"):
        answer = get(service, f"/v2/models/toy/{path}")
        assert answer.status_code == 404 and "served here: version 1" in answer.json()["remedy"]
    assert infer(service, body, name="toy/versions/2").status_code == 404
    for path in ("/v2/models/digits", "/v2/models/digits/ready"):
        assert get(service, path).status_code == 404
    answer = infer(service, body, name="digits")
    assert answer.status_code == 404 and "'digits' is not served" in answer.json()["error"]


def test_a_detectors_boxes_are_tensors_in_pixels(detector):
    contents = [png(detecting.picture(seed, scale)[0]) for seed, scale in ((5029, 1), (5000, 3))]
    inline = files(contents, data=[base64.b64encode(content).decode() for content in contents])
    found = outputs(infer(detector, {"inputs": [inline]}, name=detecting.RECIPE))
    reply = httpx.post(
        f"{detector.url}/v1/predict?min_score=0", files=[("picture", (str(i), one)) for i, one in enumerate(contents)],
        timeout=60,
    )  # fmt: skip
    results = reply.json()["results"]
    agree(found, results)
    told = get(detector, f"/v2/models/{detecting.RECIPE}").json()
    assert {one["name"]: len(one["shape"]) for one in told["outputs"]} == {k: v.ndim for k, v in found.items()}
    assert {one["name"]: one["datatype"] for one in told["outputs"]}["classes"] == "INT64"
    classes = told["parameters"]["classes"]
    for row, result in enumerate(results):
        count = len(result["boxes"])
        assert count == (found["scores"][row] > 0).sum() > 0
        for place, box in enumerate(result["boxes"]):
            left, top, right, bottom = found["boxes"][row, place]
            wanted = [box["x"], box["y"], box["w"], box["h"]]
            assert [left, top, right - left, bottom - top] == pytest.approx(wanted, abs=1e-3)
            assert found["scores"][row, place] == pytest.approx(box["score"], abs=1e-5)
            assert classes[found["classes"][row, place]] == box["class"]
    binary = infer(detector, {"inputs": [inline], "parameters": {"binary_data_output": True}}, name=detecting.RECIPE)
    for name, tensor in outputs(binary).items():
        assert np.array_equal(tensor, found[name]) and tensor.shape == found[name].shape


def refused(answer: httpx.Response, status: int, says: str) -> None:
    told = answer.json()
    assert answer.status_code == status and says in told["error"] and told["remedy"], told


def test_limits_hold(service):
    small = np.zeros((33, 2, 2, 3), np.uint8)
    refused(infer(service, {"inputs": [pixels(small, data=small.tolist())]}), 413, "more than 32 pictures")
    inline = base64.b64encode(bomb()).decode()
    refused(infer(service, {"inputs": [files([b""], data=[inline])]}), 413, "30000 x 30000 pixels are more than")
    claimed = {"name": "pictures", "datatype": "UINT8", "shape": [1, 30_000, 30_000, 3], "data": []}
    refused(infer(service, {"inputs": [claimed]}), 413, "more than 40000000 pixels")
    refused(infer(service, {}, bytes(10_000_001)), 413, "the body is larger than 10000000 bytes")


def test_what_cannot_be_read_is_refused(service, rgb):
    good = {"inputs": [pixels(rgb, data=rgb.tolist())]}
    refused(infer(service, good | {"outputs": [{"name": "logits"}]}), 400, "no output 'logits'")
    refused(infer(service, {"inputs": [files([b""], data=["aGk="])]}), 400, "not a picture")
    refused(infer(service, {"inputs": [files([b""] * 2, data=[base64.b64encode(encoded(1)).decode(), "aGk="])]}), 400,
            "picture 2 of 2: not a picture")  # fmt: skip
    binary = pixels(rgb, parameters={"binary_data_size": rgb.size})
    refused(infer(service, {"inputs": [binary]}, rgb.tobytes()[:-1]), 400, "binary_data_size")
    refused(infer(service, good, **{LENGTH: "999999999"}), 400, "is not a number of bytes")
    refused(infer(service, good, **{"content-encoding": "gzip"}), 415, "gzip")
    refused(infer(service, good, **{"content-type": "text/plain"}), 415, "text/plain")
    url = f"{service.url}/v2/models/toy/infer"
    for content, says in (
        (b"", "the body is empty"),
        (b"[1", "not JSON"),
        (b"[" * 100_000, "too deep"),
        (b"7", "not a"),
    ):
        refused(httpx.post(url, content=content, timeout=60), 400, says)
    assert httpx.get(url, timeout=60).status_code == 405


def test_without_a_model_it_lives_and_is_not_ready(start, bundles):
    waiting = start()
    assert get(waiting, "/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/toy", "/v2/models/toy/ready"):
        refused(get(waiting, path), 503, "no champion was deployed")
    refused(infer(waiting, {}), 503, "no champion was deployed")
    waiting.point(publish(waiting.deployed, bundles[2], 2))
    wait_for(lambda: waiting.serves(2))
    assert get(waiting, "/v2/models/toy").json()["versions"] == ["2"]
    assert get(waiting, "/v2/models/toy/versions/1").status_code == 404


def test_the_api_page_tells_of_these_routes(service):
    paths = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["paths"]
    told = paths["/v2/models/{name}/infer"]["post"]
    assert {"200", "400", "404", "413", "415", "503"} <= set(told["responses"])
    assert told["requestBody"]["content"]["application/json"]["examples"]
    assert "/v2/models/{name}/versions/{version}/infer" in paths
