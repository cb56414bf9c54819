"""The catalog's assets as units of work: one per video, pictures in groups, so that no shard is huge or tiny."""

from collections import defaultdict
from dataclasses import dataclass

from components.core.files import value_sha256

_FIELDS = ("asset_id", "uri", "name", "sha256", "bytes", "time_base_num", "time_base_den")


@dataclass(frozen=True)
class Unit:
    """`name` is that of its shard; `assets` are catalog rows (the fields needed), in the order of asset_id."""

    name: str
    kind: str
    assets: tuple[dict, ...]

    @property
    def content(self) -> str:
        """Digest of the bytes of all its assets: what the shard depends on besides parameters and code."""
        return value_sha256([asset["sha256"] for asset in self.assets])

    def item(self, **more) -> dict:
        """The unit as a JSON-able item of Spark's; `weight` grows with the work in it."""
        weight = sum(asset["bytes"] for asset in self.assets)
        return {"name": self.name, "kind": self.kind, "assets": list(self.assets), "weight": weight} | more


def units(catalog: list[dict]) -> list[Unit]:
    """Units of the catalog's usable assets, in the order of their names.

    A video is a unit; pictures are grouped by the first two digits of asset_id, so that a new picture touches one
    group of at most 256 and none of the others.
    """
    groups: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for row in catalog:
        if row["status"] != "ok":
            continue
        name = row["asset_id"] if row["kind"] == "video" else f"pictures-{row['asset_id'][:2]}"
        groups[name, row["kind"]].append({field: row[field] for field in _FIELDS})
    return [
        Unit(name, kind, tuple(sorted(rows, key=lambda row: row["asset_id"])))
        for (name, kind), rows in sorted(groups.items())
    ]
