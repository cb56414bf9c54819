"""Serves the champion of a recipe over HTTP, and follows it when it changes."""

import argparse
import logging
import signal
import socket
import sys

import uvicorn

from components.core import paths
from components.core.errors import SightlineError
from components.serving import logs
from components.serving.app import LIMITS, create_app
from components.serving.options import Options, add_options, options_of

GRACE_S = 10  # for requests under way when the process is asked to end
MESSAGE = 2 * LIMITS.body_bytes  # of a WebSocket, which is closed beyond; over the limit itself it is only refused
EXAMPLE = "example: python -m components.serving --recipe suspicious --port 8080"

log = logging.getLogger("sightline.serving")


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.serving", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="the recipe whose champion is served")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080; 0: any that is free)")
    add_options(parser)
    arguments = parser.parse_args(argv)
    own = logs.configure(arguments.log)
    try:
        return _serve(arguments.recipe, arguments.host, arguments.port, options_of(arguments), own)
    except SightlineError as error:
        log.error("serving@%s: %s", arguments.recipe, error)
        return error.exit_code


def _serve(recipe: str, host: str, port: int, options: Options, own_logs: dict | None) -> int:
    deployed = paths.state("deployed", recipe)
    if not deployed.is_dir():
        others = sorted(folder.name for folder in deployed.parent.glob("*") if folder.is_dir())
        log.warning("%s: nothing was deployed yet (there is: %s); waiting", deployed, ", ".join(others) or "nothing")
    listener = _listen(host, port)
    config = uvicorn.Config(
        create_app(deployed, options=options), log_config=own_logs, log_level="warning", access_log=False,
        timeout_graceful_shutdown=GRACE_S, server_header=False, ws_max_size=MESSAGE, ws_per_message_deflate=False,
    )  # fmt: skip
    shown = f"[{host}]" if ":" in host else host
    log.info("listening on http://%s:%d", shown, listener.getsockname()[1])
    # Uvicorn ends what is under way and then raises the signal anew for whoever called it: here, an orderly end.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    log.info("ended")
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError) as error:
        raise SightlineError(f"cannot listen on {host}:{port}: {error}", "choose another --host or --port") from None


if __name__ == "__main__":
    sys.exit(main())
