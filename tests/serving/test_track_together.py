"""Many sessions at once: one pass of the network over what they have waiting, and the same answers as alone."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from components.serving.batcher import MOST, Batcher
from components.serving.detector import Found
from components.serving.load import load_model
from tests.serving.asgi import running
from tests.serving.test_track import in_loop
from tests.serving.tracking import frame, payload, publish

CAMERAS = {
    f"camera-{number}": objects for number, objects in enumerate([(0, 1), (1, 2, 3), (2,), (0, 1, 2, 3), (3, 0)])
}


@pytest.fixture
def passes(monkeypatch) -> list[int]:
    """How many pictures each pass of the network had."""
    from components.serving.tracker import ServedTracker

    counts, find = [], ServedTracker.find

    def counted(self, pictures: list[np.ndarray]) -> Found:
        counts.append(len(pictures))
        return find(self, pictures)

    monkeypatch.setattr(ServedTracker, "find", counted)
    return counts


async def followed(service, camera: str, frames: range, prefix: str = "") -> list[list[dict]]:
    """The tracks of a camera's frames, asked for one after the other; cameras see their own times."""
    shift = 7 * int(camera[-1])
    answers = []
    for at in frames:
        shown = payload(at + shift, CAMERAS[camera], scale=2 + int(camera[-1]) % 2)
        answers.append(await service.tracks(shown | {"session": prefix + camera, "frame_id": at}))
    return answers


@in_loop
async def test_identities_are_the_same_alone_and_in_company(tmp_path, passes, monkeypatch):
    publish(tmp_path)
    monkeypatch.setattr(Batcher.__init__, "__defaults__", (MOST, 0.2))  # patience for a busy machine's decoding too
    frames = range(25)
    async with running(tmp_path) as service:
        alone = {camera: await followed(service, camera, frames, "alone-") for camera in CAMERAS}
        assert set(passes) == {1}
        del passes[:]
        together = await asyncio.gather(*(followed(service, camera, frames) for camera in CAMERAS))
    assert dict(zip(CAMERAS, together, strict=True)) == alone, "to the last bit"
    assert sum(passes) == len(CAMERAS) * len(frames) and max(passes) > 1
    assert len(passes) < 0.7 * sum(passes), "most pictures shared a pass"


@in_loop
async def test_a_burst_of_sessions_fits_few_passes(tmp_path, passes):
    publish(tmp_path)
    async with running(tmp_path) as service:
        del passes[:]
        await asyncio.gather(*(service.tracks(payload(0, session=f"s{number}")) for number in range(32)))
    assert sum(passes) == 32 and max(passes) <= 8 and len(passes) <= 12


@in_loop
async def test_two_requests_of_one_session_do_not_mix(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        answers = await asyncio.gather(*(service.track(payload(at)) for at in range(20)))
        done = [answer.body["frame_id"] for answer in answers if answer.status == 200]
        assert done == sorted(done) and done and {answer.status for answer in answers} <= {200, 409}
        assert (await service.end("default")).body["frames"] == len(done)


@in_loop
async def test_a_pass_that_fails_fails_those_in_it_and_no_other(tmp_path, monkeypatch):
    publish(tmp_path)
    async with running(tmp_path) as service:
        model = service.app.state.champion.model
        find = model.find

        def broken(pictures: list[np.ndarray]) -> Found:
            raise RuntimeError("secret detail")

        model.find = broken
        failed = await asyncio.gather(
            *(service.track(payload(0, session=f"s{n}")) for n in range(5)), return_exceptions=True
        )
        assert all(isinstance(one, RuntimeError) for one in failed), "the server logs it; clients are told 500"
        model.find = find
        assert len(await service.tracks(payload(0))) == 2


class Model:
    """Finds in each picture its first pixel; holds up where told to."""

    def __init__(self, hold: Callable[[], None] = lambda: None):
        self.hold, self.passes = hold, []

    def find(self, pictures: list[np.ndarray]) -> Found:
        self.hold()
        self.passes.append(len(pictures))
        return Found(*[np.array([[float(picture.flat[0])] for picture in pictures])] * 4)


def pictures(*values: int) -> list[np.ndarray]:
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


@in_loop
async def test_the_batcher_hands_each_its_own_and_keeps_models_apart():
    with ThreadPoolExecutor(2) as pool:
        batcher, one, other = Batcher(pool, most=4), Model(), Model()
        asked = [(one, (1, 2)), (other, (3,)), (one, (4, 5, 6, 7, 8)), (other, (9,))]
        answers = await asyncio.gather(*(batcher.find(model, pictures(*values)) for model, values in asked))
        for (_, values), found in zip(asked, answers, strict=True):
            assert [float(part.scores[0, 0]) for part in found] == list(map(float, values))
        assert sum(one.passes) == 7 and sum(other.passes) == 2 and max(one.passes) == 4


@in_loop
async def test_the_batcher_waits_for_what_is_coming_but_not_for_ever():
    with ThreadPoolExecutor(2) as pool:
        loop, model = asyncio.get_running_loop(), Model()
        began = loop.time()
        await Batcher(pool, patience_s=30).find(model, pictures(1))
        assert loop.time() - began < 20, "who is alone does not wait"
        batcher = Batcher(pool, patience_s=2)

        async def later() -> None:
            with batcher.coming():
                await asyncio.sleep(0.05)
            await batcher.find(model, pictures(2))

        await asyncio.gather(later(), batcher.find(model, pictures(1)))
        assert model.passes == [1, 2]
        with batcher.coming():  # and never comes
            began = loop.time()
            await batcher.find(model, pictures(1))
            assert 1.9 < loop.time() - began < 20


def test_a_picture_is_found_the_same_in_every_company(tmp_path):
    """The network's own answer, bit by bit, whatever the batch."""
    model = load_model(tmp_path, publish(tmp_path), 1)
    shown = [model.prepare(frame(at, (0, 1, 2, 3))) for at in range(8)]
    whole = model.find(shown)
    for row, picture in enumerate(shown):
        for ours, other in zip(whole.of(row), model.find([picture]), strict=True):
            np.testing.assert_array_equal(ours, other)
