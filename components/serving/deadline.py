"""How long one request may take."""

import asyncio
import re

from components.serving.pictures import Refusal
from components.serving.refusing import refuse

CLIPS = re.compile(r"/v1(/[^/]+)?/clips")  # where clips are sent
CLIP_S = 600.0  # how long one may take to arrive
EXPLAIN = re.compile(r"/v1(/[^/]+)?/explain")  # where explanations are asked for


class Deadline:
    """ASGI middleware: a request that takes too long is answered 504, or 408 where its body is what takes so long.

    Its work is cancelled; what cannot be stopped, a thread's, keeps its place in the gate until it has ended. An
    answer that has begun is not cut short. WebSockets have a limit of their own (`stream.py`); a clip, which is large,
    has CLIP_S to arrive, and an explanation `explain_s` seconds.
    """

    def __init__(self, app, seconds: float, explain_s: float | None = None):
        self.app, self.seconds, self.explain_s = app, seconds, explain_s or seconds

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        whole = not _brings_body(scope)
        seconds = self._seconds(scope)

        async def watched():
            nonlocal whole
            message = await receive()
            whole = whole or not message.get("more_body")
            return message

        async def in_time(message):
            limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self.app(scope, watched, in_time)
        except TimeoutError:
            if not limit.expired():
                raise  # somebody else's
            await refuse(scope, receive, send, too_late(seconds) if whole else too_slow(seconds))

    def _seconds(self, scope) -> float:
        if scope["method"] == "POST" and CLIPS.fullmatch(scope["path"]):
            return max(self.seconds, CLIP_S)
        return self.explain_s if EXPLAIN.fullmatch(scope["path"]) else self.seconds


def _brings_body(scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


def too_late(seconds: float) -> Refusal:
    """The refusal of what took the service too long."""
    return Refusal(504, f"no answer within {seconds:g} s", "ask again later, send less at once, or see --timeout")


def too_slow(seconds: float) -> Refusal:
    """The refusal of a body that did not arrive."""
    return Refusal(408, f"the body did not arrive within {seconds:g} s", "send less at once, or see --timeout")
