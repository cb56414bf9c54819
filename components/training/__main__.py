"""features + hyper-parameters -> model: trained by Horovod, with early stopping, checkpoints and resume."""

import shutil
import sys

from components import training
from components.core import distributed, paths, tables, tracking
from components.core.files import atomic_directory, atomic_json, file_sha256, read_json, tree_sha256, value_sha256
from components.core.recipe import Recipe, Training
from components.core.stage import run_stage
from components.core.workcache import work_key, work_path
from components.tasks import backbones, classification, featurizer, parts
from components.tasks.classification import samples, stream
from components.tasks.classification.model import META, load_model
from components.training import mllib, outcome

TABLES = ("catalog", "annotations", "features")


def main(recipe: Recipe) -> None:
    params = resolved(recipe)
    made_from = (*TABLES, "frames") if params.head == "finetune" else TABLES
    digests = {table: tree_sha256(paths.data(recipe.name, table)) for table in made_from}
    asked = [params.model_dump(mode="json"), digests, recipe.task.model_dump(mode="json")]
    asked.append(recipe.features.model_dump(mode="json") if params.head == "finetune" else None)
    code = (training, classification, featurizer, backbones)
    work = work_path("training", work_key(digests["features"], asked, *code), "")
    atomic_json(work / "params.json", params.model_dump(mode="json"))
    if not (work / outcome.DONE).is_file():
        if params.head == "mllib":
            mllib.train(recipe, params, work)
        else:
            table = "frames" if params.head == "finetune" else "features"
            source = samples.split_source(recipe, "train", table=table)
            stream.Share(source, params.batch_size, params.seed, world=params.workers)  # refuses more than it can serve
            arguments = ["--recipe", recipe.name, "--work", str(work)]
            distributed.launch(params.workers, "components.training.worker", arguments)
    out = paths.data(recipe.name, "model")
    with atomic_directory(out) as folder:
        shutil.copytree(work / "model", folder, dirs_exist_ok=True)
        meta = read_json(folder / META, "run the stage again")
        meta |= {"data": digests, "vectors": _vectors(recipe, meta)}
        atomic_json(folder / META, meta)
    log(recipe, params)
    shown = meta["history"][meta["best_epoch"] - 1]
    print(f"training@{recipe.name}: epoch {meta['best_epoch']}: " + ", ".join(f"{k} {v:.3f}" for k, v in shown.items()))


def resolved(recipe: Recipe) -> Training:
    """The training parameters with every `tuned` replaced by what the tuning stage found."""
    best = read_json(paths.data(recipe.name, "tuning.json"), "run the tuning stage")["best"]
    return recipe.training.model_copy(update={name: best[name] for name in recipe.training.tuned_names()})


def _vectors(recipe: Recipe, meta: dict) -> dict[str, str]:
    """What the head's vectors are made by: as noted beside the features or, of a fine-tuned model, by its backbone."""
    if "backbone" in meta:
        return parts.identity(recipe.features, meta["backbone"]["sha256"])
    return tables.metadata(paths.data(recipe.name, "features"))


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
