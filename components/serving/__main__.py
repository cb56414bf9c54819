"""Serves the champion of one recipe or of several over HTTP, and follows each when it changes."""

import argparse
import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from components.core import listening, paths
from components.core.errors import SightlineError, UsageError
from components.core.heads import Impatient
from components.serving import logs
from components.serving.app import LIMITS, create_app
from components.serving.options import Options, add_options, options_of

GRACE_S = 10  # for requests under way when the process is asked to end
MESSAGE = 2 * LIMITS.body_bytes  # of a WebSocket, which is closed beyond; over the limit itself it is only refused
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
EXAMPLE = "example: python -m components.serving --recipe suspicious --port 8080"

log = logging.getLogger("sightline.serving")


def main(argv: list[str] | None = None) -> int:
    """Serves until SIGTERM or SIGINT; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m components.serving", description=__doc__, epilog=EXAMPLE)
    parser.add_argument(
        "--recipe",
        required=True,
        nargs="+",
        metavar="NAME",
        help="whose champion is served; of several below /v1/NAME",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default 8080; 0: any that is free)")
    add_options(parser)
    arguments = parser.parse_args(argv)
    own = logs.configure(arguments.log)
    try:
        return _serve(arguments.recipe, arguments.host, arguments.port, options_of(arguments), own)
    except SightlineError as error:
        log.error("serving@%s: %s", ",".join(arguments.recipe), error)
        return error.exit_code


def _serve(recipes: list[str], host: str, port: int, options: Options, own_logs: dict | None) -> int:
    folders = folders_of(recipes)
    for folder in folders:
        if not folder.is_dir():
            there = ", ".join(sorted(other.name for other in folder.parent.glob("*") if other.is_dir())) or "nothing"
            log.warning("%s: nothing was deployed yet (there is: %s); waiting", folder, there)
    listener = listening.listen(host, port)
    config = uvicorn.Config(
        create_app(folders, options=options), log_config=own_logs, log_level="warning", access_log=False,
        http=Impatient, timeout_graceful_shutdown=GRACE_S, server_header=False, ws_max_size=MESSAGE,
        ws_per_message_deflate=False,
    )  # fmt: skip
    log.info("listening on %s", listening.address(host, listener))
    listening.serve(uvicorn.Server(config), listener)
    log.info("ended")
    return 0


def folders_of(recipes: Sequence[str]) -> list[Path]:
    """The folders of these recipes' published bundles. Raises UsageError where one is named twice, or is no name."""
    for name, count in Counter(recipes).items():
        if not NAME.fullmatch(name):  # it becomes a part of paths, of files and of requests
            raise UsageError(f"{name!r} is no recipe's name", "letters, digits, dots, dashes and underscores")
        if count > 1:
            raise UsageError(f"{name} is named twice", "name each recipe once")
    return [paths.state("deployed", recipe) for recipe in recipes]


if __name__ == "__main__":
    sys.exit(main())
