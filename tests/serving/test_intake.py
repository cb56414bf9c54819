"""Bodies that are being held: bounded over all requests, and given back."""

import asyncio

import pytest

from components.serving.intake import Intake
from components.serving.pictures import Refusal
from tests.serving.test_track import in_loop


def request(path: str = "/v1/predict") -> dict:
    return {"type": "http", "method": "POST", "path": path}


@in_loop
async def test_what_is_held_is_bounded_and_given_back():
    go_on, seen = asyncio.Event(), []

    async def app(scope, receive, send):
        seen.append(len((await receive())["body"]))
        await go_on.wait()

    def sends(size: int):
        async def receive() -> dict:
            return {"type": "http.request", "body": bytes(size), "more_body": True}

        return receive

    intake = Intake(app, most=100)
    waiting = [asyncio.create_task(intake(request(), sends(40), None)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal) as refused:
        await intake(request(), sends(40), None)
    assert refused.value.status == 429 and intake.held == 80, "what was refused is given back at once"
    clip = asyncio.create_task(intake(request("/v1/clips"), sends(1000), None))
    await asyncio.sleep(0)
    assert intake.held == 80 and seen == [40, 40, 1000]
    go_on.set()
    await asyncio.gather(*waiting, clip)
    assert intake.held == 0
    await intake(request(), sends(100), None)
