"""Evaluation's part of the model's MLflow run: metrics, artifacts, parameters, and the digests of the data."""

from components.core import paths, tracking
from components.core.files import json_text, tree_sha256
from components.core.recipe import Recipe
from components.core.tracking import mlflow

TABLES = ("catalog", "annotations", "frames", "features")
ARTIFACTS = (
    "metrics.json", "confusion.svg", "report/index.html", "report/per_video.csv", "report/per_class.csv",
    "predictions/part-00000.parquet",
)  # fmt: skip
PER_SEQUENCE = "report/per_sequence.csv"  # of a recipe that tracks
DIGEST_LENGTH = 36  # MLflow's own limit for a data set's digest


def record(recipe: Recipe, model_digest: str, metrics: dict) -> str:
    """Logs the evaluation into the run tagged with this model's digest, or into a new one so tagged; returns its id.

    Metrics (but those of the slices, which the file holds) get the prefix test_; the files of data/RECIPE/evaluation
    (without the videos) go below evaluation/; each table's digest becomes a tag, the features also the run's input data
    set. MLflow keeps a parameter's first value: what the run lacks is added, and evaluation/recipe.json holds the
    recipe as it is now.
    """
    with tracking.explained():
        return _record(recipe, model_digest, metrics)


def _record(recipe: Recipe, model_digest: str, metrics: dict) -> str:
    digests = {table: tree_sha256(paths.data(recipe.name, table)) for table in TABLES}
    folder = paths.data(recipe.name, "evaluation")
    data = mlflow.data.meta_dataset.MetaDataset(
        mlflow.data.code_dataset_source.CodeDatasetSource(tags={"sightline.recipe": recipe.name}),
        name=f"{recipe.name}-features",
        digest=digests["features"][:DIGEST_LENGTH],
    )
    with tracking.run(recipe, "evaluation", model_digest=model_digest) as run_id:
        there = tracking.client().get_run(run_id).data.params
        params = tracking.flat_params(recipe)
        mlflow.log_params({key: value for key, value in params.items() if key not in there})
        mlflow.log_metrics({f"test_{name}": value for name, value in metrics.items() if name != "slices"})
        mlflow.set_tags({f"sightline.data.{table}": digest for table, digest in digests.items()})
        mlflow.log_input(data, context="test")
        for name in (*ARTIFACTS, *([PER_SEQUENCE] if (folder / PER_SEQUENCE).is_file() else [])):
            mlflow.log_artifact(str(folder / name), f"evaluation/{name}".rpartition("/")[0])
        mlflow.log_text(json_text(recipe.model_dump(mode="json")), "evaluation/recipe.json")
    return run_id
