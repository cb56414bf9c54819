"""Unrelated requests in one pass: who shares it, who does not, and that nobody pays for another."""

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from components.serving.gate import Abandoned, Place
from components.serving.microbatch import MicroBatcher
from components.serving.options import Options
from components.serving.pictures import Refusal
from tests.serving.asgi import running
from tests.serving.test_track import in_loop
from tests.serving.tracking import frame, jpeg, publish

POISON = 13


class Model:
    """Finds in each picture its first pixel. Waits before a pass until `go` is set; fails on POISON."""

    def __init__(self, held: bool = False):
        self.passes: list[list[int]] = []
        self.began, self.go = threading.Event(), threading.Event()
        if not held:
            self.go.set()

    def look(self, pictures: list[np.ndarray]) -> np.ndarray:
        self.began.set()
        assert self.go.wait(60)
        values = [int(picture.flat[0]) for picture in pictures]
        self.passes.append(values)
        if POISON in values:
            raise RuntimeError("secret detail")
        return np.array(values)

    part = staticmethod(lambda looked, rows: looked[rows])


def work(*values: int) -> Generator:
    """Work that returns what was found in pictures of these values."""
    found = yield [np.full((2, 2, 3), value, np.uint8) for value in values]
    return found.tolist()


def refused() -> Generator:
    raise Refusal(400, "not a picture", "send one")
    yield


def ask(batcher: MicroBatcher, model: Model, *values: int, place: Place | None = None) -> asyncio.Future:
    return batcher.ask(model, lambda: work(*values), place or Place(), len(values))


async def queued(batcher: MicroBatcher, model: Model, busy: int, *others) -> list:
    """What becomes of `others`, begun while `busy` threads are held in passes of the model."""
    first = []
    for number in range(busy):
        first.append(ask(batcher, model, 100 + number))
        await asyncio.to_thread(model.began.wait, 60)
        model.began.clear()
    rest = [one() for one in others]
    model.go.set()
    assert await asyncio.gather(*first) == [[100 + number] for number in range(busy)]
    return await asyncio.gather(*rest, return_exceptions=True)


@in_loop
async def test_who_is_alone_waits_for_nobody():
    with ThreadPoolExecutor(2) as pool:
        model, loop = Model(), asyncio.get_running_loop()
        batcher, began = MicroBatcher(pool, 2, most=8, wait_s=30), loop.time()
        for value in range(5):
            assert await ask(batcher, model, value) == [value]
        assert loop.time() - began < 20 and model.passes == [[0], [1], [2], [3], [4]]


@pytest.mark.parametrize(("count", "passes"), [(3, [[0, 1, 2]]), (10, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]])])
@in_loop
async def test_the_longer_the_queue_the_more_share_a_pass_up_to_the_limit(count, passes):
    with ThreadPoolExecutor(1) as pool:
        model = Model(held=True)
        batcher = MicroBatcher(pool, 1, most=4, wait_s=30)
        asked = [lambda value=value: ask(batcher, model, value) for value in range(count)]
        assert await queued(batcher, model, 1, *asked) == [[value] for value in range(count)]
        assert model.passes == [[100], *passes], "in the order in which they came"


@in_loop
async def test_two_threads_share_what_waits():
    with ThreadPoolExecutor(2) as pool:
        model = Model(held=True)
        batcher = MicroBatcher(pool, 2, most=8, wait_s=30)
        asked = [lambda value=value: ask(batcher, model, value) for value in range(8)]
        assert await queued(batcher, model, 2, *asked) == [[value] for value in range(8)]
        assert max(map(len, model.passes)) <= 4, "one thread does not take it all"


@in_loop
async def test_the_pictures_of_a_request_stay_together():
    with ThreadPoolExecutor(1) as pool:
        model = Model(held=True)
        batcher = MicroBatcher(pool, 1, most=4, wait_s=30)
        sets = [(1,), (2, 3), (4, 5), (6, 7, 8, 9, 10, 11), (12,)]
        asked = [lambda values=values: ask(batcher, model, *values) for values in sets]
        assert await queued(batcher, model, 1, *asked) == [list(values) for values in sets]
        assert model.passes == [[100], [1, 2, 3], [4, 5], [6, 7, 8, 9, 10, 11], [12]]


@in_loop
async def test_what_is_wrong_with_one_request_is_its_own():
    with ThreadPoolExecutor(1) as pool:
        model = Model(held=True)
        batcher = MicroBatcher(pool, 1, most=8, wait_s=30)
        gone = Place()
        gone.wanted = False
        asked = [
            lambda: ask(batcher, model, 1),
            lambda: batcher.ask(model, refused, Place(), 1),
            lambda: ask(batcher, model, POISON),
            lambda: ask(batcher, model, 7, place=gone),
            lambda: ask(batcher, model, 2, 3),
        ]
        one, bad, poisoned, left, two = await queued(batcher, model, 1, *asked)
        assert (one, two) == ([1], [2, 3])
        assert isinstance(bad, Refusal) and isinstance(poisoned, RuntimeError) and isinstance(left, Abandoned)
        assert model.passes == [[100], [1, POISON, 2, 3], [1], [POISON], [2, 3]], "each was tried alone"


@in_loop
async def test_a_pass_is_of_one_model():
    with ThreadPoolExecutor(1) as pool:
        old, new = Model(held=True), Model()
        batcher = MicroBatcher(pool, 1, most=8, wait_s=30)
        asked = [lambda v=v, m=m: ask(batcher, m, v) for v, m in [(1, old), (2, old), (3, new), (4, new), (5, old)]]
        assert await queued(batcher, old, 1, *asked) == [[1], [2], [3], [4], [5]]
        assert old.passes == [[100], [1, 2], [5]] and new.passes == [[3, 4]]


@in_loop
async def test_nothing_is_decoded_for_a_pass_that_would_come_too_late():
    with ThreadPoolExecutor(1) as pool:
        model, slow = Model(held=True), threading.Event()
        batcher = MicroBatcher(pool, 1, most=8, wait_s=0.02)

        def decoding(value: int) -> Generator:
            slow.wait(0.05)  # never set
            return (yield from work(value))

        asked = [lambda value=value: batcher.ask(model, lambda: decoding(value), Place(), 1) for value in range(4)]
        assert await queued(batcher, model, 1, *asked) == [[0], [1], [2], [3]]
        assert model.passes == [[100], [0], [1], [2], [3]]


@in_loop
async def test_nobody_waits_for_the_many_pictures_of_another():
    with ThreadPoolExecutor(1) as pool:
        model, answered, early = Model(held=True), threading.Event(), []
        batcher = MicroBatcher(pool, 1, most=8, wait_s=1)

        def decoded(*values: int) -> Generator:
            threading.Event().wait(0.01)  # a hundredth of a second for one picture, a moment more than that for many
            if len(values) > 1:
                early.append(answered.wait(60))
            return (yield from work(*values))

        def one() -> asyncio.Future:
            future = batcher.ask(model, lambda: decoded(1), Place(), 1)
            future.add_done_callback(lambda _: answered.set())
            return future

        many = range(2, 7)
        rest = [one, lambda: batcher.ask(model, lambda: decoded(*many), Place(), 1_000_000)]
        assert await queued(batcher, model, 1, *rest) == [[1], [*many]] and early == [True]
        assert model.passes == [[100], [1], [*many]]


@in_loop
async def test_requests_of_the_service_share_passes_and_are_answered_as_alone(tmp_path, monkeypatch):
    from components.serving.tracker import ServedTracker

    publish(tmp_path)
    contents = [jpeg(frame(at, (0, 1, 2, 3)[: at % 4])) for at in range(24)]
    passes, find, hold = [], ServedTracker.find, threading.Event()

    def counted(self, pictures):
        assert hold.wait(60)
        passes.append(len(pictures))
        return find(self, pictures)

    hold.set()
    async with running(tmp_path) as service:

        async def predicted(content: bytes) -> tuple[int, object]:
            answer = await service.ask("POST", "/v1/predict", content, content_type="image/jpeg")
            return answer.status, answer.body.get("results", answer.body.get("error"))

        alone = [await predicted(content) for content in contents]
        monkeypatch.setattr(ServedTracker, "find", counted)
        hold.clear()
        sent = [asyncio.create_task(predicted(content)) for content in [*contents[:12], b"none", *contents[12:]]]
        while service.app.state.gate.within < len(sent):
            await asyncio.sleep(0.01)
        hold.set()
        together = await asyncio.gather(*sent)
    assert together.pop(12) == (400, "not a picture") and together == alone
    assert sum(passes) == 24 and len(passes) < 20 and max(passes) <= Options().batch


@pytest.mark.parametrize(
    "words", [("--batch", "0"), ("--batch", "257"), ("--batch-wait", "-1"), ("--batch-wait", "nan")]
)
def test_a_batch_that_cannot_be_is_refused(words):
    from components.core.errors import SightlineError
    from tests.serving.test_options import parsed

    with pytest.raises(SightlineError) as refusal:
        parsed(*words)
    assert words[0] in refusal.value.problem and "for example" in refusal.value.remedy
    given = parsed("--batch", "1", "--batch-wait", "0")
    assert (given.batch, given.batch_wait_s) == (1, 0.0)
