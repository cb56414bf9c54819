"""HTTP connections that bring no whole head of a request in time are closed."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 20.0


class Impatient(H11Protocol):
    """HTTP/1.1 for `uvicorn.Config(http=...)`: closes a connection on which the head of a request is not whole HEAD_S
    seconds after it was opened, or after that head's first byte.

    By itself uvicorn waits for ever, and whoever opens connections and stays silent takes all that a process may have.
    On h11, not on httptools: that one has no bound on a head's size, and loses the body of a request that offers to go
    on in HTTP/2.
    """

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._forget()

    def _watch(self) -> None:
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering or self.transport.get_protocol() is not self:  # a WebSocket has a protocol of its own
            self._forget()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_S, self.transport.close)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
