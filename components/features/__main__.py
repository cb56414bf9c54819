"""frames -> features: one vector per frame, by the recipe's backbone, on Spark."""

import sys

import torch

from components.core import media, paths, tables
from components.core.errors import SightlineError
from components.core.files import file_sha256
from components.core.recipe import Recipe
from components.core.spark import map_items, spark_session
from components.core.stage import run_stage
from components.core.workcache import publish, sealed, work_key, work_path
from components.features import extract
from components.tasks import backbones, featurizer, motion


def main(recipe: Recipe) -> None:
    frames = tables.shards(paths.data(recipe.name, "frames"))
    if not frames:
        raise SightlineError(f"{paths.data(recipe.name, 'frames')}: no frames", "see what the frames stage printed")
    params = recipe.features.model_dump_json()
    # Loaded here first: weights that cannot be had are one clear message, and part of every key by their digest.
    weights = featurizer.build_featurizer(recipe.features).weights_digest
    code = (extract, featurizer, backbones, motion, media)
    made_of = [params, weights, media.ENGINE, torch.__version__]
    targets = {file: work_path("features", work_key(file_sha256(file), made_of, *code)) for file in frames}
    todo = [
        {"frames": str(file), "target": str(target), "params": params, "bytes": file.stat().st_size}
        for file, target in targets.items()
        if sealed(target) is None
    ]
    if todo:
        with spark_session("features") as spark:
            map_items(spark, todo, extract.extract, f"features@{recipe.name}", "shards", weight="bytes")
    publish(paths.data(recipe.name, "features"), {file.stem: target for file, target in targets.items()})
    print(f"features@{recipe.name}: {len(frames)} shards, {len(todo)} of them new, by {recipe.features.backbone}")


if __name__ == "__main__":
    sys.exit(run_stage("features", __doc__, main))
