"""Frames: catalog -> sampled frames as JPEG rows, a shard per video or segment of one."""

import sys
from collections import Counter
from pathlib import Path

from components.core import media, paths, segments, tables
from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.core.spark import map_items, spark_session
from components.core.stage import run_stage
from components.core.tables import read_table
from components.core.workcache import publish, sealed, work_key, work_path
from components.frames import sample
from components.frames.units import Unit, units

STAGE = "frames"


def main(recipe: Recipe) -> None:
    """Writes the frames table. Raises SightlineError where footage changed since ingest."""
    todo = units(read_table(paths.data(recipe.name, "catalog")).to_pylist())
    params = recipe.frames.model_dump(mode="json")
    entries = {unit.name: entry(unit, params) for unit in todo}
    facts = {name: sealed(path) for name, path in entries.items()}
    missing = [unit for unit in todo if facts[unit.name] is None]
    if missing:
        with spark_session(STAGE) as session:
            stamps = checked(session, missing)
            items = [unit.item(stamps, entry=str(entries[unit.name]), params=params) for unit in missing]
            done = map_items(session, items, sample.sample_unit, "frames", "shards", weight="weight")
        facts |= dict(zip([unit.name for unit in missing], accepted(done), strict=True))
    publish(paths.data(recipe.name, STAGE), entries)
    frames = sum(result["rows"] for result in facts.values())
    assets = {asset["asset_id"] for unit in todo for asset in unit.assets}
    print(
        f"frames: {frames} frames of {len(assets)} assets in {len(todo)} shards, {len(missing)} of them made now",
        file=sys.stderr,
    )


def checked(session, missing: list[Unit]) -> dict[str, list[int]]:
    """asset_id -> stamp of the videos of which several segments are to be read: their bytes are read once for all."""
    counts = Counter(unit.assets[0]["asset_id"] for unit in missing if unit.segment)
    videos = {unit.assets[0]["asset_id"]: unit.assets[0] for unit in missing}
    shared = [videos[asset_id] for asset_id, count in counts.items() if count > 1]
    results = accepted(map_items(session, shared, sample.check_file, "check", "long videos", weight="bytes"))
    return {asset["asset_id"]: result["stamp"] for asset, result in zip(shared, results, strict=True)}


def accepted(results: list[dict]) -> list[dict]:
    """The results, where none is a problem. Raises SightlineError with the first that is."""
    for result in results:
        if "problem" in result:
            raise SightlineError(result["problem"], result["remedy"])
    return results


def entry(unit: Unit, params: dict) -> Path:
    """Where the work cache keeps the unit's shard."""
    key = work_key(unit.content, {"frames": params, "engine": media.ENGINE}, media, segments, tables, sample)
    return work_path(STAGE, key)


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, main))
