"""Frames: catalog -> sampled frames as JPEG rows, a shard per video."""

import sys
from pathlib import Path

from components.core import media, paths, tables
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
        items = [unit.item(entry=str(entries[unit.name]), params=params) for unit in missing]
        with spark_session(STAGE) as session:
            done = map_items(session, items, sample.sample_unit, "frames", "shards", weight="weight")
        for unit, result in zip(missing, done, strict=True):
            if "problem" in result:
                raise SightlineError(result["problem"], result["remedy"])
            facts[unit.name] = result
    publish(paths.data(recipe.name, STAGE), entries)
    frames = sum(result["rows"] for result in facts.values())
    print(
        f"frames: {frames} frames of {sum(len(unit.assets) for unit in todo)} assets in {len(todo)} shards, "
        f"{len(missing)} of them made now",
        file=sys.stderr,
    )


def entry(unit: Unit, params: dict) -> Path:
    """Where the work cache keeps the unit's shard."""
    key = work_key(unit.content, {"frames": params, "engine": media.ENGINE}, media, tables, sample)
    return work_path(STAGE, key)


if __name__ == "__main__":
    sys.exit(run_stage(STAGE, __doc__, main))
