"""Which requests are captured: a sample of what the service was asked and answered, for monitoring."""

import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from components.serving.backlog import Asked, Backlog, Kept
from components.serving.exchange import KEY, UNMATCHED, Exchange
from components.serving.metrics import Metrics
from components.serving.options import Capturing
from components.serving.tokens import SCOPE

SEED = b"sightline.capture"  # of the draw: the same request is in or out in every process


class Capture:
    """Draws requests and has a thread write their pictures; nothing where `wanted` is None."""

    def __init__(self, wanted: Capturing | None, metrics: Metrics):
        self._wanted, self._recorder = wanted, None
        if wanted:
            from components.serving.recorder import Recorder  # and pyarrow with it, which a service may do without
            from components.serving.shards import Shards

            self._backlog = Backlog(metrics.capture_dropped)
            self._recorder = Recorder(
                self._backlog, Shards(wanted.folder, wanted.megabytes * 1_000_000), metrics, wanted.pictures
            )

    def start(self) -> None:
        """Begins to write."""
        if self._recorder:
            self._recorder.start()

    def stop(self) -> None:
        """Has what waits written, and ends. Takes no longer than the recorder's grace, whatever the disk does."""
        if self._recorder:
            self._recorder.stop()

    def drawn(self, scope: Mapping[str, Any], part: str = "") -> Kept | None:
        """What notes the answers to a request of this ASGI scope; None where it was not drawn.

        `part`: names a message of a stream, each of which is drawn by itself.
        """
        if not self._wanted:
            return None
        exchange: Exchange = scope[KEY]
        if not drawn(f"{exchange.request_id}{part}", self._wanted.share):
            return None
        token = scope.get(SCOPE)
        client = token.hex() if token else exchange.client
        route = getattr(scope.get("route"), "path", UNMATCHED)
        return Kept(Asked(time.time_ns() // 1000, exchange.request_id, route, client), self._backlog)


def drawn(request: str, share: float) -> bool:
    """Whether the request of this id is among `share` of all. The same for the same id, always and everywhere."""
    number = int.from_bytes(blake2b(request.encode(), digest_size=8, key=SEED).digest(), "big")
    return number < share * 2**64
