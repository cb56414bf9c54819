"""Requests that take too long, and the threads that their work still holds."""

import asyncio
import threading

from fastapi import FastAPI
from starlette.testclient import TestClient

from components.serving import app as application
from components.serving import linger
from components.serving.gate import Gate
from components.serving.options import Options
from components.serving.pictures import Refusal
from tests.serving.asgi import Service, running
from tests.serving.conftest import wait_for
from tests.serving.test_tokens import STREAM
from tests.serving.test_track import ids, in_loop
from tests.serving.tracking import frame, jpeg, payload, publish

BRIEF = Options(timeout_s=2.0)


class Held:
    """Keeps a model's passes of the network from ending, until they are let go."""

    def __init__(self, app: FastAPI):
        self.let_go, self.passes = threading.Event(), 0
        app.state.champion.model.watch(self._hold)

    def _hold(self, pictures: int, seconds: float) -> None:
        self.passes += 1
        self.let_go.wait(600)


async def measured(service: Service, name: str) -> float:
    """A number that /metrics gives."""
    answer = await service.ask("GET", "/metrics")
    while answer.status == 504:  # on a machine that is very busy
        answer = await service.ask("GET", "/metrics")
    return next(float(line.split()[1]) for line in answer.body.splitlines() if line.startswith(f"{name} "))


async def predict(service: Service):
    return await service.ask("POST", "/v1/predict", jpeg(frame(0)), content_type="image/jpeg")


@in_loop
async def test_abandoned_work_keeps_its_place_until_it_has_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(application, "WAITING", 1)
    publish(tmp_path)
    async with running(tmp_path, options=BRIEF) as service:
        held = Held(service.app)
        answers = await asyncio.gather(*(predict(service) for _ in range(4)))
        assert sorted(answer.status for answer in answers) == [429, 504, 504, 504]
        late = next(answer for answer in answers if answer.status == 504)
        assert late.body["error"] == "no answer within 2 s" and "--timeout" in late.body["remedy"]
        assert late.headers["connection"] == "close" and late.headers["x-sightline-model"].startswith("moving/v1@")
        full = next(answer for answer in answers if answer.status == 429)
        assert full.headers["retry-after"] == "1"
        assert await measured(service, "sightline_gate_within") == 3, "two in the threads and one before them"
        assert await measured(service, "sightline_gate_waiting") == 1
        assert (await predict(service)).status == 429, "the threads are not free"
        held.let_go.set()
        while await measured(service, "sightline_gate_within"):
            await asyncio.sleep(0.05)
        assert held.passes == 2, "what had not begun was left out"
        assert (await predict(service)).status in (200, 504)


@in_loop
async def test_a_frame_that_was_answered_too_late_is_followed_all_the_same(tmp_path):
    publish(tmp_path)
    async with running(tmp_path, options=BRIEF) as service:
        held = Held(service.app)
        assert (await service.track(payload(0))).status == 504
        held.let_go.set()
        while await measured(service, "sightline_gate_within"):
            await asyncio.sleep(0.05)
        while (answer := await service.track(payload(0))).status == 504:  # sent again, as before
            pass
        assert answer.status == 200 and ids(answer.body["tracks"]) == [1, 2]
        assert held.passes == 1 and (await service.end("default")).body["frames"] == 1


@in_loop
async def test_a_frame_that_had_not_begun_is_left_out(tmp_path):
    """Two requests of a session: the second waits for the first, and is given up meanwhile."""
    publish(tmp_path)
    async with running(tmp_path, options=BRIEF) as service:
        held = Held(service.app)
        answers = await asyncio.gather(service.track(payload(0)), service.track(payload(1)))
        assert [answer.status for answer in answers] == [504, 504]
        held.let_go.set()
        while await measured(service, "sightline_gate_within"):
            await asyncio.sleep(0.05)
        assert (await service.end("default")).body["frames"] == 1


def test_a_message_of_a_stream_has_its_time_too(tmp_path):
    publish(tmp_path)
    app = application.create_app(tmp_path, options=BRIEF)
    with TestClient(app) as asked:
        wait_for(lambda: app.state.champion.model)
        held = Held(app)
        with asked.websocket_connect(STREAM) as stream:
            stream.send_json(payload(0))
            assert stream.receive_json()["status"] == 504
            held.let_go.set()
            answer = {"status": 504}
            while answer.get("status") == 504:  # on a machine that is very busy
                stream.send_json(payload(0))
                answer = stream.receive_json()
            assert ids(answer["tracks"]) == [1, 2] and held.passes == 1


@in_loop
async def test_a_body_that_does_not_arrive_is_the_clients_affair(tmp_path, monkeypatch):
    monkeypatch.setattr(linger, "SECONDS", 0.1)
    publish(tmp_path)
    async with running(tmp_path, options=BRIEF) as service:
        answer = await service.ask("POST", "/v1/predict", jpeg(frame(0)), whole=False, content_type="image/jpeg")
        assert answer.status == 408 and "did not arrive within 2 s" in answer.body["error"]
        assert await measured(service, "sightline_gate_within") == 0


@in_loop
async def test_the_gate_counts_who_is_cancelled_until_the_work_has_ended():
    gate, go = Gate(2, 1), asyncio.Event()

    async def work(place):
        await go.wait()
        place.check()

    tasks = [asyncio.create_task(gate.through(work)) for _ in range(2)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in results)
    assert (gate.within, gate.waiting) == (2, 1)
    try:
        await gate.through(work)
    except Refusal as refusal:
        assert (refusal.status, refusal.reason) == (429, "busy")
    else:
        raise AssertionError("it was let in")
    go.set()
    while gate.within:
        await asyncio.sleep(0)


@in_loop
async def test_abandoned_work_that_fails_is_logged_and_gives_its_place_back(caplog):
    gate, go = Gate(1, 1), asyncio.Event()

    async def work(place):
        await go.wait()
        raise RuntimeError("out of memory")

    task = asyncio.create_task(gate.through(work))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    go.set()
    while gate.within:
        await asyncio.sleep(0)
    assert "nobody waited for" in caplog.text and "out of memory" in caplog.text
