"""HTTP(S): listings, and files fetched with retries, where they broke off (RFC 9110, sections 13 and 14)."""

import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from components.core.errors import SightlineError, TransientError
from components.ingest.sources.copies import Copy, Refused, State, append
from components.ingest.sources.listing import Entry

TRIES = 5
BACKOFF_S = 0.5  # doubled with each try
PATIENCE_S = 60  # with a server that says when to come again
TIMEOUT_S = (10, 60)  # to connect, between two bytes
BLOCK = 64 << 10  # of a line that breaks, less than this is lost
LISTING_BYTES = 64 << 20
REDIRECTS = 5
AGAIN = "see whether the server is there and run again: what was fetched is kept"

_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_WHOLE = re.compile(r"bytes \*/(\d+)")


@dataclass(frozen=True)
class Page:
    """A listing as it came: `url` after redirects, its media type, its text."""

    url: str
    kind: str
    text: str


class _Session(requests.Session):
    """Redirects may lead to http or https only, and never from https to http."""

    def rebuild_auth(self, prepared_request, response):
        """Called for each redirect: refuses one that gives up encryption."""
        if response.url.startswith("https:") and not prepared_request.url.startswith("https:"):
            raise requests.exceptions.InvalidSchema("a redirect from https to an unencrypted address")
        super().rebuild_auth(prepared_request, response)


def new_session() -> requests.Session:
    """A session that tries again where a server is busy or cannot be reached. Proxies and ~/.netrc count."""
    session = _Session()
    session.max_redirects = REDIRECTS
    # Of the bytes as they are: a packed answer has other ranges.
    session.headers.update({"Accept-Encoding": "identity", "User-Agent": "sightline"})
    busy = (408, 429, 500, 502, 503, 504)
    retry = Retry(TRIES - 1, status_forcelist=busy, backoff_factor=BACKOFF_S, retry_after_max=PATIENCE_S)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retry, pool_maxsize=16))
    return session


def get_page(session: requests.Session, url: str) -> Page:
    """A listing. Raises SightlineError where it cannot be had or is no text."""
    try:
        with session.get(url, stream=True, timeout=TIMEOUT_S) as reply:
            if reply.status_code != 200:
                raise SightlineError(f"{url}: {status_of(reply)}", "correct the address, or see to the access rights")
            content = b""
            for block in reply.iter_content(BLOCK):
                content += block
                if len(content) > LISTING_BYTES:
                    raise SightlineError(f"{url}: a listing of over {LISTING_BYTES >> 20} MB", "name a folder below it")
            kind = reply.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Page(reply.url, kind, content.decode("utf-8"))
    except UnicodeDecodeError:
        raise SightlineError(f"{url}: not a listing: no UTF-8 text", "name a manifest, a folder or a file") from None
    except requests.RequestException as error:
        raise TransientError(f"{url}: cannot be fetched: {cause_of(error)}", AGAIN) from None


def fetch(session: requests.Session, entry: Entry, copy: Copy, tell: Callable[[int], None]) -> None:
    """Makes `copy` the file at the entry's address; a copy that the server says is current stays.

    `tell(bytes)` is called as they come. Raises Refused where the server has no such file or it is not as listed,
    TransientError where TRIES tries in a row brought nothing more; what came is kept for the next run.
    """
    failed, anew = 0, False
    while True:
        size = copy.begun()[0]
        try:
            return _attempt(session, entry, copy, tell)
        except Refused:
            # The part that was gone on with may have been of another version, where no tag told.
            if not size or anew:
                raise
            anew = True
            copy.drop()
        except (requests.exceptions.InvalidSchema, requests.exceptions.TooManyRedirects) as error:
            raise Refused(f"a redirect that is not followed ({error})") from None
        except requests.RequestException as error:
            more = copy.begun()[0] > size
            broke_off = isinstance(error, (requests.exceptions.ChunkedEncodingError, requests.exceptions.Timeout))
            failed = 1 if more else failed + 1
            if failed == TRIES or not (more or broke_off):
                raise TransientError(f"{entry.address}: cannot be fetched: {cause_of(error)}", AGAIN) from None
            time.sleep(BACKOFF_S * 2 ** (failed - 1) * random.uniform(0.5, 1))


def _attempt(session: requests.Session, entry: Entry, copy: Copy, tell: Callable[[int], None]) -> None:
    size, begun = copy.begun()
    headers = _asking(entry, copy, size, begun)
    with session.get(entry.address, headers=headers, stream=True, timeout=TIMEOUT_S) as reply:
        if reply.status_code == 304:
            return
        if reply.status_code == 416 and (whole := _WHOLE.fullmatch(reply.headers.get("Content-Range", ""))):
            if int(whole[1]) == size:
                return copy.finish(entry, begun)
        if reply.status_code == 416:
            copy.drop()
            raise requests.exceptions.ChunkedEncodingError("the server knows no such part")
        if reply.status_code not in (200, 206):
            raise Refused(status_of(reply))
        part = _RANGE.fullmatch(reply.headers.get("Content-Range", ""))
        if reply.status_code == 206 and not (part and int(part[1]) == size):
            copy.drop()
            raise requests.exceptions.ChunkedEncodingError("the server sent another part than it was asked for")
        if reply.status_code == 200:
            size, begun = 0, State(etag=reply.headers.get("ETag"), modified=reply.headers.get("Last-Modified"))
            copy.begin(begun)
        announced = reply.headers.get("Content-Length", "")
        limit = size + int(announced) if announced.isdigit() else None
        limit = entry.bytes if limit is None or entry.bytes is not None and entry.bytes < limit else limit
        for block in reply.iter_content(BLOCK):
            append(copy, block, limit)
            tell(len(block))
    copy.finish(entry, begun)


def _asking(entry: Entry, copy: Copy, size: int, begun: State) -> dict[str, str]:
    """Headers: for the rest of a part whose version can be told, else for the file if it is newer than the copy."""
    # A weak tag says that two versions mean the same, not that their bytes are the same.
    strong = begun.etag if begun.etag and not begun.etag.startswith("W/") else begun.modified
    if size and (strong or entry.sha256):
        return {"Range": f"bytes={size}-"} | ({"If-Range": strong} if strong else {})
    known = copy.state()
    if known is None or (entry.bytes is not None and entry.bytes != known.bytes):
        return {}
    if entry.sha256:  # the manifest's word counts: a copy that had it would not be asked for
        return {}
    if known.etag:
        return {"If-None-Match": known.etag}
    return {"If-Modified-Since": known.modified} if known.modified else {}


def status_of(reply: requests.Response) -> str:
    """What the server answers, in words."""
    return f"the server answers {reply.status_code} {reply.reason}".rstrip()


def cause_of(error: BaseException) -> str:
    """The innermost reason in words, without the library's nesting."""
    while (inner := getattr(error, "reason", None) or error.__cause__ or error.__context__) and inner is not error:
        if not isinstance(inner, BaseException):
            break
        error = inner
    return re.sub(r"<[^>]*>:? ?", "", str(error)) or type(error).__name__
