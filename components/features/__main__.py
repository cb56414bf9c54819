"""frames -> features: one vector per frame, by the recipe's backbone and the engine chosen, on Spark."""

import sys

import pyarrow.parquet as pq
import torch

from components.core import media, paths, tables
from components.core.errors import SightlineError
from components.core.files import file_sha256
from components.core.recipe import Recipe
from components.core.spark import map_items, spark_session
from components.core.stage import run_stage
from components.core.workcache import publish, sealed, work_key, work_path
from components.features import chunks, extract
from components.tasks import backbones, engines, featurizer, motion, parts
from components.tasks.engines import graph
from components.tasks.engines.choice import planned

CODE = (extract, chunks, parts, featurizer, motion, media, engines, backbones)


def main(recipe: Recipe) -> None:
    """Writes the features table. Raises SightlineError where the backbone, its weights or the engine cannot be had."""
    frames = tables.shards(paths.data(recipe.name, "frames"))
    if not frames:
        raise SightlineError(f"{paths.data(recipe.name, 'frames')}: no frames", "see what the frames stage printed")
    around = extract.neighbours(frames)
    pictures = sum(pq.read_metadata(file).num_rows for file in frames)
    # Weights and engine are settled here first: what cannot be had is one clear message, and both are in every key.
    plan = planned(recipe.features, pictures)
    digests = {file: file_sha256(file) for file in frames}
    made_of = [plan.params.model_dump(mode="json"), plan.digest, plan.name, torch.__version__, media.ENGINE]
    targets = {}
    for file in frames:
        beside = [digests[other] if other else None for other in around[file]] if plan.needs_neighbours else []
        targets[file] = work_path("features", work_key(digests[file], [*made_of, *beside], *CODE))
    todo = [file for file in frames if sealed(targets[file]) is None]
    if todo:
        text = graph.ready(plan).text()
        items = [_item(file, targets[file], around[file], text) for file in todo]
        with spark_session("features") as spark:
            map_items(spark, items, extract.extract, f"features@{recipe.name}", "shards", weight="bytes")
    publish(paths.data(recipe.name, "features"), {file.stem: target for file, target in targets.items()})
    made = f"{len(frames)} shards, {len(todo)} of them new"
    print(f"features@{recipe.name}: {made}, {recipe.features.backbone} by {plan.name}")


def _item(file, target, around, plan: str) -> dict:
    before, after = (str(other) if other else None for other in around)
    sides = {"frames": str(file), "before": before, "after": after, "target": str(target)}
    return sides | {"plan": plan, "bytes": file.stat().st_size}


if __name__ == "__main__":
    sys.exit(run_stage("features", __doc__, main))
