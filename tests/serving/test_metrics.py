"""GET /metrics: what is counted, and that strangers cannot make its labels many."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from components.core.bundle import write_pointer
from components.serving.app import create_app
from tests.serving.conftest import wait_for
from tests.serving.test_tokens import STREAM
from tests.serving.tracking import frame, jpeg, payload, publish

PICTURE = {"content-type": "image/jpeg"}
MOVING = ("recipe", "moving")


@pytest.fixture
def asked(tmp_path):
    """A client of a service of its own."""
    publish(tmp_path)
    app = create_app(tmp_path)
    with TestClient(app, raise_server_exceptions=False) as client:
        wait_for(lambda: app.state.champion.model)
        yield client


def samples(asked) -> dict[tuple, float]:
    """By name and sorted labels; reading them is a request too."""
    answer = asked.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(one.name, *sorted(one.labels.items())): one.value for family in families for one in family.samples}


def requests(found: dict[tuple, float]) -> dict[tuple[str, str, str], float]:
    """Requests by method, route and status."""
    return {
        (labels["method"], labels["route"], labels["status"]): value
        for (name, *pairs), value in found.items()
        if name == "sightline_requests_total" and (labels := dict(pairs))
    }


def test_what_was_asked_and_what_the_network_did_is_counted(asked):
    before = samples(asked)
    assert ("sightline_model_swaps_total", MOVING) in before and ("sightline_pictures_total", MOVING) not in before
    files = [("picture", (f"{at}.jpg", jpeg(frame(at)), "image/jpeg")) for at in range(3)]
    assert asked.post("/v1/predict", files=files).status_code == 200
    for at in range(2):
        assert asked.post("/v1/track", json=payload(at)).status_code == 200
    found = samples(asked)
    counted = requests(found)
    assert counted["POST", "/v1/predict", "200"] == 1 and counted["POST", "/v1/track", "200"] == 2
    assert counted["GET", "/metrics", "200"] == 1
    assert found["sightline_pictures_total", MOVING] == 5 and found["sightline_engine_seconds_count", MOVING] == 3
    assert found["sightline_engine_seconds_sum", MOVING] > 0
    labels = (("method", "POST"), MOVING, ("route", "/v1/track"))
    assert found[("sightline_request_seconds_count", *labels)] == 2
    assert found[("sightline_request_seconds_bucket", ("le", "+Inf"), *labels)] == 2
    assert found["sightline_requests_in_flight",] == 1, "this one"
    assert found["sightline_gate_within",] == found["sightline_gate_waiting",] == 0
    assert found["sightline_sessions", MOVING] == 1 and found["sightline_model_problem", MOVING] == 0
    assert ("process_resident_memory_bytes",) in found


def test_strangers_cannot_make_the_labels_many(asked):
    for number in range(40):
        asked.get(f"/nothing/{number}")
        asked.delete(f"/v1/track/session-{number}")
        asked.request(f"METHOD{number}", "/v1/predict")
        asked.get(f"/v2/models/{number}")
        asked.get("/healthz", headers={"x-request-id": f"id-{number}"})
    counted = requests(samples(asked))
    assert counted["GET", "unmatched", "404"] == 40 and counted["DELETE", "/v1/track/{session}", "404"] == 40
    assert counted["OTHER", "/v1/predict", "405"] == 40 and counted["GET", "/v2/models/{name}", "404"] == 40
    assert counted["GET", "/healthz", "200"] == 40 and len(counted) == 5


def test_refusals_have_a_reason_of_few_words(asked):
    text = {"content-type": "text/plain"}
    for content, kind in ((b"no picture", PICTURE), (b"x", text), (bytes(10_000_001), PICTURE)):
        asked.post("/v1/predict", content=content, headers=kind)
    for at in (5, 4):
        asked.post("/v1/track", json=payload(at))
    model = asked.app.state.champion.model
    model.said = None
    assert asked.post("/v1/predict", content=jpeg(frame(0)), headers=PICTURE).status_code == 500
    with asked.websocket_connect(STREAM) as stream:
        stream.send_bytes(b"no picture")
        assert stream.receive_json()["status"] == 400
    wait_for(lambda: ("STREAM", STREAM, "101") in requests(samples(asked)))  # it is counted when it has ended
    found = samples(asked)
    reasons = {dict(pairs)["reason"]: n for (name, *pairs), n in found.items() if name == "sightline_refusals_total"}
    assert reasons == {"malformed": 2, "type": 1, "too_large": 1, "out_of_order": 1, "defect": 1}
    counted = requests(found)
    assert counted["STREAM", STREAM, "101"] == counted["POST", "/v1/predict", "500"] == 1


def test_the_model_that_is_served_is_named_and_no_other(asked, tmp_path):
    (first,) = [key for key in samples(asked) if key[0] == "sightline_model_info"]
    assert dict(first[1:])["recipe"] == "moving" and dict(first[1:])["version"] == "1"
    pointer = publish(tmp_path, version=2, best=0.8)
    wait_for(lambda: asked.app.state.champion.model.version == 2)
    found = samples(asked)
    (second,) = [key for key in found if key[0] == "sightline_model_info"]
    assert dict(second[1:]) == {"recipe": "moving", "version": "2", "digest": pointer.digest} and found[second] == 1
    assert found["sightline_model_swaps_total", MOVING] == 1
    write_pointer(tmp_path, type(pointer)(3, "v3", pointer.digest))
    wait_for(lambda: samples(asked)["sightline_model_problem", MOVING] == 1)


def test_a_service_without_a_model_is_measured_too(tmp_path):
    with TestClient(create_app(tmp_path)) as asked:
        assert asked.post("/v1/predict", content=jpeg(frame(0)), headers=PICTURE).status_code == 503
        found = samples(asked)
    assert not [key for key in found if key[0] == "sightline_model_info"]
    assert found["sightline_refusals_total", ("reason", "no_model")] == 1


def test_openmetrics_for_who_asks_for_it(asked):
    answer = asked.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "sightline_requests" in {family.name for family in openmetrics(answer.text)}
