"""Any server that answers a search in JSON: its address as a template, and where an answer holds what."""

from string import Formatter
from typing import Any
from urllib.parse import quote

from components.ingest.search.hits import (
    Answer,
    Hit,
    Provider,
    address,
    answer,
    dug,
    listed,
    page_address,
    parsed,
    text,
)

PLACES = ("query", "page", "per_page")


def provider(template: str, fields: dict[str, str]) -> Provider:
    """The server at `template`, in which {query}, {page} and {per_page} are filled in.

    `fields`: dotted paths, `items` from the top of an answer, the others from an item. That there is no further page
    is known by an empty one.
    """

    def request(query: str, page: int, per_page: int) -> str:
        filled = {"query": quote(query, safe=""), "page": page, "per_page": per_page}
        return "".join(before + (str(filled[name]) if name else "") for before, name, *_ in Formatter().parse(template))

    def read(content: bytes, page: int, per_page: int) -> Answer:
        items = listed(dug(parsed(content), fields["items"]), fields["items"] or "the answer")
        return answer(items, hit, bool(items) and "page" in places(template))

    def hit(item: Any) -> Hit:
        told = {name: dug(item, path) for name, path in fields.items() if name != "items"}
        words = {name: text(told.get(name)) for name in ("licence", "author", "title")}
        return Hit(address(told["url"]), page_address(told.get("page")), **words)

    return Provider(request, read)


def places(template: str) -> set[str]:
    """The names in braces in a template. Raises ValueError where its braces do not match."""
    return {name for _, name, *_ in Formatter().parse(template) if name is not None}
