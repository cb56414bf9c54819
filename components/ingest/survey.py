"""Looks at every file of a source: what is known of it already, and the rest probed on Spark."""

import json
import sys
from collections.abc import Iterator

from components.core.recipe import Limits
from components.core.spark import map_items, spark_session
from components.ingest.batch import merge_parts, probe_batch, probe_part
from components.ingest.known import Known
from components.ingest.probe import QUARANTINED, STAGE, code, fingerprint, kind_of, settled
from components.ingest.sources import Source

BATCH_FILES = 64  # small pictures are cheaper to probe than to hand out one by one
BATCH_BYTES = 8 << 20  # what a killed run does again is at most this, or one file


def survey(source: Source, limits: Limits | None = None) -> list[dict]:
    """One record (see `probe.probe_file`) per file of the source, in the order of its names.

    A file is read again only where its size, times or inode changed, or where it was refused by a limit since raised;
    Spark starts only where something must be probed. Time-outs and crashes are tried again each time.
    """
    limits, root = limits or Limits(), str(source.root)
    records: dict[str, dict] = {}
    todo: dict[str, dict] = {}
    with Known() as known:
        known.take_over()
        index = known.files(root, code())
        for name in source.files:
            try:
                name.encode()
                print_ = fingerprint(path := str(source.root / name))
            except UnicodeEncodeError:
                records[name] = _unreadable(name, "its name is not valid UTF-8: rename it")
                continue
            except OSError as error:
                records[name] = _unreadable(name, f"cannot be read ({error.strerror})")
                continue
            before, digest, record = index.get(name, (None, None, None))
            digest = digest if before == print_ else None
            if digest and record and (record := settled(json.loads(record), limits)):
                records[name] = record | {"fingerprint": print_}
            else:
                todo[name] = {"path": path, "kind": kind_of(name), "bytes": print_[0], "sha256": digest}
        records |= _probed(todo, limits)
        known.take_over()
        fresh = {name: records[name] for name in todo if records[name]["fingerprint"]}
        known.update(root, fresh, index.keys() - {name for name, record in records.items() if record["fingerprint"]})
    return [records[name] for name in source.files]


def _probed(todo: dict[str, dict], limits: Limits) -> dict[str, dict]:
    if not todo:
        return {}
    common = {"limits": limits.model_dump(), "code": code()}
    batches = [
        {"files": files, "bytes": sum(file["bytes"] for file in files)} | common
        for files in _batches(list(todo.values()))
    ]
    print(f"ingest: {len(todo)} files to probe", file=sys.stderr)
    with spark_session(STAGE) as session:
        found = map_items(session, batches, probe_batch, "probe", "batches", weight="bytes")
        records = dict(zip(todo, (record for batch in found for record in batch["records"]), strict=True))
        long = {name: file for name, file in todo.items() if "plan" in records[name]}
        return records | _long_videos(session, long, records, common)


def _long_videos(session, todo: dict[str, dict], records: dict[str, dict], common: dict) -> dict[str, dict]:
    """Records of the videos of several parts: all parts of all of them are decoded in parallel, then put together."""
    parts = [
        file | common | {"plan": records[name]["plan"], "number": number, "name": name}
        for name, file in todo.items()
        for number in range(len(records[name]["plan"]["segment_pts"]))
    ]
    seen: dict[str, list[dict]] = {name: [] for name in todo}
    for part, shown in zip(parts, map_items(session, parts, probe_part, "decode", "parts"), strict=True):
        seen[part["name"]].append(shown)
    items = [file | common | {"record": records[name], "found": seen[name]} for name, file in todo.items()]
    return dict(zip(todo, map_items(session, items, merge_parts, "merge", "videos"), strict=True))


def _batches(files: list[dict]) -> Iterator[list[dict]]:
    """The files in their order, in runs: small pictures together, whatever is large alone."""
    run, size = [], 0
    for file in files:
        if run and (len(run) == BATCH_FILES or size + file["bytes"] > BATCH_BYTES or file["kind"] == "video"):
            yield run
            run, size = [], 0
        run, size = [*run, file], size + file["bytes"]
        if file["kind"] == "video":
            yield run
            run, size = [], 0
    if run:
        yield run


def _unreadable(name: str, reason: str) -> dict:
    record = {"sha256": "", "bytes": 0, "kind": kind_of(name), "status": QUARANTINED}
    return record | {"reason": reason, "fingerprint": None}
