"""Following over HTTP: identities, boxes in the pixels of the picture, order, sessions and a change of the model."""

import asyncio
import functools
import json

import pytest

from components.core.recipe import Tracker
from components.serving.pictures import Limits
from tests.serving.asgi import running
from tests.serving.tracking import HEIGHT, TRACKER, WIDTH, base64_of, boxes, frame, jpeg, payload, publish


def in_loop(test):
    """Runs a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(asyncio.wait_for(test(*arguments, **named), 600))

    return run


def ids(tracks: list[dict]) -> list[int]:
    return [one["track_id"] for one in tracks]


@pytest.mark.parametrize("dim", [8, 0])
@in_loop
async def test_the_same_object_has_the_same_identity_and_lies_where_it_is(tmp_path, dim):
    """With embeddings and, by motion alone, without."""
    publish(tmp_path, dim=dim)
    objects = (0, 1, 2, 3)
    async with running(tmp_path) as service:
        for at in range(40):
            answer = await service.track(payload(at, objects))
            body = answer.body
            assert answer.status == 200 and (body["session"], body["frame_id"]) == ("default", at)
            assert body["begun"] == (at == 0) and body["model"]["recipe"] == "moving"
            assert answer.headers["x-sightline-model"].startswith("moving/v1@")
            assert ids(body["tracks"]) == [1, 2, 3, 4]
            for one, box in zip(body["tracks"], boxes(at, objects).values(), strict=True):
                assert set(one) == {"track_id", "class", "score", "x", "y", "w", "h"}
                assert [one[side] for side in "xywh"] == pytest.approx(box, abs=2.1), "within a pixel of the network"
            assert [one["class"] for one in body["tracks"]] == ["red", "blue", "red", "blue"]
        assert (await service.end("default")).body == {"session": "default", "frames": 40}
        again = await service.track(payload(0, objects))
        assert again.status == 200 and again.body["begun"] and ids(again.body["tracks"]) == [1, 2, 3, 4]


@in_loop
async def test_several_frames_in_one_request_are_answered_in_order(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        alone = [(await service.track(payload(at, session="a"))).body for at in range(8)]
        frames = [payload(at) for at in range(6)]
        listed = [{key: one[key] for key in ("frame_id", "frame_data", "frame_w", "frame_h")} for one in frames]
        body = (await service.track({"session": "b", "frames": listed})).body
        counted = {
            "session": "b",
            "frame_id": 6,
            "batch_size": 2,
            "frame_data": [base64_of(frame(at)) for at in (6, 7)],
        }
        more = (await service.track(counted | {"frame_w": WIDTH * 2, "frame_h": HEIGHT * 2})).body
        assert [one["frame_id"] for one in (*body["frames"], *more["frames"])] == list(range(8))
        for one, other in zip(alone, (*body["frames"], *more["frames"]), strict=True):
            assert one["tracks"] == other["tracks"]
        assert body["session"] == "b" and body["begun"] and not more["begun"]


@in_loop
async def test_frames_out_of_order_repeated_and_missing(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        answers = [(await service.track(payload(at))).body for at in (3, 4, 5)]
        # repeated: as before, however often
        for _ in range(2):
            assert (await service.track(payload(5))).body == answers[2]
        # out of order, and another picture under the same number
        for at, shown, says in ((4, 4, "frame 4 comes after frame 5"), (5, 9, "frame 5 was another picture")):
            refused = await service.track(payload(shown, frame_id=at))
            assert refused.status == 409 and says in refused.body["error"]
            assert "DELETE /v1/track/default" in refused.body["remedy"]
        assert (await service.track(payload(5))).body == answers[2], "nothing has changed"
        # missing: the time goes on, so what moves is found where it is now
        assert ids((await service.track(payload(10))).body["tracks"]) == [1, 2]
        # more than may be missed: identities are new
        assert ids((await service.track(payload(10 + int(TRACKER.lost_frames) + 2))).body["tracks"]) == []
        at = 10 + int(TRACKER.lost_frames) + 3
        assert ids((await service.track(payload(at))).body["tracks"]) == [3, 4]
        # a clock in the place of the number: as any gap
        for gap in (0, 1):
            answer = await service.track(payload(at, frame_id=1_790_000_000_000_000 + gap))
            assert answer.status == 200, answer.body


@in_loop
async def test_a_request_of_several_frames_is_repeated_and_refused_as_a_whole(tmp_path):
    publish(tmp_path)

    def of(*numbers: int, shown: int | None = None) -> dict:
        frames = [payload(number if shown is None else shown) | {"frame_id": number} for number in numbers]
        return {"frames": [{key: one[key] for key in ("frame_id", "frame_data")} for one in frames]}

    async with running(tmp_path) as service:
        first = await service.track(of(0, 1, 2))
        assert (await service.track(of(0, 1, 2))).body == first.body
        mixed = await service.track(of(1, 2, 3))
        assert mixed.body["frames"][:2] == first.body["frames"][1:]
        assert (await service.track(of(1, 2, 3))).body == mixed.body
        for wrong in (of(4, 3), of(4, 4), of(2, 5, 4), of(5, 3), of(0, 4)):
            assert (await service.track(wrong)).status == 409
        broken = of(4, 5, 6)
        broken["frames"][2]["frame_data"] = "AAAA"
        refused = await service.track(broken)
        assert refused.status == 400 and refused.body["error"] == "frame 3 of 3: not a picture"
        large = of(4, 5)
        large["frames"][1]["frame_data"] = base64_of(frame(5, scale=3))
        assert (await service.track(large)).status == 409
        after = (await service.track(of(4))).body
        assert after["frames"][0]["frame_id"] == 4 and not after["begun"]


@in_loop
async def test_sizes_are_checked_against_the_picture_and_within_a_session(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        wide, high = WIDTH * 2, HEIGHT * 2
        for size in ({"frame_w": wide + 1}, {"frame_h": high - 1}, {"frame_w": high, "frame_h": wide}):
            refused = await service.track(payload(0, **size))
            assert refused.status == 400 and f"the picture has {wide} x {high} pixels" in refused.body["error"]
        bare = {key: value for key, value in payload(0).items() if key in ("frame_id", "frame_data")}
        assert (await service.track(bare)).status == 200, "what is not said is not checked"
        refused = await service.track(payload(1, scale=3))
        assert refused.status == 409 and f"those before {wide} x {high}" in refused.body["error"]
        assert (await service.track(payload(1, scale=3, session="other"))).status == 200
        assert ids(await service.tracks(payload(1))) == [1, 2]


@in_loop
async def test_sessions_are_named_in_the_body_or_the_header(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        one = await service.track(payload(0), x_sightline_session="gate-3")
        assert one.body["session"] == "gate-3"
        assert (await service.track(payload(0, session="gate-3"), x_sightline_session="gate-3")).body == one.body
        two = await service.track(payload(1, session="gate-4"), x_sightline_session="gate-3")
        assert two.status == 400 and "two sessions are named" in two.body["error"]
        for name in ("", "a b", "a/b", "é", "x" * 65):
            assert (await service.track(payload(1, session=name))).status == 400
        assert (await service.track(payload(1), x_sightline_session="a b")).status == 400
        assert (await service.end("gate-3")).status == 200
        gone = await service.end("gate-3")
        assert gone.status == 404 and gone.body["remedy"]
        assert (await service.end("a%b")).status == 400


@in_loop
async def test_another_champion_begins_a_new_tracker_whose_numbers_count_on(tmp_path):
    """Embeddings of two models have nothing to do with one another; here they do not even have the same length."""
    publish(tmp_path, 1, dim=8)
    async with running(tmp_path) as service:
        for at in range(5):
            before = await service.track(payload(at))
        publish(tmp_path, 2, dim=16)
        await service.serves(2)
        again = await service.track(payload(4))
        assert again.body == before.body and again.headers["x-sightline-model"].startswith("moving/v1@")
        assert (await service.track(payload(3))).status == 409, "the session goes on"
        after = await service.track(payload(5))
        assert after.body["model"]["version"] == 2 and after.body["begun"]
        assert ids(after.body["tracks"]) == [3, 4]
        assert after.headers["x-sightline-model"].startswith("moving/v2@")
        more = await service.track(payload(6))
        assert ids(more.body["tracks"]) == [3, 4] and not more.body["begun"]


@in_loop
async def test_a_model_that_does_not_track_says_so_and_one_that_does_predicts_too(tmp_path):
    publish(tmp_path / "plain", tracker=None)
    async with running(tmp_path / "plain") as service:
        for refused in (await service.track(payload(0)), await service.end("default")):
            assert refused.status == 404 and refused.body["error"] == "moving's model does not track"
            assert "/v1/predict" in refused.body["remedy"]
        plain = await service.ask("POST", "/v1/predict", jpeg(frame(0)), content_type="image/jpeg")
    publish(tmp_path / "tracks")
    async with running(tmp_path / "tracks") as service:
        tracks = await service.ask("POST", "/v1/predict", jpeg(frame(0)), content_type="image/jpeg")
        assert tracks.body["results"] == plain.body["results"] and len(tracks.body["results"][0]["boxes"]) == 2
        assert (await service.track(payload(0))).status == 200


@in_loop
async def test_what_is_found_below_the_called_score_is_followed_as_the_tracker_says(tmp_path):
    """The tracker's thresholds decide, not that from which boxes are called."""
    publish(tmp_path, threshold=0.95)
    async with running(tmp_path) as service:
        assert ids(await service.tracks(payload(0))) == [1, 2]
    strict = Tracker(tuned=False, high_score=0.85, new_score=0.85, low_scores=False)
    publish(tmp_path / "strict", tracker=strict)
    async with running(tmp_path / "strict") as service:
        assert ids(await service.tracks(payload(0))) == [1], "the second is found with a score of 0.8"


@in_loop
async def test_limits_hold_before_the_work_that_they_limit(tmp_path, monkeypatch):
    publish(tmp_path)
    limits = Limits(body_bytes=60_000, pictures=2, pixels=WIDTH * HEIGHT * 4)
    async with running(tmp_path, limits=limits) as service:
        assert (await service.track(payload(0))).status == 200
        monkeypatch.setattr("components.serving.pictures.decode_picture", None)  # nothing is decoded below
        assert (await service.track(payload(1, scale=3))).status == 413
        many = {"frames": [{"frame_id": at, "frame_data": ""} for at in range(3)]}
        assert "more than 2 frames" in (await service.track(many)).body["error"]
        assert (await service.track({"frame_id": 1, "frame_data": [""] * 3})).status == 413
        assert (await service.ask("POST", "/v1/track", b" " * 60_001)).status == 413
        assert (await service.ask("POST", "/v1/track", b"", content_length="60001")).status == 413
        assert (await service.track(payload(1), content_type="text/plain")).status == 415


@in_loop
async def test_all_pictures_together_have_a_limit_of_pixels(tmp_path):
    """Small files of many pixels: a request of few bytes would hold a thread for half a minute."""
    publish(tmp_path)
    both = 2 * WIDTH * HEIGHT
    async with running(tmp_path, limits=Limits(all_pixels=both)) as service:
        for count, status in ((2, 200), (3, 413)):
            body = json.dumps({"instances": [base64_of(frame(0, scale=1))] * count}).encode()
            answer = await service.ask("POST", "/invocations", body)
            assert answer.status == status, answer.body
    assert f"more than {both} pixels together" in answer.body["error"]


@in_loop
async def test_without_a_model_it_says_when_to_come_back(tmp_path):
    from components.serving.app import create_app
    from tests.serving.asgi import Service

    answer = await Service(create_app(tmp_path)).track(payload(0))
    assert answer.status == 503 and answer.headers["retry-after"] == "1"


@in_loop
async def test_the_description_has_the_payload_and_the_stream(tmp_path):
    publish(tmp_path)
    async with running(tmp_path) as service:
        paths = (await service.ask("GET", "/openapi.json")).body["paths"]
        track = paths["/v1/track"]["post"]
        content = track["requestBody"]["content"]["application/json"]
        assert {"frame_id", "frame_data", "frame_w", "frame_h", "batch_size", "session", "frames"} <= set(
            content["schema"]["properties"]
        )
        example = dict(content["examples"]["one"]["value"])
        rgb = frame(0)
        example |= {"frame_data": base64_of(rgb), "frame_w": rgb.shape[1], "frame_h": rgb.shape[0]}
        answer = await service.track(example)
        shown = track["responses"]["200"]["content"]["application/json"]["examples"]
        assert set(shown["one"]["value"]) == set(answer.body)
        assert set(shown["one"]["value"]["tracks"][0]) == set(answer.body["tracks"][0])
        assert "/v1/track/stream" in track["description"]
        assert {"400", "404", "409", "413", "415", "503"} <= set(track["responses"])
        assert "delete" in paths["/v1/track/{session}"]
