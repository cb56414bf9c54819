"""The service asked by MLflow's and SageMaker's own clients, over HTTP, in a process of its own."""

import base64
import json

import boto3
import httpx
import numpy as np
import pandas as pd
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from mlflow.pyfunc.scoring_server.client import ScoringServerClient

from components.core.bundle import Bundle
from components.serving.pictures import Limits, Refusal
from components.serving.scoring import FORMS, parse
from tests.deployment import detecting
from tests.deployment.detecting import picture
from tests.serving.test_detector import png
from tests.serving.test_service import bomb, encoded, form

BUNDLE = Bundle("toy", ("a", "b"), None, None, 4, 4, None, None, 1, {}, {})


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def ask(service, body: object, kind: str = "application/json", path: str = "/invocations") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(f"{service.url}{path}", content=content, headers={"content-type": kind}, timeout=60)


def flat(result: dict) -> dict:
    """A result of /v1/predict as MLflow's clients get it."""
    named = {f"prob_{name}": pytest.approx(value, abs=1e-5) for name, value in result["probabilities"].items()}
    return {"prediction": result["prediction"], "score": pytest.approx(result["score"], abs=1e-5)} | named


@pytest.fixture(scope="module")
def contents() -> list[bytes]:
    return [encoded(1), encoded(2, ".jpg", height=90)]


@pytest.fixture(scope="module")
def wanted(service, contents) -> list[dict]:
    return [flat(result) for result in form(service, *contents).json()["results"]]


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream", "application/x-image"])
def test_a_raw_picture_is_answered_as_a_prediction(service, contents, wanted, kind):
    answer = ask(service, contents[0], kind)
    assert answer.status_code == 200 and answer.json() == {"predictions": wanted[:1]}
    assert answer.headers["x-sightline-model"].startswith("toy/v1@")


def test_every_form_of_the_scoring_protocol_is_answered_alike(service, contents, wanted):
    cells = [text(content) for content in contents]
    rows = [{"picture": cell} for cell in cells]
    bodies = [
        {"inputs": cells}, {"inputs": {"picture": cells}}, {"inputs": {"b64": cells}}, {"instances": cells},
        {"instances": rows}, {"instances": [{"b64": cell} for cell in cells]},
        {"instances": [{"picture": {"b64": cell}} for cell in cells]},
        {"instances": [base64.encodebytes(content).decode() for content in contents]},
        {"dataframe_records": rows}, {"dataframe_split": {"data": [[cell] for cell in cells]}},
        {"dataframe_split": {"index": [7, 9], "columns": ["x"], "data": [[cell] for cell in cells]}, "params": {}},
    ]  # fmt: skip
    for body in bodies:
        assert ask(service, body).json() == {"predictions": wanted}, list(body)
    for one in (cells[0], {"picture": cells[0]}, {"b64": cells[0]}):
        assert ask(service, {"inputs": one}).json() == {"predictions": wanted[:1]}


def test_mlflows_scoring_client_works_unchanged(service, contents, wanted):
    host, _, port = service.url.removeprefix("http://").partition(":")
    client = ScoringServerClient(host, int(port))
    client.wait_server_ready(timeout=60)
    cells = [text(content) for content in contents]
    for data in (pd.DataFrame({"picture": cells}), cells, np.array(cells)):
        table = client.invoke(data).get_predictions()
        assert table.to_dict("records") == wanted
        assert list(table) == ["prediction", "score", "prob_normal", "prob_suspicious"]
    with pytest.raises(Exception, match="error code 400.*not a picture"):
        client.invoke([text(b"hello")])


def test_mlflows_client_sends_arrays_as_lists_of_pixels(service):
    rgb = np.stack([picture(seed, 1)[0] for seed in (5000, 5001)])
    as_files = form(service, *(png(one) for one in rgb)).json()["results"]
    host, _, port = service.url.removeprefix("http://").partition(":")
    client = ScoringServerClient(host, int(port))
    assert client.invoke(rgb).get_predictions().to_dict("records") == [flat(result) for result in as_files]
    assert client.invoke(rgb[0]).get_predictions().to_dict("records") == [flat(as_files[0])]
    table = pd.DataFrame({"picture": [one.tolist() for one in rgb]})
    assert client.invoke(table).get_predictions().to_dict("records") == [flat(result) for result in as_files]


def sagemaker(service):
    return boto3.client(
        "sagemaker-runtime", endpoint_url=service.url, region_name="eu-central-1", aws_access_key_id="testing",
        aws_secret_access_key="testing", config=Config(retries={"total_max_attempts": 1}, read_timeout=120),
    )  # fmt: skip


def test_sagemakers_client_works_unchanged(service, contents, wanted):
    client = sagemaker(service)
    for kind in ("image/png", "application/x-image"):
        reply = client.invoke_endpoint(
            EndpointName="toy", ContentType=kind, Body=contents[0], Accept="application/json"
        )
        assert reply["ContentType"] == "application/json"
        assert json.loads(reply["Body"].read()) == {"predictions": wanted[:1]}
        assert reply["InvokedProductionVariant"].startswith("toy/v1@")
    body = json.dumps({"instances": [text(content) for content in contents]})
    reply = client.invoke_endpoint(EndpointName="toy", ContentType="application/json", Body=body)
    assert json.loads(reply["Body"].read()) == {"predictions": wanted}


@pytest.mark.parametrize(
    ("endpoint", "body", "status", "says"),
    [
        ("toy", b"hello", 400, "not a picture"),
        ("toy", bytes(10_000_001), 413, "the body is larger"),
        ("digits", b"hello", 404, "endpoint 'digits' is not served; served here: toy"),
    ],
)
def test_sagemakers_client_is_told_what_is_wrong(service, endpoint, body, status, says):
    with pytest.raises(ClientError) as failed:
        sagemaker(service).invoke_endpoint(EndpointName=endpoint, ContentType="image/png", Body=body)
    told = failed.value.response
    assert told["ResponseMetadata"]["HTTPStatusCode"] == status
    assert told["Error"]["Code"] == "ValidationError" and says in told["Error"]["Message"]


def test_boxes_are_in_the_predictions_and_min_score_is_heard(detector):
    content = png(picture(5029, 2)[0])
    (row,) = ask(detector, content, "image/png").json()["predictions"]
    (result,) = form(detector, content).json()["results"]
    assert row == flat(result) | {"boxes": result["boxes"]} and len(row["boxes"]) == 2
    body = {"inputs": [text(content)], "params": {"min_score": 0}}
    counts = [len(ask(detector, body | more).json()["predictions"][0]["boxes"]) for more in ({}, {"params": None})]
    assert counts[0] > counts[1] == 2
    answer = ask(detector, content, "image/png", "/invocations?min_score=0")
    assert len(answer.json()["predictions"][0]["boxes"]) == counts[0]
    reply = sagemaker(detector).invoke_endpoint(EndpointName=detecting.RECIPE, ContentType="image/png", Body=content)
    assert json.loads(reply["Body"].read())["predictions"] == [row]


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b"{", "application/json", 400, "is not JSON"),
        (b"[" * 100_000, "application/json", 400, "is not JSON (too deep)"),
        (b"\xff\xfe\xff", "application/json", 400, "is not JSON"),
        (b"", "application/json", 400, "the body is empty"),
        ([], "application/json", 400, "the body is not a JSON object"),
        ({}, "application/json", 400, "the body holds none of inputs"),
        ({"inputs": ["aGk="], "instances": ["aGk="]}, "application/json", 400, "the body holds inputs and instances"),
        ({"inputs": ["aGk="], "signature_name": "x"}, "application/json", 400, "has a field 'signature_name'"),
        ({"inputs": []}, "application/json", 400, "inputs holds no picture"),
        ({"inputs": 7}, "application/json", 400, "inputs is not a list"),
        ({"inputs": [7]}, "application/json", 400, "the picture is no base64 text"),
        ({"inputs": ["aGk="] * 33}, "application/json", 413, "more than 32 pictures"),
        ({"inputs": ["aGk=", "?"]}, "application/json", 400, "picture 2 of 2 is not base64"),
        ({"inputs": [text(bomb())]}, "application/json", 413, "30000 x 30000 pixels are more than"),
        ({"inputs": [text(encoded(1)), text(b"hi")]}, "application/json", 400, "picture 2 of 2: not a picture"),
        ({"inputs": [[[[1, 2, 256]]]]}, "application/json", 400, "whole numbers from 0 to 255"),
        ({"inputs": [[[[1, 2, 3]], [[1, 2]]]]}, "application/json", 400, "has not the shape [2, 1, 3]"),
        ({"inputs": [[[]]]}, "application/json", 400, "has no pixels"),
        ({"inputs": [[[[1, "9" * 100_000, 3]]]]}, "application/json", 400, "whole numbers from 0 to 255"),
        ({"inputs": {"a": ["aGk="], "b": ["aGk="]}}, "application/json", 400, "inputs has not one column"),
        ({"instances": {"a": "aGk="}}, "application/json", 400, "instances is not a list"),
        ({"dataframe_records": [{"a": 1, "b": 2}]}, "application/json", 400, "has not one column"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": []}}, "application/json", 400, "has 2 columns"),
        ({"dataframe_split": {"columns": ["a"]}}, "application/json", 400, "dataframe_split.data is not a list"),
        ({"dataframe_split": {"data": [["aGk=", 1]]}}, "application/json", 400, "row 1 of dataframe_split has not one"),
        ({"inputs": ["aGk="], "params": {"x": 1}}, "application/json", 400, "params has a field 'x'"),
        ({"inputs": ["aGk="], "params": {"min_score": 0.5}}, "application/json", 400, "finds no boxes"),
        (b"picture\nx", "text/csv", 415, "content type text/csv is not served"),
        (b"hello", "application/x-image", 400, "not a picture"),
    ],
)
def test_what_is_refused_and_why(service, body, kind, status, says):
    answer = ask(service, body, kind)
    told = answer.json()
    assert answer.status_code == status and says in told["error"] and told["remedy"], told


def test_the_limit_on_bytes_holds(service):
    assert ask(service, {"inputs": ["A" * 10_000_001]}).status_code == 413


@pytest.mark.parametrize("least", ["0.5", 2, -1, True, [0.5]])
def test_a_min_score_that_cannot_be_is_refused(detector, least):
    answer = ask(detector, {"inputs": [text(encoded(1))], "params": {"min_score": least}})
    assert answer.status_code == 400 and "min_score is not a number from 0 to 1" in answer.json()["error"]


def test_ping_says_whether_a_model_is_loaded(service, start):
    assert httpx.get(f"{service.url}/ping", timeout=60).status_code == 200
    waiting = start()
    assert httpx.get(f"{waiting.url}/ping", timeout=60).status_code == 503
    for path in ("/invocations", "/endpoints/toy/invocations"):
        answer = ask(waiting, encoded(1), "image/png", path)
        assert answer.status_code == 503 and answer.json()["remedy"]


def test_the_api_page_tells_of_these_routes(service):
    paths = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["paths"]
    told = paths["/invocations"]["post"]
    assert {"200", "400", "413", "415", "503"} <= set(told["responses"])
    assert {"application/json", "application/x-image"} <= set(told["requestBody"]["content"])
    assert {"/ping", "/endpoints/{endpoint}/invocations"} <= set(paths)


CELLS = st.recursive(
    st.none() | st.integers(-1, 300) | st.sampled_from(["aGk=", "?", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "data", "x"]), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from([*FORMS, "params"]), CELLS, max_size=2))
def test_any_json_is_refused_or_understood(body):
    try:
        asked = parse(json.dumps(body).encode(), BUNDLE, Limits(pictures=2, pixels=4))
    except Refusal as refusal:
        assert refusal.status in (400, 413) and refusal.error and refusal.remedy
    else:
        assert 1 <= len(asked.pictures) <= 2
