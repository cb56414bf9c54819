"""Openverse: openly licensed pictures of many collections (https://api.openverse.org/v1/).

An answer holds `results`, `page` and `page_count`. Who asks without a key gets at most 20 results a page.
"""

from typing import Any

from components.ingest.search.hits import (
    Answer,
    Hit,
    Provider,
    address,
    answer,
    dug,
    listed,
    mapping,
    page_address,
    parsed,
    side,
    text,
    with_query,
)

ENDPOINT = "https://api.openverse.org/v1/images/"


def provider(endpoint: str | None = None) -> Provider:
    """Openverse, or a server at `endpoint` that answers as it does."""

    def request(query: str, page: int, per_page: int) -> str:
        return with_query(endpoint or ENDPOINT, q=query, page=page, page_size=per_page)

    return Provider(request, read)


def read(content: bytes, page: int, per_page: int) -> Answer:
    """The results in an answer. Raises ValueError where there is no list of them."""
    body = mapping(parsed(content))
    if "results" not in body and (told := text(body.get("detail"))):
        raise ValueError(f"the answer is an error: {told}")
    items = listed(body.get("results"), "results")
    pages = side(body.get("page_count"))
    return answer(items, _hit, bool(items) and (len(items) >= per_page if pages is None else page < pages))


def _hit(item: Any) -> Hit:
    licence = f"{text(dug(item, 'license'))} {text(dug(item, 'license_version'))}".strip()
    return Hit(
        address(dug(item, "url")), page_address(dug(item, "foreign_landing_url")), licence,
        text(dug(item, "creator")), text(dug(item, "title")), side(dug(item, "width")), side(dug(item, "height")),
    )  # fmt: skip
