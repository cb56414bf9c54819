"""A batch of files on one of Spark's workers, each probed in the worker's child process. Imports no decoder itself."""

from components.core.isolate import NeedsMemory, Stopped, isolated
from components.ingest.known import leave

PROBER = "components.ingest.probe:probe_file"
PARTS = "components.ingest.probe:probe_part"
MERGER = "components.ingest.probe:merge_parts"


def probe_batch(item: dict) -> dict:
    """{"records": one per file}, also left on disk, so that a killed stage has not probed them in vain.

    `item`: files (path, kind, bytes, sha256 or null), limits (as a mapping), and code, which names what makes records.
    A long video's record has a `plan` of its parts: it is not finished yet, and not left.
    """
    limits = item["limits"]
    records = [_answered(PROBER, file | {"limits": limits, "in_parts": True}, limits) for file in item["files"]]
    leave(item["code"], [record for record in records if "plan" not in record])
    return {"records": records}


def probe_part(item: dict) -> dict:
    """What decoding part `number` of the video `path` shows, by its `plan` (see `video.part`)."""
    try:
        return _run(PARTS, item, item["limits"])
    except Stopped as stopped:
        return {"unseekable": str(stopped)}  # decoding all of the file has the last word


def merge_parts(item: dict) -> dict:
    """The record of the video `path`, out of its `record` with the plan and what was `found` of its parts; left."""
    record = _answered(MERGER, item, item["limits"])
    leave(item["code"], [record])
    return record


def _run(function: str, request: dict, limits: dict) -> dict:
    return isolated(function).run(request, limits["seconds"], limits["memory_mb"])


def _answered(function: str, request: dict, limits: dict) -> dict:
    """The record that the child makes; where it is stopped, the digest and why."""
    try:
        return _run(function, request, limits)
    except Stopped as stopped:
        reason, hungry = str(stopped), isinstance(stopped, NeedsMemory)
    record = {"sha256": "", "bytes": request["bytes"], "kind": request["kind"], "status": "quarantined"}
    record["fingerprint"] = None
    try:  # the digest is told all the same
        only = {"path": request["path"], "sha256": request["sha256"], "decode": False}
        record |= _run(PROBER, only, limits)
    except Stopped:
        pass  # the file cannot even be read
    if hungry:
        return record | {"reason": reason, "needs_over_mb": limits["memory_mb"]}
    # Not kept: on a quieter machine the next run may fare better.
    return record | {"reason": reason, "fingerprint": None}
