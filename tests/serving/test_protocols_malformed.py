"""Thousands of requests to /invocations and /v2 that are wrong in some way: none of them is a defect of the service."""

import base64
import json
import random

import numpy as np

from tests.serving.asgi import running
from tests.serving.test_service import bomb, gif
from tests.serving.test_track import in_loop
from tests.serving.test_track_malformed import OTHERS, damaged, deep
from tests.serving.tracking import RECIPE, base64_of, frame, jpeg, publish

COUNT = 1_500
INFER = f"/v2/models/{RECIPE}/infer"
LENGTH = "inference_header_content_length"
RGB = np.stack([frame(0, scale=1), frame(5, scale=1)])
JSON_PIXELS = {"name": "pictures", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [1, 2, 3, 4, 5, 6]}
PIXELS = {
    "name": "pictures", "datatype": "UINT8", "shape": list(RGB.shape), "parameters": {"binary_data_size": RGB.size}
}  # fmt: skip
FILES = {"name": "encoded", "datatype": "BYTES", "shape": [1], "data": [base64_of(frame(0))]}
FORMS = [
    {"inputs": [base64_of(frame(0))]}, {"instances": [{"picture": base64_of(frame(0))}]},
    {"dataframe_split": {"columns": ["x"], "data": [[base64_of(frame(0))]]}}, {"inputs": [[[[1, 2, 3]]]]},
]  # fmt: skip


def changed(value: object, chance: random.Random) -> object:
    """The value with one thing in it, at any depth, replaced by something else or left out."""
    if isinstance(value, (dict, list)) and value and chance.random() < 0.8:
        copy = value.copy()
        key = chance.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        if chance.random() < 0.15:
            del copy[key]
        else:
            copy[key] = changed(copy[key], chance)
        return copy
    return chance.choice(OTHERS)


def invocation(chance: random.Random) -> tuple[str, bytes, dict]:
    body = chance.choice(FORMS) | chance.choice([{}, {"params": {"min_score": 0.5}}])
    return "/invocations", json.dumps(changed(body, chance)).encode(), {}


def inference(chance: random.Random) -> tuple[str, bytes, dict]:
    one, tail = chance.choice([(JSON_PIXELS, b""), (FILES, b""), (PIXELS, RGB.tobytes())])
    body = {"id": "7", "inputs": [one], "outputs": [{"name": "boxes", "parameters": {"binary_data": True}}]}
    head = json.dumps(changed(body, chance)).encode()
    return INFER, head + tail, {LENGTH: str(len(head))} if tail else {}


def damage(chance: random.Random) -> tuple[str, bytes, dict]:
    """A request in binary, some of whose bytes, or its length, are others."""
    content = chance.choice([jpeg(frame(0)), damaged(chance), bomb(), gif()])
    tail = len(content).to_bytes(4, "little") + content
    one = {"name": "encoded", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(tail)}}
    head = json.dumps({"inputs": [one]}).encode()
    body = bytearray(head + tail)
    for _ in range(chance.randrange(1, 4)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    length = chance.choice([str(len(head))] * 3 + ["", "-1", "x", "0", str(len(body)), "9" * 30])
    return INFER, bytes(body[: chance.choice([len(body), chance.randrange(len(body))])]), {LENGTH: length}


def nonsense(chance: random.Random) -> tuple[str, bytes, dict]:
    content = chance.choice([chance.randbytes(chance.randrange(200)), deep(chance), base64.b64encode(bomb())])
    kind = chance.choice(["application/json", "application/octet-stream", "image/png", "application/x-image", "x"])
    return chance.choice(["/invocations", INFER, f"/endpoints/{RECIPE}/invocations"]), content, {"content_type": kind}


@in_loop
async def test_none_is_a_defect_and_the_service_stays_healthy(tmp_path):
    publish(tmp_path)
    chance, seen = random.Random(21), {}
    async with running(tmp_path) as service:
        for number in range(COUNT):
            path, body, headers = chance.choice([invocation, inference, damage, nonsense])(chance)
            answer = await service.ask("POST", path, body, **headers)
            seen[answer.status] = seen.get(answer.status, 0) + 1
            assert answer.status in (200, 400, 413, 415), (number, path, headers, body[:200], answer.body)
            if answer.status != 200:
                assert answer.body["error"] and answer.body["remedy"]
        assert seen[400] > COUNT / 2 and {413, 415} <= set(seen)
        good = await service.ask("POST", INFER, json.dumps({"inputs": [FILES], "id": "8"}).encode())
        assert good.status == 200 and good.body["id"] == "8"
