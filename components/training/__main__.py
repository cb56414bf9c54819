"""features + hyper-parameters -> model: trained by Horovod, with early stopping, checkpoints and resume."""

import shutil
import sys
from functools import partial

from components import training
from components.core import distributed, paths, tables
from components.core.files import atomic_directory, atomic_json, read_json, tree_sha256
from components.core.recipe import Recipe, Training
from components.core.stage import run_stage
from components.core.workcache import work_key, work_path
from components.tasks import backbones, classification, detection, featurizer, parts
from components.tasks.classification import samples, stream
from components.tasks.classification.model import META
from components.tasks.detection.model import with_tracker
from components.tasks.detection.samples import box_source
from components.training import mllib, outcome, tracker
from components.training.record import record

TABLES = ("catalog", "annotations", "features")


def main(recipe: Recipe) -> None:
    params = resolved(recipe)
    made_from = (*TABLES, "frames") if recipe.learns_from_frames else TABLES
    digests = {table: tree_sha256(paths.data(recipe.name, table)) for table in made_from}
    # The tracker is no part of the network: another one is not another training.
    asked = [params.model_dump(mode="json", exclude={"tracker"}), digests, recipe.task.model_dump(mode="json")]
    asked.append(recipe.features.model_dump(mode="json") if recipe.learns_from_frames else None)
    code = (training, classification, featurizer, backbones, *((detection,) if recipe.finds_boxes else ()))
    work = work_path("training", work_key(digests["features"], asked, *code), "")
    atomic_json(work / "params.json", params.model_dump(mode="json"))
    if not (work / outcome.DONE).is_file():
        if params.head == "mllib":
            mllib.train(recipe, params, work)
        else:
            table = "frames" if recipe.learns_from_frames else "features"
            source = box_source if recipe.finds_boxes else partial(samples.split_source, table=table)
            source = source(recipe, "train")
            stream.Share(source, params.batch_size, params.seed, world=params.workers)  # refuses more than it can serve
            arguments = ["--recipe", recipe.name, "--work", str(work)]
            distributed.launch(params.workers, "components.training.worker", arguments, params.min_workers)
    out = paths.data(recipe.name, "model")
    with atomic_directory(out) as folder:
        shutil.copytree(work / "model", folder, dirs_exist_ok=True)
        if recipe.task.tracks:
            with_tracker(folder, tracker.fitted(recipe, params.tracker, folder))
        meta = read_json(folder / META, "run the stage again")
        # The parameters are today's: those that the network was trained by may have had another tracker.
        meta |= {"data": digests, "training": params.model_dump(mode="json"), "vectors": _vectors(recipe, meta)}
        atomic_json(folder / META, meta)
    record(recipe, params)
    shown = meta["history"][meta["best_epoch"] - 1]
    print(f"training@{recipe.name}: epoch {meta['best_epoch']}: " + ", ".join(f"{k} {v:.3f}" for k, v in shown.items()))


def resolved(recipe: Recipe) -> Training:
    """The training parameters with every `tuned` replaced by what the tuning stage found."""
    best = read_json(paths.data(recipe.name, "tuning.json"), "run the tuning stage")["best"]
    return recipe.training.at({name: best[name] for name in recipe.training.tuned_names()})


def _vectors(recipe: Recipe, meta: dict) -> dict[str, str]:
    """What the head's vectors are made by: as noted beside the features, or a backbone of the model's own."""
    for own in ("backbone", "tensors"):
        if own in meta:
            return parts.identity(recipe.features, meta[own]["sha256"])
    return tables.metadata(paths.data(recipe.name, "features"))


if __name__ == "__main__":
    sys.exit(run_stage("training", __doc__, main))
