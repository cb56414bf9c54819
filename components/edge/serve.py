"""The receiver as a process: listens, says where, ends in order."""

import logging
import signal
import socket
from pathlib import Path

import uvicorn

from components.core.errors import SightlineError
from components.edge.receiver import create_app

GRACE_S = 10

log = logging.getLogger("sightline.edge")


def serve(store: Path, host: str, port: int, token: str, releases: Path | None) -> None:
    """Serves until SIGTERM or SIGINT. Raises SightlineError where the port is taken, or the store cannot be opened."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app, listener = create_app(store, token, releases), _listen(host, port)
    if not token and host not in ("127.0.0.1", "::1", "localhost"):
        log.warning("no token is set: whoever reaches %s may send; set SIGHTLINE_EDGE_TOKEN", host)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE_S, server_header=False)
    log.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, listener.getsockname()[1])
    # Uvicorn ends what is under way and then raises the signal anew for whoever called it: here, an orderly end.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise SightlineError(f"cannot listen on {host}:{port}: {error}", "choose another --host or --port") from None
