"""Serves the champion of a recipe over HTTP, and follows it when it changes."""

import argparse
import logging
import sys

import uvicorn

from components.core import listening, paths
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
    listener = listening.listen(host, port)
    config = uvicorn.Config(
        create_app(deployed, options=options), log_config=own_logs, log_level="warning", access_log=False,
        timeout_graceful_shutdown=GRACE_S, server_header=False, ws_max_size=MESSAGE, ws_per_message_deflate=False,
    )  # fmt: skip
    log.info("listening on %s", listening.address(host, listener))
    listening.serve(uvicorn.Server(config), listener)
    log.info("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main())
