"""How a service is run, beyond what it serves: said at the command line or by the environment."""

import argparse
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import SightlineError

TOKENS = "SIGHTLINE_TOKENS_FILE"  # the environment's word for --token-file
TIMEOUT_S = 30.0
MOST_RATE = 1_000_000.0
SHARE, MEGABYTES = 0.1, 1000  # of what is captured
EXPLAIN, EXPLAIN_S, MOST_EXPLAIN = 300, 60.0, 10_000  # samples of an explanation, and how long one may take
BATCH, BATCH_WAIT_MS, MOST_BATCH = 4, 10.0, 256  # pictures of a pass, and how long one may wait for others
ORIGIN = re.compile(r"\*|https?://[A-Za-z0-9.-]+(:\d{1,5})?|https?://\[[0-9a-fA-F:]+\](:\d{1,5})?")


@dataclass(frozen=True)
class Capturing:
    """A sample of what is asked and answered is written to `folder`: this `share` of requests, with their `pictures` or
    without, of at most so many `megabytes` altogether."""

    folder: Path
    share: float = SHARE
    pictures: bool = False
    megabytes: int = MEGABYTES


@dataclass(frozen=True)
class Options:
    """`log`: text, or json with a line a request; `tokens`: the file of those who may ask, None: everybody may;
    `rate`: requests a second and client, None: any number; `timeout_s`: for one request; `cors`: origins whose pages
    may ask, `*` for all; `capture`: what is kept of requests, None: nothing; `batch`: pictures of unrelated requests in
    a pass of the network at most, and `batch_wait_s`, that a decoded one may wait for others; `explain`: samples of an
    explanation at most, 0: there are none, and `explain_s`, that one may take."""

    log: str = "text"
    tokens: Path | None = None
    rate: float | None = None
    timeout_s: float = TIMEOUT_S
    cors: tuple[str, ...] = ()
    capture: Capturing | None = None
    batch: int = BATCH
    batch_wait_s: float = BATCH_WAIT_MS / 1000
    explain: int = EXPLAIN
    explain_s: float = EXPLAIN_S


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `options_of` to a command line."""
    parser.add_argument("--log", choices=("text", "json"), default="text", help="json: a line a request (default text)")
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"who may ask: a token a line, re-read when it changes (default ${TOKENS})"
    )
    parser.add_argument("--rate", type=float, metavar="N", help="requests a second and client (default: any number)")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT_S, metavar="S", help="seconds for one request (default %(default)g)"
    )
    parser.add_argument(
        "--cors", action="append", default=[], metavar="ORIGIN", help="a page's origin that may ask; may be repeated"
    )
    parser.add_argument(
        "--batch", type=int, default=BATCH, metavar="N", help="pictures in a pass at most (default %(default)d)"
    )
    parser.add_argument(
        "--batch-wait", type=float, default=BATCH_WAIT_MS, metavar="MS",
        help="milliseconds that a decoded picture may wait for others (default %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--explain", type=int, default=EXPLAIN, metavar="N",
        help="samples of an explanation at most; 0: none are given (default %(default)d)",
    )  # fmt: skip
    parser.add_argument(
        "--explain-timeout", type=float, default=EXPLAIN_S, metavar="S",
        help="seconds for an explanation (default %(default)g)",
    )  # fmt: skip
    parser.add_argument("--capture", metavar="DIR", help="where a sample of requests and answers is kept")
    parser.add_argument("--capture-share", type=float, metavar="P", help=f"of requests, from 0 to 1 (default {SHARE})")
    parser.add_argument("--capture-pictures", action="store_true", help="keep the pictures too, scaled to 640 pixels")
    parser.add_argument(
        "--capture-mb", type=int, metavar="N", help=f"megabytes of it; the oldest make room (default {MEGABYTES})"
    )


def options_of(arguments: argparse.Namespace) -> Options:
    """The options of a parsed command line and, where it does not say, the environment's token file.

    Raises SightlineError for a rate or timeout that is no number above 0, for a batch, an explanation or an origin that
    cannot be, and for a share or size of what is captured that cannot be, or that says nothing because no folder is
    named.
    """
    if arguments.rate is not None and not 0 < arguments.rate <= MOST_RATE:
        raise SightlineError(f"--rate {arguments.rate:g} is not a number above 0", "for example: --rate 10")
    if not (arguments.timeout > 0 and math.isfinite(arguments.timeout)):
        raise SightlineError(f"--timeout {arguments.timeout:g} is not a number above 0", "for example: --timeout 30")
    if not 1 <= arguments.batch <= MOST_BATCH:
        raise SightlineError(
            f"--batch {arguments.batch} is not a number from 1 to {MOST_BATCH}", "for example: --batch 8"
        )
    if not 0 <= arguments.batch_wait <= 1000:
        raise SightlineError(
            f"--batch-wait {arguments.batch_wait:g} is not a number from 0 to 1000", "for example: --batch-wait 10"
        )
    if arguments.explain and not 10 <= arguments.explain <= MOST_EXPLAIN:
        raise SightlineError(
            f"--explain {arguments.explain} is neither 0 nor a number from 10 to {MOST_EXPLAIN}",
            f"for example: --explain {EXPLAIN}",
        )
    if not (arguments.explain_timeout > 0 and math.isfinite(arguments.explain_timeout)):
        raise SightlineError(
            f"--explain-timeout {arguments.explain_timeout:g} is not a number above 0",
            "for example: --explain-timeout 60",
        )
    for origin in arguments.cors:
        if not ORIGIN.fullmatch(origin):
            raise SightlineError(f"--cors {origin} is no origin", "for example: --cors https://example.com, or *")
    if arguments.token_file == "":  # a variable that is not set: everybody might ask, and nobody would know
        raise SightlineError("--token-file names no file", "name one, or leave the option out")
    file = arguments.token_file or os.environ.get(TOKENS)
    tokens = Path(file) if file else None
    cors, capture = tuple(arguments.cors), _capturing(arguments)
    return Options(
        arguments.log, tokens, arguments.rate, arguments.timeout, cors, capture, arguments.batch,
        arguments.batch_wait / 1000, arguments.explain, arguments.explain_timeout,
    )  # fmt: skip


def _capturing(arguments: argparse.Namespace) -> Capturing | None:
    share, megabytes = arguments.capture_share, arguments.capture_mb
    if not arguments.capture:
        said = {"--capture-share": share, "--capture-pictures": arguments.capture_pictures, "--capture-mb": megabytes}
        for name, value in said.items():
            if value is not None and value is not False:
                raise SightlineError(f"{name}: nothing is captured", "name the folder: --capture DIR")
        return None
    share, megabytes = SHARE if share is None else share, MEGABYTES if megabytes is None else megabytes
    if not 0 < share <= 1:
        raise SightlineError(f"--capture-share {share:g} is no share of requests", "for example: --capture-share 0.1")
    if megabytes < 1:
        raise SightlineError(f"--capture-mb {megabytes} is not a number above 0", "for example: --capture-mb 1000")
    return Capturing(Path(arguments.capture), share, arguments.capture_pictures, megabytes)
