"""Limits on how often one client may ask."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from components.serving.app import create_app
from components.serving.options import Options
from components.serving.rate import Buckets
from tests.serving.conftest import wait_for
from tests.serving.test_tokens import NEW, OLD, STREAM, bearer, written
from tests.serving.tracking import frame, jpeg, publish

HOUR = 1 / 3600  # requests a second: a slow machine does not earn one while a test runs


def test_a_burst_then_the_rate():
    now = 0.0
    buckets = Buckets(rate=2, burst=4, clock=lambda: now)
    assert [buckets.take("a") for _ in range(6)] == [0, 0, 0, 0, 0.5, 0.5], "asking in vain costs nothing"
    assert buckets.take("b") == 0, "another client has a bucket of its own"
    now += 0.25
    assert buckets.take("a") == pytest.approx(0.25)
    now += 0.25
    assert buckets.take("a") == 0 and buckets.take("a") == 0.5
    now += 1000
    assert [buckets.take("a") == 0 for _ in range(5)] == [True] * 4 + [False], "no more than a burst is saved up"


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 3)), max_size=60))
def test_nobody_gets_more_than_the_rate_and_all_get_it(steps):
    now, given_to = 0.0, dict.fromkeys(range(4), 0)
    buckets = Buckets(rate=1.5, burst=3, clock=lambda: now)
    for pause, client in steps:
        now += pause
        wait = buckets.take(client)
        if wait:
            now += wait + 1e-6
            assert not buckets.take(client), "who comes back when told is let in"
        given_to[client] += 1
        assert given_to[client] <= 3 + 1.5 * now + 1e-6


def test_the_table_of_clients_is_bounded_and_forgets_the_longest_unheard_of():
    buckets = Buckets(rate=HOUR, burst=1, most=3, clock=lambda: 0.0)
    assert [buckets.take(client) == 0 for client in ("a", "b", "a", "c", "d")] == [True, True, False, True, True]
    assert len(buckets) == 3 and buckets.take("a") > 0, "a was heard of after b"
    assert buckets.take("b") == 0 and len(buckets) == 3


def client(tmp_path, **options):
    publish(tmp_path)
    app = create_app(tmp_path, options=Options(rate=HOUR, **options))
    asked = TestClient(app, client=("192.0.2.7", 1))
    return app, asked


def test_one_too_many_is_told_when_to_come_back_and_probes_are_not_counted(tmp_path):
    app, asked = client(tmp_path)
    with asked:
        wait_for(lambda: app.state.champion.model)
        assert asked.get("/metrics").status_code == 200
        refused = asked.post("/v1/predict", content=jpeg(frame(0)), headers={"content-type": "image/jpeg"})
        assert refused.status_code == 429 and 3000 < int(refused.headers["retry-after"]) <= 3600
        assert "requests a second" in refused.json()["error"] and refused.json()["remedy"]
        assert refused.headers["connection"] == "close" and refused.headers["x-request-id"]
        assert [asked.get("/readyz").status_code for _ in range(5)] == [200] * 5
        other = TestClient(app, client=("192.0.2.8", 1))
        assert other.get("/v2").status_code == 200, "of another address"
        sixes = [TestClient(app, client=(f"2001:db8::{end}", 1)) for end in (1, 2)]
        assert [one.get("/v2").status_code for one in sixes] == [200, 429], "one network of IPv6 is one client"


def test_with_tokens_a_client_is_a_token_and_who_has_none_uses_up_nobodys(tmp_path):
    app, asked = client(tmp_path, tokens=written(tmp_path / "tokens", f"{OLD}\n{NEW}\n"))
    with asked:
        assert [asked.get("/v2").status_code for _ in range(3)] == [401] * 3
        assert [asked.get("/v2", headers=bearer(one)).status_code for one in (OLD, NEW, OLD, NEW)] == [
            200, 200, 429, 429,
        ]  # fmt: skip


def test_a_message_of_a_stream_is_a_request(tmp_path):
    publish(tmp_path)
    app = create_app(tmp_path, options=Options(rate=HOUR))
    with TestClient(app) as asked:
        wait_for(lambda: app.state.champion.model)
        with asked.websocket_connect(STREAM) as stream:  # the one request there is
            for _ in range(3):
                stream.send_bytes(jpeg(frame(0)))
                answer = stream.receive_json()
                assert answer["status"] == 429 and answer["remedy"].startswith("ask again in")
        scraped = TestClient(app, client=("192.0.2.8", 1)).get("/metrics").text
        assert 'sightline_refusals_total{reason="rate"} 3.0' in scraped
