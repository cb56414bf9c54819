"""Records of files -> rows of the catalog, and the assets that labels are matched against."""

import re
from collections import defaultdict
from fractions import Fraction
from hashlib import sha256

import numpy as np

from components.core import tables
from components.core.errors import UsageError
from components.ingest.annotate import Asset
from components.ingest.near import near_groups
from components.ingest.probe import DUPLICATE, OK
from components.ingest.sources import Source
from components.ingest.split import Candidate

_SAME = ("kind", "status", "sha256", "bytes")
_FACTS = (
    "reason codec width height captured_at exif camera_make camera_model lens exposure_s f_number iso focal_length_mm "
    "orientation latitude longitude altitude_m brightness contrast sharpness saturation perceptual_hash "
    "segment_pts segment_index"
).split()


def catalog_rows(source: Source, records: list[dict], site: str | None = None) -> list[dict]:
    """Rows of the catalog, sorted by name; `split` is still open. `records` are in the order of `source.files`.

    Of files with the same bytes the first by name is the asset; the others have status `duplicate` and its asset_id.
    `site`: a regular expression whose first group, searched for in the name, is the site. Raises UsageError where it
    is none. Near-duplicates are looked for among the pictures that are assets; videos of a fixed camera would all be
    near-duplicates by any one of their frames.
    """
    pattern = _site_pattern(site)
    rows, first = [], {}
    for name, record in zip(source.files, records, strict=True):
        # A file that cannot be read has no digest: its name stands in, so that its row can be told from others.
        digest = record["sha256"] or sha256(b"unreadable\0" + name.encode(errors="surrogateescape")).hexdigest()
        shown = name.encode(errors="surrogateescape").decode(errors="backslashreplace")
        row = {field: record[field] for field in _SAME} | {field: record.get(field) for field in _FACTS}
        row |= {"asset_id": tables.asset_id(digest), "name": shown, "uri": source.uri(shown), "split": None}
        row["site"] = found[1] if pattern and (found := pattern.search(shown)) else None
        if pts := record.get("pts"):
            row |= {"frame_count": len(pts), "first_pts": pts[0], "last_pts": pts[-1]}
            row["time_base_num"], row["time_base_den"] = record["time_base"]
            row["rate_num"], row["rate_den"] = record["rate"] or (None, None)
        if row["status"] == OK and digest in first:
            row |= {"status": DUPLICATE, "reason": f"the same bytes as {first[digest]}"}
        elif row["status"] == OK:
            first[digest] = shown
        rows.append(row)
    _group_near(rows)
    return sorted(rows, key=lambda row: row["name"])


def _site_pattern(site: str | None) -> re.Pattern | None:
    if site is None:
        return None
    try:
        pattern = re.compile(site)
    except re.error as error:
        raise UsageError(f"ingest.site: {site!r} is not a regular expression: {error}", "correct it") from None
    if not pattern.groups:
        raise UsageError(f"ingest.site: {site!r} has no group", "put what names the site in parentheses: ^([^/]+)/")
    return pattern


def _group_near(rows: list[dict]) -> None:
    """Sets `near_group` of every row: the smallest asset_id of its group of near-duplicates, None where it is alone."""
    pictures = [row for row in rows if row["status"] == OK and row["perceptual_hash"] is not None]
    pictures.sort(key=lambda row: row["asset_id"])
    hashes = np.array([row["perceptual_hash"] for row in pictures], dtype=np.int64)
    groups = near_groups(hashes, np.array([row["contrast"] for row in pictures]))
    for row in rows:
        row["near_group"] = None
    for row, group in zip(pictures, groups.tolist(), strict=True):
        row["near_group"] = None if group < 0 else pictures[group]["asset_id"]


def label_targets(source: Source, records: list[dict]) -> dict[str, Asset]:
    """What a label may name: every file of the source; files with the same bytes are one asset."""
    targets, by_digest = {}, {}
    for name, record in zip(source.files, records, strict=True):
        digest = record["sha256"]
        if record["status"] != OK:
            targets[name] = Asset(f"refused:{name}", record["kind"], np.empty(0), Fraction(1), record["reason"])
            continue
        if digest not in by_digest:
            pts = np.array(record["pts"], dtype=np.int64)
            size = {side: record[side] for side in ("width", "height")}  # of the upright picture: boxes are in it
            base = Fraction(*record["time_base"])
            by_digest[digest] = Asset(tables.asset_id(digest), record["kind"], pts, base, **size)
        targets[name] = by_digest[digest]
    return targets


def split_candidates(source: Source, targets: dict[str, Asset], annotations: list[dict]) -> list[Candidate]:
    """The usable assets with all their names, the classes of their frames and the split that the source gives them."""
    names, classes = defaultdict(list), defaultdict(set)
    for name, asset in sorted(targets.items()):
        if asset.refused is None:
            names[asset.asset_id].append(name)
    for row in annotations:
        classes[row["asset_id"]].add(row["class"])
    return [
        Candidate(
            asset_id,
            tuple(found),
            frozenset(classes[asset_id]),
            frozenset(source.split[name] for name in found if name in source.split),
        )
        for asset_id, found in sorted(names.items())
    ]
