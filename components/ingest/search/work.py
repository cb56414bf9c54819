"""What Spark's workers do: ask for a page of answers, fetch a picture, or look at one that is here.

Strangers' pictures are decoded by the prober, in a process of its own. A result is {} where it is kept, or `failed`
with the reason where a later run may fare better.
"""

import hashlib
from pathlib import Path

from components.core import paths
from components.core.files import atomic_path
from components.core.recipe import Search
from components.ingest.batch import probe_batch
from components.ingest.search import kept, robots
from components.ingest.search.net import Manners, TooLarge, get
from components.ingest.search.providers import provider_of
from components.ingest.search.turns import LeftAlone, NotNow
from components.ingest.sources.copies import Refused

ANSWER_BYTES = 16 << 20
FACTS = ("sha256", "bytes", "width", "height", "codec", "contrast", "perceptual_hash")


def bounds_of(search: Search, limits: dict) -> dict[str, float]:
    """What a picture may be refused by, as numbers: a refusal by one of them stands until it is raised."""
    return {
        "max_mb": search.max_mb,
        "pixels": limits["pixels"],
        "memory_mb": limits["memory_mb"],
        "ignored_robots": int(not search.robots),
    }


def ask(item: dict) -> dict:
    """Asks for one page of answers: `search` (the recipe's section), `url`, `page`. Keeps it where it can be read.

    `failed` says why not; with `final`, asking again cannot help.
    """
    search = Search(**item["search"])
    provider = provider_of(search)
    try:
        content = get(item["url"], ANSWER_BYTES, manners_of(search)).content
        provider.read(content, item["page"], search.per_page)
    except Refused as error:
        return {"failed": str(error), "final": True}
    except (NotNow, ValueError) as error:
        return {"failed": str(error)}
    kept.keep_answer(item["url"], content)
    return {}


def take(item: dict) -> dict:
    """Fetches the picture at `url` and looks at it: `search`, `limits`, `code` as for probing."""
    search, url = Search(**item["search"]), item["url"]
    bounds = bounds_of(search, item["limits"])
    if kept.kept_record(url, bounds):
        return {}  # by a task that was lost
    manners = manners_of(search)
    try:
        allow = (lambda address: robots.check(address, manners)) if search.robots else lambda address: None
        reply = get(url, int(search.max_mb * 1e6), manners, allow)
        digest = hashlib.sha256(reply.content).hexdigest()
        with atomic_path(kept.picture_path(digest)) as temporary:
            temporary.write_bytes(reply.content)
            record = _looked(temporary, len(reply.content), item)
            if "reason" in record:
                raise _Unusable(record)
    except _Unusable as unusable:
        record = unusable.record
        if reply.kind and not reply.kind.startswith("image/"):
            record["reason"] += f"; it is sent as {reply.kind}"
    except NotNow as error:
        return {"failed": str(error), "asked": not isinstance(error, LeftAlone)}
    except Refused as error:
        above = {"max_mb": search.max_mb} if isinstance(error, TooLarge) else {}
        above |= {"ignored_robots": 0} if isinstance(error, robots.Forbidden) else {}
        record = {"reason": str(error), "above": above}
    return _kept(url, record)


def look(item: dict) -> dict:
    """Looks at the picture at the local `path`, which is kept as `name`: `limits`, `code` as for probing."""
    path = paths.workspace() / item["path"]
    record = _looked(path, path.stat().st_size if path.is_file() else 0, item)
    return _kept(item["name"], record if "reason" in record else record | {"path": item["path"]})


def manners_of(search: Search) -> Manners:
    """How the recipe wants servers to be treated."""
    return Manners(search.rate, search.timeout_s, search.retries)


class _Unusable(Exception):
    def __init__(self, record: dict):
        super().__init__()
        self.record = record


def _kept(name: str, record: dict) -> dict:
    if record.get("passing"):
        return {"failed": record["reason"]}
    kept.keep_record(name, record)
    return {}


def _looked(path: Path, size: int, item: dict) -> dict:
    """The facts of a picture, or the reason why it is refused. `passing`: on a quieter machine it may not be."""
    file = {"path": str(path), "kind": "picture", "bytes": size, "sha256": None}
    request = {"files": [file], "limits": item["limits"], "code": item["code"]}
    (record,) = probe_batch(request)["records"]
    if record["status"] == "ok":
        return {name: record[name] for name in FACTS}
    above = {"pixels": item["limits"]["pixels"]} if record.get("too_large") else {}
    above |= {"memory_mb": record["needs_over_mb"]} if record.get("needs_over_mb") else {}
    return {"reason": record["reason"], "above": above, "passing": not (record["fingerprint"] or above)}
