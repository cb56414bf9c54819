"""Polite requests to strangers' servers: host by host, with retries, redirects followed by hand, no endless answers."""

import os
import random
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from components.ingest.search.turns import PATIENCE_S, NotNow, turn
from components.ingest.sources.copies import Refused
from components.ingest.sources.web import cause_of, status_of

AGENT = "sightline"
CONTACT = "SIGHTLINE_CONTACT"  # an address that a server's keeper can write to: Wikimedia asks for one
BACKOFF_S = 0.5  # doubled with each try
REDIRECTS = 5
BLOCK = 64 << 10
CONNECT_S = 10.0
LONGEST = 4  # times the time-out: a body that takes longer is given up
LEFT_ALONE_S = 300.0  # a host that could not be reached in all tries
BUSY = frozenset((408, 425, 429, *range(500, 600)))


class TooLarge(Refused):
    """More bytes than are allowed."""


class _Failed(Exception):
    """A try that failed, but the next may not: after `after` seconds at least; `unreachable`: there is no server."""

    def __init__(self, reason: str, after: float = 0.0, unreachable: bool = False):
        super().__init__(reason)
        self.after, self.unreachable = after, unreachable


@dataclass(frozen=True)
class Manners:
    """How servers are treated: requests a second to a host, seconds of silence borne, tries after the first."""

    rate: float
    timeout_s: float
    retries: int


@dataclass(frozen=True)
class Reply:
    """What was sent: its address after redirects, its media type as the server calls it, its bytes."""

    url: str
    kind: str
    content: bytes


def get(url: str, most: int, manners: Manners, allow: Callable[[str], None] = lambda url: None) -> Reply:
    """What lies at an http(s) address, at most `most` bytes. `allow(url)` is called before every address is asked.

    Tried again, later each time, where the server is busy, breaks off or is silent. Raises Refused where another try
    cannot help (TooLarge for the size), NotNow where all tries failed, and what `allow` raises.
    """
    for tried in range(manners.retries + 1):
        try:
            return _followed(url, most, manners, allow)
        except _Failed as failed:
            last = failed
        if last.after > PATIENCE_S:
            break
        if tried < manners.retries:
            time.sleep(BACKOFF_S * 2**tried * random.uniform(0.5, 1))
    if last.unreachable:
        with turn(url, manners.rate) as pause:
            pause(LEFT_ALONE_S)
    raise NotNow(str(last))


def agent() -> str:
    """What these requests call themselves."""
    contact = os.environ.get(CONTACT)
    about = "open-source MLOps; gathers pictures by image search"
    return f"{AGENT}/0.1 ({about}{f'; {contact}' if contact else ''})"


def _followed(url: str, most: int, manners: Manners, allow: Callable[[str], None]) -> Reply:
    for _ in range(REDIRECTS + 1):
        allow(url)
        with _answered(url, manners) as reply:
            if reply.is_redirect:
                url = _redirected(url, _session().get_redirect_target(reply))
                continue
            if reply.status_code != 200:
                raise Refused(status_of(reply))
            kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Reply(url, kind, _body(reply, most, manners.timeout_s))
    raise Refused(f"more than {REDIRECTS} redirects")


@contextmanager
def _answered(url: str, manners: Manners):
    """The reply with its head read. The host's turn ends with that: nobody else asks it while it thinks."""
    waits = (min(CONNECT_S, manners.timeout_s), manners.timeout_s)
    with turn(url, manners.rate) as pause:
        try:
            reply = _session().get(url, stream=True, timeout=waits, allow_redirects=False)
        except requests.exceptions.SSLError as error:
            raise Refused(f"its certificate is not accepted ({cause_of(error)})") from None
        except (requests.exceptions.Timeout, requests.exceptions.ConnectionError) as error:
            raise _Failed(cause_of(error), unreachable=_is_unreachable(error)) from None
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            raise Refused(f"cannot be asked for ({cause_of(error)})") from None
        if reply.status_code in BUSY:
            after = _retry_after(reply.headers.get("Retry-After", ""))
            if after:
                pause(after)
            reply.close()
            raise _Failed(status_of(reply), after)
    with reply:
        yield reply


class _Session(requests.Session):
    """Looks at no redirect by itself: it would read all of the body first, however long that is."""

    def resolve_redirects(self, *arguments, **options):
        """Nothing: `_followed` goes on from here."""
        return iter(())


@cache
def _session() -> requests.Session:
    """This process's connections. Proxies and ~/.netrc count; cookies are not kept."""
    session = _Session()
    session.headers.update({"User-Agent": agent(), "Accept-Encoding": "identity"})
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return session


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads. Raises Refused where that is no http(s) address, or gives up encryption."""
    try:
        target = urljoin(url, location)
        parts = urlsplit(target)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise Refused("a redirect to what is no http(s) address")
    if url.startswith("https:") and parts.scheme != "https":
        raise Refused("a redirect from https to an unencrypted address")
    return target


def _body(reply: requests.Response, most: int, timeout_s: float) -> bytes:
    announced = reply.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > most:
        raise TooLarge(f"{int(announced) / 1e6:.1f} MB are more than {most / 1e6:g} MB")
    parts, size, deadline = [], 0, time.monotonic() + LONGEST * timeout_s
    try:
        # What has come, not a whole block: a server that drips must not hold a worker.
        while part := reply.raw.read1(BLOCK, decode_content=True):
            parts.append(part)
            size += len(part)
            if size > most:
                raise TooLarge(f"more than {most / 1e6:g} MB are sent")
            if time.monotonic() > deadline:
                raise _Failed(f"not all of it came within {LONGEST * timeout_s:g} s")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _Failed(f"broke off after {size} bytes ({cause_of(error)})") from None
    return b"".join(parts)


def _retry_after(value: str) -> float:
    """Seconds that a Retry-After asks for, as a number or a date (RFC 9110, section 10.2.3); 0 where it is neither."""
    if value.strip().isdigit():
        return float(value.strip()[:9])
    try:
        date = parsedate_to_datetime(value)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max((date - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _is_unreachable(error: BaseException | None) -> bool:
    """Whether no connection was made: then it is the host that fails, and not one of its files."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.ConnectTimeoutError))
