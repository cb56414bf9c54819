"""Content-addressed store of per-asset work, so that a new clip costs one clip and a killed stage resumes.

A key is made of the asset's digest, the parameters that shape the result, and the source text of the modules that
make it: changed code never meets old results. Entries are written whole or not at all and are never changed, so
any number of workers may fill the cache at the same time; the store lies outside DVC's outputs because DVC removes
those before a stage runs.
"""

import hashlib
import inspect
import json
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from components.core import paths
from components.core.files import atomic_json, file_sha256, json_text, link_or_copy
from components.core.tables import shards


@cache
def _source_digest(module: ModuleType) -> str:
    """Of a module's text; of a package's, that of every module below it."""
    if not hasattr(module, "__path__"):
        return hashlib.sha256(inspect.getsource(module).encode()).hexdigest()
    root = Path(module.__file__).parent
    texts = {file.relative_to(root).as_posix(): file.read_text() for file in sorted(root.rglob("*.py"))}
    return hashlib.sha256(json_text(texts).encode()).hexdigest()


def work_key(content: str, params: Any, *modules: ModuleType) -> str:
    """The key of one asset's work: `content` is its digest, `modules` (or packages) those whose code makes it."""
    parts = {"content": content, "params": params, "code": [_source_digest(module) for module in modules]}
    return hashlib.sha256(json_text(parts).encode()).hexdigest()[:32]


def work_path(stage: str, key: str, suffix: str = ".parquet") -> Path:
    """Where the result of `key` lies, or will lie: `.sightline/work/STAGE/KE/KEY.suffix`."""
    return paths.state("work", stage, key[:2], key + suffix)


def seal(entry: Path, **facts: Any) -> None:
    """Writes the entry's digest, and JSON-able facts about it, beside it: from now on it counts as complete."""
    atomic_json(_seal(entry), facts | {"sha256": file_sha256(entry)})


def sealed(entry: Path) -> dict | None:
    """The facts sealed with an entry, or None where it is not complete or its bytes are no longer those sealed.

    Stage outputs may be hard links to entries, so an output damaged in place damages its entry too: reading the
    digest again makes the next run mend both.
    """
    try:
        facts = json.loads(_seal(entry).read_text())
        return facts if facts.pop("sha256") == file_sha256(entry) else None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None


def _seal(entry: Path) -> Path:
    return entry.with_suffix(".seal.json")


def publish(folder: Path, entries: dict[str, Path]) -> None:
    """Makes the table `folder` hold exactly the shards `entries`, by name: links to the store, or copies."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = {folder / f"{name}.parquet": path for name, path in entries.items()}
    for path in set(shards(folder)) - set(wanted):
        path.unlink()
    for path, kept in wanted.items():
        link_or_copy(kept, path)
