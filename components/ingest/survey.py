"""Looks at every file of a source: what is known of it already, and the rest probed on Spark."""

import json
import sys

from components.core import paths
from components.core.files import atomic_json, value_sha256
from components.core.spark import map_items, spark_session
from components.ingest.probe import QUARANTINED, STAGE, cached, fingerprint, kind_of, probe_file
from components.ingest.sources import Source


def survey(source: Source) -> list[dict]:
    """One record (see `probe.probe_file`) per file of the source, in the order of its names.

    A file is read again only where its size, times or inode changed; Spark starts only where something must be probed.
    """
    index_path = paths.state("work", STAGE, "index", value_sha256(str(source.root))[:16] + ".json")
    index = _read_index(index_path)
    records: dict[str, dict] = {}
    todo = []
    for name in source.files:
        path = str(source.root / name)
        item = {"path": path, "sha256": None, "bytes": 0}
        try:
            name.encode()
        except UnicodeEncodeError:
            records[name] = _unreadable(name, "its name is not valid UTF-8: rename it")
            continue
        try:
            print_ = fingerprint(path)
            known = index.get(name)
            item |= {"bytes": print_[0], "sha256": known[1] if known and known[0] == print_ else None}
        except OSError as error:
            records[name] = _unreadable(name, f"cannot be read ({error.strerror})")
            continue
        record = cached(item["sha256"], kind_of(name)) if item["sha256"] else None
        if record:
            records[name] = record | {"fingerprint": print_}
        else:
            todo.append((name, item))
    records |= _probed(todo)
    fresh = {
        name: [record["fingerprint"], record["sha256"]] for name, record in records.items() if record["fingerprint"]
    }
    if fresh != index:
        atomic_json(index_path, fresh)
    return [records[name] for name in source.files]


def _probed(todo: list[tuple[str, dict]]) -> dict[str, dict]:
    if not todo:
        return {}
    with spark_session(STAGE) as session:
        found = map_items(session, [item for _, item in todo], probe_file, "probe", "files", weight="bytes")
    return {name: record for (name, _), record in zip(todo, found, strict=True)}


def _unreadable(name: str, reason: str) -> dict:
    record = {"sha256": "", "bytes": 0, "kind": kind_of(name), "status": QUARANTINED}
    return record | {"reason": reason, "fingerprint": None}


def _read_index(path) -> dict[str, list]:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        print(f"ingest: {path}: {error}; every file is read again", file=sys.stderr)
        return {}
