"""Following over a WebSocket: a message is a frame, its answer the tracks."""

import asyncio
import json
import logging
import secrets
from itertools import count

from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from components.serving.backlog import Kept
from components.serving.deadline import too_late
from components.serving.following import Following
from components.serving.metrics import Metrics
from components.serving.payload import check_length, check_name
from components.serving.pictures import Refusal
from components.serving.refusing import reason_of
from components.serving.sessions import IDLE_S

MOST = 64  # connections at a time
POLICY, LATER, QUIET = 1008, 1013, 1001  # why a connection is closed, as RFC 6455 numbers it

log = logging.getLogger("sightline.serving")


def add_stream(app: FastAPI, base: str, following: Following, metrics: Metrics, timeout_s: float) -> None:
    """Adds the WebSocket /track/stream?session=NAME below `base`.

    A message is answered within `timeout_s` seconds, or refused. Without a name the session is the connection's own and
    ends with it. One without a message for IDLE_S is closed.
    """
    open_now = 0

    @app.websocket(f"{base}/track/stream")
    async def stream(socket: WebSocket) -> None:
        nonlocal open_now
        await socket.accept()
        named, own = socket.query_params.get("session"), f"stream-{secrets.token_hex(8)}"
        open_now += 1
        try:
            if open_now > MOST:
                full = Refusal(503, f"{MOST} streams are open", "come back later", "no_room")
                metrics.refused(reason_of(full))
                await _close(socket, LATER, full)
            elif named is not None and (refusal := _refused(named)):
                metrics.refused(reason_of(refusal))
                await _close(socket, POLICY, refusal)
            else:
                await _talk(socket, following, metrics, timeout_s, named or own)
        except WebSocketDisconnect:
            pass  # the client went away
        finally:
            open_now -= 1
            await following.sessions.end(own)


def _refused(name: str) -> Refusal | None:
    try:
        check_name(name)
    except Refusal as refusal:
        return refusal
    return None


async def _talk(socket: WebSocket, following: Following, metrics: Metrics, timeout_s: float, session: str) -> None:
    """Answers message by message until the client closes, or says nothing for too long."""
    for number in count():
        try:
            message = await asyncio.wait_for(socket.receive(), IDLE_S)
        except TimeoutError:
            await _close(socket, QUIET, Refusal(408, f"no frame for {IDLE_S:.0f} s", "connect again"))
            return
        if message["type"] == "websocket.disconnect":
            return
        kept = following.drawn(socket.scope, f"#{number}")
        await socket.send_text(json.dumps(await _answered(following, metrics, timeout_s, message, session, kept)))


async def _answered(
    following: Following, metrics: Metrics, timeout_s: float, message: dict, session: str, kept: Kept | None
) -> dict:
    """The answer to a message; what is wrong with it is an answer too, and changes nothing."""
    try:
        async with asyncio.timeout(timeout_s):
            return await _followed(following, message, session, kept)
    except Refusal as refusal:
        wrong = refusal
    except TimeoutError:
        wrong = too_late(timeout_s)
    except Exception:
        log.exception("a message of session %s could not be answered", session)
        wrong = Refusal(500, "the service failed on this message", "see the service's log")
    metrics.refused(reason_of(wrong))
    return _error(wrong)


async def _followed(following: Following, message: dict, session: str, kept: Kept | None) -> dict:
    """What a message's frames show. Raises Refusal."""
    picture = message.get("bytes")
    content = message.get("text") if picture is None else picture
    check_length(content, following.limits)
    if not content:
        raise Refusal(400, "the message is empty", "send a picture, or the JSON of POST /v1/track")
    if picture is not None:
        _, answer = await following.picture(picture, session, kept)
    else:
        _, answer = await following.payload(content, otherwise=session, kept=kept)
    return answer


def _error(refusal: Refusal) -> dict:
    return {"error": refusal.error, "remedy": refusal.remedy, "status": refusal.status}


async def _close(socket: WebSocket, code: int, refusal: Refusal) -> None:
    """Says why, and closes."""
    await socket.send_text(json.dumps(_error(refusal)))
    await socket.close(code)
