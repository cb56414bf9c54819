"""robots.txt (RFC 9309): which addresses of a server a program may ask for. Kept for a day, as the RFC allows."""

import json
import time
from urllib.parse import urlsplit
from urllib.robotparser import RobotFileParser

from components.core import paths
from components.core.files import atomic_json
from components.ingest.search.net import AGENT, LEFT_ALONE_S, Manners, TooLarge, get
from components.ingest.search.turns import NotNow, host_name
from components.ingest.sources.copies import Refused
from components.ingest.sources.source import locked

KEPT_S = 24 * 3600.0
MOST = 4 << 20  # bytes; the RFC asks for half a megabyte


class Forbidden(Refused):
    """The server's robots.txt does not allow it."""


def check(url: str, manners: Manners) -> None:
    """Raises Forbidden where the robots.txt of the url's server does not allow it, NotNow where that cannot be had.

    A server without one (4xx) allows everything; one that fails (5xx, no connection) nothing for now.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    rules = RobotFileParser()
    rules.parse(_text(origin, manners).splitlines())
    if not rules.can_fetch(AGENT, url):
        raise Forbidden(f"{origin}/robots.txt does not allow it")


def _text(origin: str, manners: Manners) -> str:
    name = f"{urlsplit(origin).scheme}-{host_name(origin)}"
    path = paths.state("work", "gather", "robots", f"{name}.json")
    with locked(path.with_suffix(".lock")):
        kept = _kept(path)
        if kept is None:
            kept = _asked(f"{origin}/robots.txt", manners) | {"at": time.time()}
            atomic_json(path, kept)
    if "failed" in kept:
        raise NotNow(f"its robots.txt cannot be had now: {kept['failed']}")
    return kept["text"]


def _kept(path) -> dict | None:
    try:
        kept = json.loads(path.read_text())
        age = time.time() - kept["at"]
        return kept if 0 <= age < (LEFT_ALONE_S if "failed" in kept else KEPT_S) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _asked(url: str, manners: Manners) -> dict:
    try:
        return {"text": get(url, MOST, manners).content.decode("utf-8-sig", errors="replace")}
    except TooLarge as error:
        return {"failed": str(error)}
    except Refused:
        return {"text": ""}
    except NotNow as error:
        return {"failed": str(error)}
