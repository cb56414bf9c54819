"""The catalog's assets as units of work: a video's segments, pictures in groups, so that no shard is huge or tiny."""

from collections import defaultdict
from dataclasses import asdict, dataclass

from components.core.files import value_sha256
from components.core.segments import Segment, segments

_FIELDS = ("asset_id", "uri", "name", "sha256", "bytes", "time_base_num", "time_base_den")


@dataclass(frozen=True)
class Unit:
    """`name` is that of its shard; `assets` are catalog rows (the fields needed), in the order of asset_id.

    `segment` is the part of a video, the `share` of it in its bytes; None: the whole, decoded from the first frame on.
    """

    name: str
    kind: str
    assets: tuple[dict, ...]
    segment: Segment | None = None
    share: float = 1.0

    @property
    def content(self) -> str:
        """Digest of the bytes of all its assets: what the shard depends on besides parameters and code."""
        digests = [asset["sha256"] for asset in self.assets]
        return value_sha256(digests if self.segment is None else [*digests, asdict(self.segment)])

    def item(self, stamps: dict[str, list[int]], **more) -> dict:
        """The unit as a JSON-able item of Spark's, with the `stamps` of files known to be unchanged, by asset_id.

        `weight` grows with the work in it.
        """
        return {
            "kind": self.kind,
            "assets": [asset | {"stamp": stamps.get(asset["asset_id"])} for asset in self.assets],
            "segment": self.segment and asdict(self.segment),
            "weight": self.share * sum(asset["bytes"] for asset in self.assets),
        } | more


def units(catalog: list[dict]) -> list[Unit]:
    """Units of the catalog's usable assets, in the order of their names.

    A video's segments are a unit each; pictures are grouped by the first two digits of asset_id, so that a new
    picture touches one group of at most 256 and none of the others.
    """
    found, groups = [], defaultdict(list)
    for row in catalog:
        if row["status"] != "ok":
            continue
        asset = {field: row[field] for field in _FIELDS}
        if row["kind"] == "video":
            found += _video(row, asset)
        else:
            groups[f"pictures-{row['asset_id'][:2]}"].append(asset)
    found += [
        Unit(name, "picture", tuple(sorted(rows, key=lambda row: row["asset_id"]))) for name, rows in groups.items()
    ]
    return sorted(found, key=lambda unit: unit.name)


def _video(row: dict, asset: dict) -> list[Unit]:
    if not row["segment_pts"]:
        return [Unit(row["asset_id"], "video", (asset,))]
    parts = segments(row["segment_pts"], row["segment_index"])
    if len(parts) == 1:
        return [Unit(row["asset_id"], "video", (asset,), parts[0])]
    ends = [*row["segment_index"][1:], row["frame_count"]]
    return [
        Unit(f"{row['asset_id']}-{number:05d}", "video", (asset,), part, (end - part.index) / row["frame_count"])
        for number, (part, end) in enumerate(zip(parts, ends, strict=True))
    ]
