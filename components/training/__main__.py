"""features + hyper-parameters -> model: trained by Horovod, with early stopping, checkpoints and resume."""

import shutil
import sys

from components.core import distributed, paths, tables, tracking
from components.core.errors import UsageError
from components.core.files import atomic_directory, atomic_json, file_sha256, read_json, tree_sha256, value_sha256
from components.core.recipe import TUNED, Recipe, Training
from components.core.stage import run_stage
from components.core.workcache import work_key, work_path
from components.tasks.classification import fit, heads, metrics, samples, stream
from components.tasks.classification.model import META, load_model
from components.tasks.classification.samples import split_source
from components.training import checkpoint

TABLES = ("catalog", "annotations", "features")


def main(recipe: Recipe) -> None:
    params = resolved(recipe)
    shards = len(split_source(recipe, "train").files)
    if shards < params.workers:
        raise UsageError(
            f"training.workers = {params.workers}: the training split has {shards} shards, and a worker needs one",
            "use fewer workers, or hold out fewer assets",
        )
    digests = {table: tree_sha256(paths.data(recipe.name, table)) for table in TABLES}
    asked = [params.model_dump(mode="json"), digests, recipe.task.model_dump(mode="json")]
    code = (checkpoint, fit, heads, metrics, samples, stream)
    work = work_path("training", work_key(digests["features"], asked, *code), "")
    atomic_json(work / "params.json", params.model_dump(mode="json"))
    if not (work / "done.json").is_file():
        arguments = ["--recipe", recipe.name, "--work", str(work)]
        distributed.launch(params.workers, "components.training.worker", arguments)
    out = paths.data(recipe.name, "model")
    with atomic_directory(out) as folder:
        shutil.copytree(work / "model", folder, dirs_exist_ok=True)
        meta = read_json(folder / META, "run the stage again")
        meta |= {"data": digests, "vectors": tables.metadata(paths.data(recipe.name, "features"))}
        atomic_json(folder / META, meta)
    log(recipe, params)
    shown = meta["history"][meta["best_epoch"] - 1]
    print(f"training@{recipe.name}: epoch {meta['best_epoch']}: " + ", ".join(f"{k} {v:.3f}" for k, v in shown.items()))


def resolved(recipe: Recipe) -> Training:
    """The training parameters with every `tuned` replaced by what the tuning stage found."""
    best = read_json(paths.data(recipe.name, "tuning.json"), "run the tuning stage")["best"]
    return recipe.training.model_copy(update={name: best[name] for name, v in recipe.training if v == TUNED})


def log(recipe: Recipe, params: Training) -> None:
    """The training as an MLflow run, found again by the model's digest: parameters, curves, model files, digests."""
    model = load_model(paths.data(recipe.name, "model"))
    mlflow = tracking.mlflow
    # Other parameters may end in the same tensors: then it is another run about the same model.
    asked = value_sha256(params.model_dump(mode="json"))
    with tracking.run(recipe, "training", model_digest=model.digest, training=asked):
        mlflow.log_params(
            tracking.flat_params(params, "training.") | tracking.flat_params(model.meta["vectors"], "features.")
        )
        for figures in model.meta["history"]:
            mlflow.log_metrics({k: v for k, v in figures.items() if k != "epoch"}, step=int(figures["epoch"]))
        mlflow.set_tags({f"sightline.data.{table}": digest for table, digest in model.meta["data"].items()})
        mlflow.set_tag("sightline.tuning", file_sha256(paths.data(recipe.name, "tuning.json")))
        mlflow.log_artifacts(str(model.folder), "model")


if __name__ == "__main__":
    sys.exit(run_stage("training", __doc__, main))
