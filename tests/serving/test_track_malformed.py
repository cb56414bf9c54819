"""Ten thousand requests that are wrong in some way: each is refused with a remedy, and the service goes on tracking."""

import base64
import json
import random
from collections.abc import Callable

import pytest

from components.serving.payload import parse
from components.serving.pictures import Limits, Refusal
from tests.serving.asgi import running
from tests.serving.test_service import bomb, gif
from tests.serving.test_track import ids, in_loop
from tests.serving.tracking import base64_of, frame, jpeg, payload, publish

COUNT = 10_000
JPEG, GIF, BOMB = jpeg(frame(0)), gif(), bomb()
SMALL = {"frame_id": 0, "frame_data": base64_of(frame(0))}
OTHERS = [
    None,
    True,
    False,
    -1,
    0.5,
    1e400,
    2**53,
    10**30,
    "",
    "7",
    "é",
    "\ud800",
    [],
    [[]],
    {},
    {"a": 1},
    [None],
    ["AAAA"],
]


def damaged(chance: random.Random) -> bytes:
    """A JPEG that no decoder takes: its head is gone, or it is cut off."""
    content = bytearray(JPEG)
    if chance.random() < 0.5:
        content[: chance.randrange(2, 20)] = chance.randbytes(chance.randrange(2, 20))
        content[0] = 0
    else:
        del content[chance.randrange(1, len(content) // 2) :]
    return bytes(content)


def picture(content: bytes) -> str:
    return base64.b64encode(content).decode()


def wrong_field(chance: random.Random) -> dict:
    name = chance.choice(["frame_id", "frame_data", "frame_w", "frame_h", "batch_size", "session", "frames"])
    fitting = {"frame_w": [None], "frame_h": [None], "batch_size": [None], "session": [None, "7"]}
    return SMALL | {name: chance.choice([one for one in OTHERS if one not in fitting.get(name, [])])}


def deep(chance: random.Random) -> bytes:
    depth = chance.randrange(2, 5000)
    return chance.choice([b"[" * depth, b"[" * depth + b"]" * depth, b'{"frames":' * depth + b"1" + b"}" * depth])


def cut(chance: random.Random) -> bytes:
    body = json.dumps(SMALL).encode()
    return body[: chance.randrange(1, len(body))]


def huge_number(chance: random.Random) -> bytes:
    return b'{"frame_id": ' + b"9" * chance.randrange(20, 6000) + b', "frame_data": "AAAA"}'


def as_json(make: Callable[[random.Random], object]) -> Callable[[random.Random], bytes]:
    return lambda chance: json.dumps(make(chance)).encode()


WRONG: list[Callable[[random.Random], bytes]] = [
    lambda chance: chance.randbytes(chance.randrange(0, 200)),
    lambda chance: bytes(chance.choices(b'{}[]",:0123456789.eE+-ntfalsu\\ ', k=chance.randrange(1, 80))),
    cut, deep, huge_number,
    as_json(lambda chance: chance.choice(OTHERS)),
    as_json(wrong_field),
    as_json(lambda chance: dict(chance.sample(list(SMALL.items()), chance.randrange(len(SMALL))))),
    as_json(lambda chance: SMALL | {chance.choice(["frame", "\ud800", "x" * 9000, "", "FRAME_ID"]): 1}),
    as_json(lambda chance: SMALL | {"frame_data": picture(damaged(chance))}),
    as_json(lambda chance: SMALL | {"frame_data": picture(chance.randbytes(chance.randrange(1, 400)))}),
    as_json(lambda chance: SMALL | {"frame_data": "".join(chance.choices("AZaz09+/=é \n", k=chance.randrange(1, 99)))}),
    as_json(lambda chance: SMALL | {"frame_w": chance.randrange(1, 160)}),
    as_json(lambda chance: {"frames": [SMALL, SMALL | chance.choice([{"frame_id": 0}, {"session": "a"}])]}),
    as_json(lambda chance: {"frames": [SMALL, chance.choice(OTHERS)]}),
    as_json(lambda chance: {"frames": [SMALL] * chance.randrange(33, 60)}),
    as_json(lambda chance: SMALL | {"frame_data": [SMALL["frame_data"]] * 2, "batch_size": chance.choice([1, 3, 32])}),
    as_json(lambda chance: SMALL | {"frame_data": chance.choice(["AAAA", 7, None]), "session": f"s{chance.random()}"}),
    as_json(lambda chance: SMALL | {"frame_data": picture(chance.choice([BOMB, GIF]))}),
]  # fmt: skip


@in_loop
async def test_ten_thousand_malformed_requests_leave_the_service_healthy(tmp_path):
    publish(tmp_path)
    chance = random.Random(20)
    async with running(tmp_path) as service:
        assert ids(await service.tracks(payload(0, session="before"))) == [1, 2]
        seen = dict.fromkeys(range(len(WRONG)), 0)
        for number in range(COUNT):
            kind = number % len(WRONG)
            body = WRONG[kind](chance)
            answer = await service.ask("POST", "/v1/track", body)
            assert 400 <= answer.status < 500, (kind, answer, body[:300])
            assert answer.body["error"] and answer.body["remedy"], (kind, answer)
            assert len(json.dumps(answer.body)) < 1000, "what is wrong is not sent back"
            seen[kind] += 1
        assert min(seen.values()) > 500
        for _ in range(300):  # of headers, methods and paths
            header = {"x_sightline_session": chance.randbytes(5).decode("latin-1").replace("\n", " ")}
            kind = chance.choice(["", "text/plain", "application/json; charset=utf-8", "\xff"])
            body = json.dumps(SMALL | {"frame_data": "AAAA"}).encode()
            answer = await service.ask("POST", "/v1/track", body, content_type=kind, **header)
            assert answer.status in (400, 415)
            path = f"/v1/track/{chance.randbytes(3).hex()}" + chance.choice(["", "/", "%", "\xff"])
            assert (await service.ask(chance.choice(["DELETE", "GET", "PUT"]), path)).status in (400, 404, 405, 307)
        assert (await service.ask("GET", "/readyz")).body["status"] == "ready"
        assert ids(await service.tracks(payload(1, session="before"))) == [1, 2], "what was followed before goes on"
        for at in range(5):
            assert ids(await service.tracks(payload(at))) == [1, 2]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff", "is not JSON"),
        (b"[]", "the payload is not a JSON object"),
        (b'{"frame_id": NaN}', "NaN is no number"),
        (b'{"frame_id": 1}', "frame_data is missing"),
        (b'{"frame_data": "AAAA"}', "frame_id is missing"),
        (b'{"frame_id": 1, "frame_data": "A"}', "frame_data is not base64"),
        (b'{"frame_id": 1, "frame_data": []}', "a list of no pictures"),
        (b'{"frame_id": 1, "frame_data": "AAAA", "frame_w": 0}', "frame_w is not a whole number from 1 on"),
        (b'{"frame_id": 1, "frame_data": "AAAA", "batch_size": 2}', "batch_size is not 1"),
        (b'{"frame_id": 1, "frame_data": "AAAA", "frames": []}', "has a field 'frame_id'"),
        (b'{"frames": {}}', "frames is not a list"),
        (b'{"frames": [1]}', "the frame is not a JSON object"),
        (b'{"frames": [{"frame_id": 1, "frame_data": "AAAA", "batch_size": 1}]}', "the frame has a field 'batch_size'"),
        (b'{"frames": [{"frame_id": 1, "frame_data": "AAAA"}, {}]}', "frame 2 of 2: frame_id is missing"),
    ],
)
def test_what_is_wrong_is_named(body, says):
    with pytest.raises(Refusal) as refused:
        parse(body, Limits())
    assert says in refused.value.error and refused.value.remedy and refused.value.status == 400


def test_a_list_is_counted_before_anything_is_made_of_it():
    """Three bytes each would become far more."""
    with pytest.raises(Refusal, match="more than 32 frames"):
        parse(b'{"frame_id": 0, "frame_data": [' + b'"",' * 1_000_000 + b'""]}', Limits())
