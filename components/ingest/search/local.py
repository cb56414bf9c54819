"""A folder of this machine in place of a search: a query names a folder of pictures below it."""

import json
import os
from pathlib import Path

from components.core import paths
from components.core.media import IMAGE_SUFFIXES
from components.ingest.search.hits import Answer, Hit, Provider, answer, listed, parsed
from components.ingest.sources.folder import uri_of, walk
from components.ingest.sources.source import checked_name


def provider(endpoint: str) -> Provider:
    """The folder `endpoint`, absolute or relative to the workspace."""

    return Provider(lambda query, page, per_page: os.path.join(endpoint, query), read, web=False)


def content(endpoint: str, query: str) -> bytes:
    """The answer to a query: the addresses of the pictures in its folder, sorted, as a JSON list.

    Raises ValueError where there is no such folder below `endpoint`.
    """
    folder = Path(endpoint).expanduser() / checked_name(query)
    if not (paths.workspace() / folder).is_dir():
        raise ValueError(f"no folder {query!r}")
    names = [name for name in walk(paths.workspace() / folder).files if Path(name).suffix.lower() in IMAGE_SUFFIXES]
    return json.dumps([uri_of(folder / name) for name in names]).encode()


def read(content: bytes, page: int, per_page: int) -> Answer:
    """The pictures of one page: a slice of the list of their addresses."""
    names = listed(parsed(content), "the answer")
    here = names[(page - 1) * per_page : page * per_page]
    return answer(here, lambda name: Hit(name, title=Path(name).stem), len(names) > page * per_page)
