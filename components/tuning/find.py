"""The search of one recipe: trials on Spark, on record as they finish, and in MLflow."""

import json
import logging
import math
import warnings
from functools import partial

from hyperopt import SparkTrials

from components import tracks
from components.core import paths, tracking
from components.core.files import atomic_json, tree_sha256
from components.core.progress import progress
from components.core.recipe import Recipe
from components.core.spark import spark_session
from components.core.workcache import work_key, work_path
from components.tasks import backbones, classification, detection, featurizer
from components.tuning import search, trial

TABLES = ("features", "annotations", "catalog")
WORST = 1e9  # the loss of a trial that has none
# Of the training section, what a trial depends on.
TRAINING = {
    "head", "hidden", "window_s", "l1_ratio", "batch_size", "lr", "penalty", "dropout", "seed", "workers", "patience",
    "balanced", "finetune", "augment", "detector", "tracker",
}  # fmt: skip


# Hyperopt's own account of each generation; ours is the progress line.
logging.getLogger("hyperopt-spark").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", message="Spark session is not provided")


def find(recipe: Recipe, names: list[str]) -> list[dict]:
    """All trials over the training parameters `names`, in order: {"number", "params", "loss", "metrics"}.

    Those on record are not run again.
    """
    space = search.hyperopt_space({name: recipe.tuning.space[name] for name in names})
    key = search_key(recipe)
    record = work_path("tuning", key, ".json")
    finished = json.loads(record.read_text()) if record.is_file() else []
    total = recipe.tuning.trials
    if len(finished) < total:
        with spark_session("tuning", cores=recipe.tuning.parallelism) as spark:
            make = partial(SparkTrials, parallelism=recipe.tuning.parallelism, spark_session=spark)
            with progress(f"tuning@{recipe.name}", total, "trials") as ticker:
                while len(finished) < total:
                    ticker.update(len(finished))
                    # Whole generations, wherever an earlier search of fewer trials ended: its suggestions are the same.
                    begun = len(finished) % recipe.tuning.parallelism
                    count = min(recipe.tuning.parallelism - begun, total - len(finished))
                    points = search.suggest(space, finished, count, recipe.tuning, len(finished) - begun)
                    results = search.evaluate(space, points, partial(trial.run_trial, recipe), make)
                    for point, result in zip(points, results, strict=True):
                        finished.append({"number": len(finished), "params": point, **_finite(result)})
                    atomic_json(record, finished)
                ticker.update(total)
    log(recipe, key, finished[:total])
    return finished[:total]


def _finite(result: dict) -> dict:
    """The loss and metrics of a trial as JSON can hold them: one that diverged is the worst, and its search goes on."""
    metrics = {name: value for name, value in result["metrics"].items() if math.isfinite(value)}
    return {"loss": result["loss"] if math.isfinite(result["loss"]) else WORST, "metrics": metrics}


def search_key(recipe: Recipe) -> str:
    """The key of the search's record. The number of trials is not in it: asking for more goes on where fewer ended."""
    whole = recipe.learns_from_frames
    made_of = (*TABLES, "frames") if whole else TABLES
    digests = [tree_sha256(paths.data(recipe.name, table)) for table in made_of]
    tuning = recipe.tuning.model_dump(mode="json", exclude={"trials"})
    training = recipe.training.model_dump(mode="json", include=TRAINING)
    features = recipe.features.model_dump(mode="json") if whole else None
    code = (search, trial, classification, featurizer, backbones, *((detection, tracks) if recipe.finds_boxes else ()))
    return work_key(digests[0], [digests, tuning, training, features, recipe.task.model_dump(mode="json")], *code)


def log(recipe: Recipe, key: str, trials: list[dict]) -> None:
    """The search as one MLflow run, its trials nested in it."""
    with tracking.run(recipe, "tuning", tuning=key) as parent:
        for row in trials:
            name = f"trial-{row['number']:03d}"
            with tracking.run(recipe, name, parent=parent, tuning_trial=f"{key}-{row['number']}"):
                tracking.mlflow.log_params(row["params"])
                tracking.mlflow.log_metrics({"loss": row["loss"], **row["metrics"]})
