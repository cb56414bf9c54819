"""Answers that do not wait for the end of the request's body, and still arrive."""

import asyncio
from contextlib import suppress

SECONDS = 10.0  # for what is still on its way


class Lingering:
    """ASGI middleware: an answer that closes the connection goes out at once, then the rest of the body is read off.

    A connection closed on bytes that nobody has read is reset, and the reset may overtake the answer. At most `most`
    bytes are read, for at most SECONDS: a client that sends on after that has the answer since long.
    """

    def __init__(self, app, most: int):
        self.app, self.most = app, most

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        ended = closes = False

        async def watched():
            nonlocal ended
            message = await receive()
            ended = ended or not message.get("more_body")
            return message

        async def last_word(message):
            nonlocal closes
            if message["type"] == "http.response.start":
                closes = (b"connection", b"close") in message["headers"]
            elif closes and not ended and not message.get("more_body"):
                await send(message | {"more_body": True})
                with suppress(TimeoutError):
                    await asyncio.wait_for(read_off(), SECONDS)
                message = {"type": "http.response.body", "body": b"", "more_body": False}
            await send(message)

        async def read_off():
            left = self.most
            while not ended and left > 0:
                left -= len((await watched()).get("body", b""))

        await self.app(scope, watched, last_word)
