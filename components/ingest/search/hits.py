"""What a provider's answer says, in one form whoever answers: hits, what of it cannot be used, and whether more follow.

Answers are strangers' JSON: whatever is in them, reading ends in an Answer or in a ValueError with the reason.
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

TEXT_CHARS = 500  # of an author or a title: some are whole pages
ADDRESS_CHARS = 4000
SHOWN_CHARS = 60

_BLANK = re.compile(r"[\s\x00-\x1f\x7f]+")
_CONTROL = re.compile(r"[\s\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Hit:
    """A picture that a search found: its address, that of the page that shows it, and what is told of it.

    A text that is not told is empty, `width` and `height` (pixels) are None.
    """

    url: str
    page: str = ""
    licence: str = ""
    author: str = ""
    title: str = ""
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Answer:
    """One page of hits, best first. `refused`: (place in the answer, from 0; reason); `more`: if a page follows."""

    hits: tuple[Hit, ...]
    more: bool
    refused: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Provider:
    """Who is asked. `request(query, page, per_page)`: the address of a page of answers, pages from 1.

    `read(content, page, per_page)`: the Answer in these bytes; raises ValueError with the reason where there is none.
    `web`: whether it is asked by HTTP; a folder is not.
    """

    request: Callable[[str, int, int], str]
    read: Callable[[bytes, int, int], Answer]
    web: bool = True


def answer(items: Iterable[Any], read: Callable[[Any], Hit], more: bool) -> Answer:
    """The hits that `read` makes of the items; those on which it raises ValueError are refused."""
    hits, refused = [], []
    for place, item in enumerate(items):
        try:
            hits.append(read(item))
        except ValueError as error:
            refused.append((place, str(error)))
    return Answer(tuple(hits), more, tuple(refused))


def parsed(content: bytes) -> Any:
    """The JSON value in `content`. Raises ValueError where there is none, such as in a page for people."""
    try:
        return json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        begins = _BLANK.sub(" ", content[:SHOWN_CHARS].decode(errors="replace")).strip()
        raise ValueError(f"the answer is no JSON: it begins with {begins!r}" if begins else "an empty answer") from None


def mapping(value: Any) -> dict:
    """`value` itself. Raises ValueError where it is no JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"{_kind(value)} where an object is expected")
    return value


def listed(value: Any, name: str) -> list:
    """`value` itself. Raises ValueError, naming it, where it is no JSON list."""
    if not isinstance(value, list):
        raise ValueError(f"{name}: {_kind(value)} where a list is expected")
    return value


def dug(value: Any, path: str) -> Any:
    """What lies at a dotted path of keys and of places in lists; None where nothing does. "": the value itself."""
    for part in path.split(".") if path else ():
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def text(value: Any) -> str:
    """A text or number on one line, at most TEXT_CHARS; empty for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return ""
    written = value.encode(errors="replace").decode() if isinstance(value, str) else f"{value:g}"
    return _BLANK.sub(" ", written[: 4 * TEXT_CHARS]).strip()[:TEXT_CHARS].strip()


def side(value: Any) -> int | None:
    """A picture's width or height in pixels, None where it is no such number."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31 else None


def address(value: Any) -> str:
    """The http(s) address in `value`, without its fragment. Raises ValueError with the reason where there is none."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("no address of a picture")
    url = value.strip()
    url = f"https:{url}" if url.startswith("//") else url
    shown = text(url)[:SHOWN_CHARS]
    try:
        url.encode()
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError as error:  # of its encoding, too
        raise ValueError(f"{shown!r} is no address: {error}") from None
    if not known or len(url) > ADDRESS_CHARS or _CONTROL.search(url.replace(" ", "")):
        raise ValueError(f"{shown!r} is no http(s) address")
    if parts.username or parts.password:
        raise ValueError("an address with a user's name in it")
    return url.partition("#")[0]


def page_address(value: Any) -> str:
    """As `address`, but empty where there is none: a hit may do without its page."""
    try:
        return address(value)
    except ValueError:
        return ""


def with_query(endpoint: str, **fields: Any) -> str:
    """`endpoint` with these fields as its query, behind those that it has."""
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(fields)}"


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "nothing"}
    return names.get(type(value), "a number")
