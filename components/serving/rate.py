"""How many requests one client may make."""

import json
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from components.serving.exchange import client_of
from components.serving.pictures import Refusal
from components.serving.refusing import reason_of, refuse
from components.serving.tokens import OPEN, SCOPE

BURST_S = 2.0  # of the rate that may be made at once, after as long a silence
MOST = 10_000  # clients that are remembered; the one unheard of for longest makes room


class Buckets:
    """Of each client a bucket that fills at `rate` a second, up to `burst`; a request takes one out. Bounded."""

    def __init__(self, rate: float, burst: float, most: int = MOST, clock: Callable[[], float] = time.monotonic):
        self._rate, self._burst, self._most, self._clock = rate, burst, most, clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # what was left, and when

    def __len__(self) -> int:
        return len(self._left)

    def take(self, client: Hashable) -> float:
        """0 where the client may make a request, which is counted then; else the seconds until it may."""
        now = self._clock()
        left, since = self._left.pop(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._rate)
        wait = 0.0 if left >= 1 else (1 - left) / self._rate
        self._left[client] = (left if wait else left - 1, now)
        if len(self._left) > self._most:
            self._left.popitem(last=False)
        return wait


class Rate:
    """ASGI middleware: a client that asks too often is refused (429), before a body is read.

    A client is a token or, where none is asked for, an address. A message of a WebSocket counts as a request, and is
    answered here if it is one too many; `refused` hears of those.
    """

    def __init__(self, app, rate: float, refused: Callable[[str], None]):
        self.app, self.rate, self.refused = app, rate, refused
        self.buckets = Buckets(rate, max(1.0, rate * BURST_S))

    async def __call__(self, scope, receive, send):
        if scope["type"] not in ("http", "websocket") or scope["path"] in OPEN:
            await self.app(scope, receive, send)
            return
        client = scope.get(SCOPE) or client_of(scope)
        if refusal := self._refusal(client):
            await refuse(scope, receive, send, refusal)
            return

        async def metered():
            message = await receive()
            while message["type"] == "websocket.receive" and (refusal := self._refusal(client)):
                said = {"error": refusal.error, "remedy": refusal.remedy, "status": refusal.status}
                self.refused(reason_of(refusal))
                await send({"type": "websocket.send", "text": json.dumps(said)})
                message = await receive()
            return message

        await self.app(scope, metered if scope["type"] == "websocket" else receive, send)

    def _refusal(self, client: Hashable) -> Refusal | None:
        wait = self.buckets.take(client)
        if not wait:
            return None
        seconds = math.ceil(wait)
        return Refusal(429, f"more than {self.rate:g} requests a second", f"ask again in {seconds} s", "rate", seconds)
