"""The training as an MLflow run."""

from components.core import paths, tracking
from components.core.files import file_sha256, value_sha256
from components.core.recipe import Recipe, Training
from components.tasks.trained import load_trained


def record(recipe: Recipe, params: Training) -> None:
    """The training as an MLflow run, found again by the model's digest: parameters, curves, model files, digests."""
    model = load_trained(paths.data(recipe.name, "model"))
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
