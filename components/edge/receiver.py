"""The receiving side of store and forward, over HTTP: each record once, by device and number.

    POST /v1/records            as components/edge/device/uplink.py says -> {"acknowledged": [first, last], "new": n}
    GET  /v1/fleet              what is known of the devices
    GET  /v1/releases/NAME      release.json and the archives that devices update themselves with
    GET  /healthz               the process is alive

Errors are {error, remedy}: 400 no batch, 401 no token, 403 another's token, 404 no such file, 409 two devices with one
id, 413 too much.
"""

import json
import re
from contextlib import asynccontextmanager
from pathlib import Path
from unicodedata import category

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from components.edge.device.uplink import ABOUT, KEY, TOKEN
from components.edge.ledger import TOLD, Conflict, Ledger, fleet
from components.edge.tokens import EVERY, Tokens, may_send

LARGEST = 16 << 20  # bytes of a batch
TOKENS = "give each device its own, see `sightline edge receive --tokens`"
HOW = "send what `python -m edge run` sends"
_KEY = re.compile(r"([A-Za-z0-9_.-]{1,100})/([0-9]{1,18})-([0-9]{1,18})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Refused(Exception):
    """A request that is not served: HTTP status, what is wrong, what to do."""

    def __init__(self, status: int, error: str, remedy: str = HOW):
        super().__init__(error)
        self.status, self.error, self.remedy = status, error, remedy


def create_app(store: Path, tokens: Tokens, releases: Path | None = None) -> Starlette:
    """The application. `tokens`: what devices must send, if any; `releases`: the folder that updates come from."""
    ledger = Ledger(store)

    @asynccontextmanager
    async def life(_: Starlette):
        yield
        ledger.close()

    async def take(request: Request) -> Response:
        holder = _holder(request, tokens)
        device, first, last = _key(request)
        if not may_send(holder, device):
            raise Refused(403, f"this token is {holder}'s, not {device}'s", TOKENS)
        about, body = _about(request, device), await _body(request)
        batch = _records(body, first, last)
        try:
            new = await run_in_threadpool(ledger.take, device, about, batch)
        except Conflict as conflict:
            raise Refused(409, str(conflict), "give each device a --state folder of its own, not a copy") from None
        return JSONResponse({"acknowledged": [first, last], "new": new})

    async def told(request: Request) -> Response:
        if (holder := _holder(request, tokens)) != EVERY:
            raise Refused(403, f"this token is {holder}'s, not the fleet's", TOKENS)
        return JSONResponse(await run_in_threadpool(fleet, store))

    async def release(request: Request) -> Response:  # what is signed needs no token
        name = request.path_params["name"]
        file = releases / name if releases and _NAME.fullmatch(name) else None
        if file is None or not file.is_file():
            raise Refused(404, f"no release {name}", "sightline edge release puts them there; see --releases")
        return FileResponse(file)

    async def alive(_: Request) -> Response:
        return JSONResponse({"alive": True})

    routes = [
        Route("/v1/records", take, methods=["POST"]),
        Route("/v1/fleet", told),
        Route("/v1/releases/{name}", release),
        Route("/healthz", alive),
    ]
    return Starlette(routes=routes, lifespan=life, exception_handlers={Refused: _refused})


async def _refused(_: Request, refused: Refused) -> Response:
    return JSONResponse({"error": refused.error, "remedy": refused.remedy}, refused.status)


def _holder(request: Request, tokens: Tokens) -> str:
    holder = tokens.holder(request.headers.get("authorization", "").encode())
    if holder is None:
        raise Refused(401, "the token is missing or wrong", f"set {TOKEN} or [uplink] token_file")
    return holder


def _key(request: Request) -> tuple[str, int, int]:
    match = _KEY.fullmatch(request.headers.get(KEY, ""))
    if match is None:
        raise Refused(400, f"the header {KEY} is not DEVICE/FIRST-LAST")
    return match[1], int(match[2]), int(match[3])


def _about(request: Request, device: str) -> dict:
    """What the device says of itself; of each of `TOLD` a word, a number or nothing."""
    try:
        about = json.loads(request.headers.get(ABOUT, "{}"))
        told = {name: about.get(name) for name in TOLD}
        right = about.get("device", device) == device and all(map(_is_plain, told.values()))
    except (ValueError, AttributeError, RecursionError):
        right = False
    if not right:
        raise Refused(400, f"the header {ABOUT} is not the device's")
    return told


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return abs(value) < 1 << 63
    return value is None or (type(value) is str and not any(category(one) in ("Cc", "Cs") for one in value))


async def _body(request: Request) -> bytes:
    """Reads no further than the limit, whatever the request says of its length."""
    parts, read = [], 0
    async for part in request.stream():
        read += len(part)
        if read > LARGEST:
            raise Refused(413, f"the batch is larger than {LARGEST} bytes", "send fewer records in one request")
        parts.append(part)
    return b"".join(parts)


def _records(body: bytes, first: int, last: int) -> list[tuple[int, str]]:
    """(sequence, the record as JSON in one form) of every line. They must be those the key names, without a gap."""
    found = []
    try:
        for line in body.splitlines():
            given = json.loads(line)
            if type(given["sequence"]) is not int or not isinstance(given["record"], dict):
                raise ValueError("a line is no record")
            found.append((given["sequence"], json.dumps(given["record"], sort_keys=True)))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(400, f"line {len(found) + 1} is no record: {error}") from None
    wanted = [] if (first, last) == (0, 0) else [*range(first, first + len(found))]
    if [sequence for sequence, _ in found] != wanted or (found and found[-1][0] != last) or (first and not found):
        raise Refused(400, f"the records are not those from {first} to {last}")
    return found
