"""Wikimedia Commons, or another MediaWiki: files found by its search, with what `imageinfo` tells of them.

An answer holds `query.pages`, each with its `index` among the results, and `continue.gsroffset` where more follow; a
search that finds nothing has no `query`. Texts of `extmetadata` are HTML.
"""

import html
import re
from typing import Any

from components.ingest.search.hits import (
    Answer,
    Hit,
    Provider,
    address,
    answer,
    dug,
    mapping,
    page_address,
    parsed,
    side,
    text,
    with_query,
)

ENDPOINT = "https://commons.wikimedia.org/w/api.php"
MIMES = frozenset(f"image/{name}" for name in "jpeg png gif tiff webp bmp x-ms-bmp x-bmp".split())

_TAG = re.compile(r"<[^>]*>")


def provider(endpoint: str | None = None) -> Provider:
    """Commons, or the MediaWiki whose api.php is at `endpoint`."""

    def request(query: str, page: int, per_page: int) -> str:
        # Neither drawings nor films, books and sounds, of which Commons has many.
        return with_query(
            endpoint or ENDPOINT, action="query", format="json", formatversion=2, generator="search",
            gsrsearch=f"{query} filetype:bitmap", gsrnamespace=6, gsrlimit=per_page, gsroffset=(page - 1) * per_page,
            prop="imageinfo", iiprop="url|size|mime|extmetadata", iiextmetadatafilter="LicenseShortName|Artist",
        )  # fmt: skip

    return Provider(request, read)


def read(content: bytes, page: int, per_page: int) -> Answer:
    """The files in an answer, in the order of the search. Raises ValueError where it is an error, or no answer."""
    body = mapping(parsed(content))
    if "error" in body:
        raise ValueError(f"the answer is an error: {text(dug(body, 'error.info')) or text(dug(body, 'error.code'))}")
    if "query" not in body and "batchcomplete" not in body:
        raise ValueError("the answer has neither `query` nor `batchcomplete`")
    pages = dug(body, "query.pages") if "query" in body else []
    pages = list(pages.values()) if isinstance(pages, dict) else pages
    if not isinstance(pages, list):
        raise ValueError("query.pages: neither a list nor an object")
    more = side(dug(body, "continue.gsroffset")) is not None
    return answer(sorted(pages, key=_index), _hit, more)


def _index(item: Any) -> int:
    return side(dug(item, "index")) or 1 << 31


def _hit(item: Any) -> Hit:
    info = dug(item, "imageinfo.0")
    mime = text(dug(info, "mime"))
    if mime and mime not in MIMES:
        raise ValueError(f"{text(dug(item, 'title'))!r} is {mime}, not a picture that can be read")
    return Hit(
        address(dug(info, "url")), page_address(dug(info, "descriptionurl")),
        _plain(dug(info, "extmetadata.LicenseShortName.value")), _plain(dug(info, "extmetadata.Artist.value")),
        text(dug(item, "title")).removeprefix("File:"), side(dug(info, "width")), side(dug(info, "height")),
    )  # fmt: skip


def _plain(value: Any) -> str:
    """HTML as the text it shows."""
    return text(html.unescape(_TAG.sub(" ", text(value))))
