"""How much of requests' bodies may be held in memory at a time."""

from components.serving.deadline import CLIPS
from components.serving.pictures import Refusal

MOST_BYTES = 256 << 20  # of all requests together: of so many that each is within its own limit


class Intake:
    """ASGI middleware: what is sent while too much is held already is refused (429) as soon as it comes.

    Bodies are read before a request takes its place in the gate: a thousand clients that each send nearly all of a
    picture, and wait, would else fill the memory. Clips are not held; they are written to the disk.
    """

    def __init__(self, app, most: int = MOST_BYTES):
        self.app, self.most, self.held = app, most, 0

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or CLIPS.fullmatch(scope["path"]):
            await self.app(scope, receive, send)
            return
        mine = 0

        async def counted():
            nonlocal mine
            message = await receive()
            size = len(message.get("body") or b"")
            mine += size
            self.held += size
            if size and self.held > self.most:
                raise Refusal(429, "too much is being sent at once", "ask again in a second", "busy")
            return message

        try:
            await self.app(scope, counted, send)
        finally:
            self.held -= mine
