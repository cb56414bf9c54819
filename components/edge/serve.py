"""The receiver as a process: listens, says where, ends in order."""

import logging
from pathlib import Path

import uvicorn

from components.core import listening
from components.core.heads import Impatient
from components.edge.device.uplink import TOKEN
from components.edge.receiver import create_app
from components.edge.tokens import Tokens

GRACE_S = 10

log = logging.getLogger("sightline.edge")


def serve(store: Path, host: str, port: int, tokens: Tokens, releases: Path | None) -> None:
    """Serves until SIGTERM or SIGINT. Raises SightlineError where the port is taken, or the store cannot be opened."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    app, listener = create_app(store, tokens, releases), listening.listen(host, port)
    if not tokens.asked_for and host not in ("127.0.0.1", "::1", "localhost"):
        log.warning("no token is set: whoever reaches %s may send; set %s, or take --tokens", host, TOKEN)
    config = uvicorn.Config(
        app, log_level="warning", http=Impatient, timeout_graceful_shutdown=GRACE_S, server_header=False
    )
    log.info("listening on %s", listening.address(host, listener))
    listening.serve(uvicorn.Server(config), listener)
