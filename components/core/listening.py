"""What every server of the project does first and last: takes its port, and ends in order."""

import resource
import signal
import socket
from typing import Protocol

from components.core.errors import SightlineError

BACKLOG = 2048
FILES = 1 << 16


class Server(Protocol):
    """What serves, such as a `uvicorn.Server`."""

    def run(self, sockets: list[socket.socket]) -> None:
        """Serves until SIGTERM or SIGINT."""


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there; port 0: any that is free. Raises SightlineError where it cannot."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        raise SightlineError(f"cannot listen on {host}:{port}: {error}", "choose another --host or --port") from None
    # Asyncio sees to this only for sockets that name their protocol, which this one does not: what is sent in two
    # writes, such as an answer's head and body, waited 40 ms for the client's acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # of every connection too
    return listener


def address(host: str, listener: socket.socket) -> str:
    """Where a client finds what listens on `host`."""
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"


def serve(server: Server, listener: socket.socket) -> None:
    """Serves until SIGTERM or SIGINT, and returns."""
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # each connection is one
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, min(most, FILES)), most))
    # Uvicorn ends what is under way and then raises the signal anew for whoever called it: here, an orderly end.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
