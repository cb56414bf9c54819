"""The stage's work, frame by frame: what a worker needs, and where its result is kept."""

from collections.abc import Sequence

import scipy
import skimage
import torch

from components.core import heat, lime, media, paths, tables
from components.core.files import file_sha256, value_sha256
from components.core.recipe import Recipe
from components.core.workcache import work_key, work_path
from components.explain import judge, work
from components.explain.select import Chosen, places
from components.tasks import backbones, classification, engines, featurizer, motion, parts
from components.tasks.classification.model import TrainedModel
from components.tasks.engines import graph
from components.tasks.engines.choice import planned

CODE = (heat, judge, lime, work, media, classification, engines, backbones, featurizer, motion, parts)


def items(recipe: Recipe, model: TrainedModel, frames: Sequence[Chosen]) -> list[dict]:
    """An item for `work.explain_frame` for each of the frames, in their order.

    A result is kept under the digests of the model and of the shard that the frame and its neighbours lie in.
    """
    features, params = model.features(recipe.features), recipe.explain
    plan = graph.ready(planned(features, len(frames) * params.samples * len(params.superpixels)))
    shards = tables.shards(paths.data(recipe.name, "frames"))
    found = places(shards, {one.frame_id for one in frames}, model.head.reach, "motion" in features.parts)
    digests = {place.shard: file_sha256(place.shard) for place in found.values()}
    asked = params.model_dump(mode="json", exclude={"pictures"})
    libraries = [torch.__version__, skimage.__version__, scipy.__version__, media.ENGINE]
    shape = plan.params.model_dump(mode="json", exclude={"weights"})
    out = []
    for one in frames:
        place = found[one.frame_id]
        key = [model.digest, plan.digest, plan.name, shape, asked, libraries, one.frame_id, one.kind, place.rows]
        out.append(
            {
                "frames": str(place.shard), "rows": place.rows, "middle": place.middle, "class": one.kind,
                "params": asked, "plan": plan.text(), "model": str(model.folder),
                "seed": int(value_sha256([params.seed, one.frame_id])[:8], 16),
                "target": str(work_path("explain", work_key(digests[place.shard], key, *CODE), ".json")),
            }
        )  # fmt: skip
    return out


def jpeg(item: dict) -> bytes:
    """The frame that an item explains, as it is stored."""
    (row,) = tables.read_rows(item["frames"], [item["rows"][item["middle"]]], ["jpeg"]).to_pylist()
    return row["jpeg"]
