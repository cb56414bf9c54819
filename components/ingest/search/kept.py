"""What is kept of a search, in the work cache: answers by their address, pictures by their bytes, and what each was.

All of it appears whole or not at all, and is shared by all recipes of a workspace: nothing that is there is asked for
again.
"""

import hashlib
import json
from pathlib import Path

from components.core.files import atomic_bytes, atomic_json
from components.core.workcache import work_path
from components.ingest.search.hits import Answer, Provider

STAGE = "gather"


def answer_path(url: str) -> Path:
    """Where the bytes of the answer at an address lie, or will lie."""
    return work_path(STAGE, _key("answer", url), ".json")


def keep_answer(url: str, content: bytes) -> None:
    """Keeps the bytes of an answer."""
    atomic_bytes(answer_path(url), content)


def kept_answer(provider: Provider, url: str, page: int, per_page: int) -> Answer | None:
    """The answer that is kept, None where none is that the provider can read."""
    try:
        return provider.read(answer_path(url).read_bytes(), page, per_page)
    except (OSError, ValueError):
        return None


def picture_path(sha256: str) -> Path:
    """Where a picture with these bytes lies, or will lie."""
    return work_path(STAGE, sha256[:32], ".picture")


def keep_record(name: str, record: dict) -> None:
    """Keeps what is known of the picture called `name`: its facts, or the `reason` why it is refused."""
    atomic_json(_record_path(name), record)


def kept_record(name: str, bounds: dict[str, float]) -> dict | None:
    """What is known of the picture called `name`; None where it must be asked for.

    That is so where its bytes are gone, or where a bound by which it was refused (`above`) has been raised since.
    """
    try:
        record = json.loads(_record_path(name).read_text())
        if "reason" in record:
            raised = any(bounds[bound] > value for bound, value in record["above"].items())
            return None if raised else record
        there = "path" in record or picture_path(record["sha256"]).stat().st_size == record["bytes"]
        return record if there else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _record_path(name: str) -> Path:
    return work_path(STAGE, _key("picture", name), ".json")


def _key(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode(errors="surrogateescape")).hexdigest()[:32]
