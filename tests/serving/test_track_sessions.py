"""How many sessions there are, which one makes room, and when one is over."""

import asyncio
import time

import numpy as np
import pytest

from components.serving.payload import Ready
from components.serving.pictures import Refusal
from components.serving.sessions import Session, Sessions
from tests.serving.asgi import running
from tests.serving.test_track import ids, in_loop
from tests.serving.tracking import payload, publish


class Clock:
    """Seconds that pass when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock) -> Sessions:
    return Sessions(most=3, idle_s=100, spared_s=10, clock=clock)


async def used(sessions: Sessions, name: str) -> int:
    """Has a frame followed; returns how many the session had before."""
    async with sessions.held(name) as session:
        session.last = session.frames
        session.frames += 1
        return session.last


@in_loop
async def test_a_session_without_a_frame_for_too_long_is_over(sessions, clock):
    assert [await used(sessions, "a") for _ in range(3)] == [0, 1, 2]
    clock.now += 100
    assert await used(sessions, "a") == 3
    clock.now += 100.1
    assert await sessions.end("a") is None and len(sessions) == 0
    assert await used(sessions, "a") == 0


@in_loop
async def test_the_longest_unused_one_makes_room_unless_it_was_used_just_now(sessions, clock):
    for name in "abc":
        await used(sessions, name)
        clock.now += 4
    await used(sessions, "a")  # unused for 0, 8 and 4 seconds
    with pytest.raises(Refusal, match="3 sessions are being followed") as refused:
        await used(sessions, "d")
    assert refused.value.status == 503 and len(sessions) == 3
    clock.now += 4
    assert await used(sessions, "d") == 0 and len(sessions) == 3
    assert [await used(sessions, name) for name in "ac"] == [2, 1], "b made room"


@in_loop
async def test_one_that_is_being_followed_is_neither_over_nor_makes_room(sessions, clock):
    async with sessions.held("a"):
        for name in "bc":
            await used(sessions, name)
        clock.now += 1000
        for name in "de":
            await used(sessions, name)
        assert len(sessions) == 3
        with pytest.raises(Refusal):
            await used(sessions, "f")
    assert len(sessions) == 2, "it never had a frame"


@in_loop
async def test_a_session_is_one_after_the_other_in_the_order_asked(sessions):
    order = []

    async def take(number: int) -> None:
        async with sessions.held("a") as session:
            order.append(number)
            await asyncio.sleep(0.01)
            session.last = 0
            order.append(number)

    await asyncio.gather(*(take(number) for number in range(4)))
    assert order == [0, 0, 1, 1, 2, 2, 3, 3]


@in_loop
async def test_ended_while_others_wait_it_begins_anew_for_them(sessions):
    await used(sessions, "a")
    async with sessions.held("a"):
        ends = asyncio.create_task(sessions.end("a"))
        await asyncio.sleep(0)
        after = asyncio.create_task(used(sessions, "a"))
        await asyncio.sleep(0)
    assert await ends == 1 and await after == 0 and len(sessions) == 1


def test_pictures_without_a_number_are_the_next_ones():
    session = Session("a")
    blank = Ready(None, b"", (4, 4), np.zeros((4, 4, 3), np.uint8))
    assert [number for number, _ in session.numbered([blank, blank])] == [0, 1]
    session.last = 41
    assert [number for number, _ in session.numbered([blank])] == [42]


@in_loop
async def test_what_is_refused_begins_no_session(tmp_path, monkeypatch):
    """So that nobody's session makes room for a stranger's nonsense."""
    publish(tmp_path)
    # However long the machine takes for 64 requests, no session counts as unused meanwhile.
    monkeypatch.setattr(Sessions.__init__, "__defaults__", (64, 300.0, 600.0, time.monotonic))
    async with running(tmp_path) as service:
        for number in range(200):
            name = f"nonsense-{number}"
            assert (await service.track({"frame_id": 0, "frame_data": "AAAA", "session": name})).status == 400
            assert (await service.end(name)).status == 404
        for number in range(64):
            assert (await service.track(payload(0, session=f"s{number}"))).status == 200
        full = await service.track(payload(0, session="one-more"))
        assert full.status == 503 and full.headers["retry-after"] == "1" and "DELETE" in full.body["remedy"]
        assert ids((await service.track(payload(1, session="s0"))).body["tracks"]) == [1, 2], "all go on"
        assert (await service.end("s1")).status == 200
        assert (await service.track(payload(0, session="one-more"))).status == 200
