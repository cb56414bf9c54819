"""The head `mllib`: logistic regression by Spark MLlib on the features table, turned into one of our heads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pyspark.ml.classification import LogisticRegression, LogisticRegressionModel
from pyspark.ml.functions import array_to_vector
from pyspark.sql import DataFrame, SparkSession

from components.core import tables
from components.core.errors import SightlineError
from components.core.recipe import Recipe, Training
from components.core.spark import spark_session
from components.tasks.classification.fit import Progress, class_weights, figures_of, predict
from components.tasks.classification.heads import Head
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.model import head_form
from components.tasks.classification.samples import Source, load_samples, split_source
from components.training.outcome import Outcome, leave, needs_validation, threshold_of

PARTITION = 100_000  # rows: up to so many are one partition, whose sums do not depend on which worker is faster


def train(recipe: Recipe, params: Training, work: Path) -> None:
    """Fits on Spark and leaves the model's files in `work`/model; no Horovod, no epochs but MLlib's iterations."""
    with spark_session("training") as session:
        judged = _run(session, recipe, params, ("train",), True) if needs_validation(recipe, params) else None
        final = _run(session, recipe, params, ("train", "val"), False) if params.refit else judged
    leave(recipe, params, work, judged or final, final, [])


def _run(session: SparkSession, recipe: Recipe, params: Training, splits: tuple[str, ...], judged: bool) -> Outcome:
    model = fitted(labelled(session, split_source(recipe, *splits), params), params)
    losses = [float(loss) for loss in model.summary.objectiveHistory]
    history = [{"epoch": number, "train_loss": loss} for number, loss in enumerate(losses, 1)]
    form, state, threshold = head_form(recipe, params, model.numFeatures), head_state(model), None
    if judged:
        head, validation = Head(**form), load_samples(recipe, "val")
        head.load_state_dict(state)
        probabilities = predict(head, validation)
        figures = figures_of(validation.labels, probabilities, recipe.task.positive_index)
        history[-1] |= {f"val_{name}": value for name, value in figures.items()}
        threshold = threshold_of(recipe, validation.labels, probabilities)
    progress = Progress(len(losses), history, len(losses))
    return Outcome(form, {f"head.{name}": tensor for name, tensor in state.items()}, progress, threshold)


def labelled(session: SparkSession, source: Source, params: Training) -> DataFrame:
    """The source's labelled rows as Spark ML wants them: features, label (class index), weight.

    Vectors are read by Spark; ids and labels come from here. Raises SightlineError where a class has no row: MLlib
    learns as many classes as it sees.
    """
    kinds = source.recipe.task.classes
    rows = [np.empty(0, np.int64)]
    names: list[str] = []
    for group in source.groups:
        labels = source.labels(group)
        ids = pa.concat_tables(tables.read_shard(file, ["frame_id"]) for file in group)["frame_id"].to_pylist()
        kept = labels != UNLABELLED
        names += [name for name, keep in zip(ids, kept, strict=True) if keep]
        rows.append(labels[kept])
    labels = np.concatenate(rows)
    counts = np.bincount(labels, minlength=len(kinds))
    if not counts.all():
        raise SightlineError(
            f"training: no labelled frame of class {kinds[int(np.argmin(counts))]!r} in the training split",
            "label some, or correct task.classes and ingest.split",
        )
    weights = class_weights(torch.from_numpy(counts), params.balanced).double().numpy()[labels]
    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "10000")
    known = session.createDataFrame(
        pa.table({"frame_id": names, "label": labels.astype(np.float64), "weight": weights})
    )
    files = [str(file) for group in source.groups for file in group]
    vectors = session.read.parquet(*files).select("frame_id", array_to_vector("vector").alias("features"))
    joined = vectors.join(known, "frame_id").orderBy("frame_id")
    return joined.coalesce(max(1, len(labels) // PARTITION)).select("features", "label", "weight").cache()


def fitted(rows: DataFrame, params: Training) -> LogisticRegressionModel:
    """MLlib's own model: binomial for two classes, multinomial for more, standardising as MLlib does."""
    estimator = LogisticRegression(
        maxIter=params.max_iter, regParam=params.penalty, elasticNetParam=params.l1_ratio, weightCol="weight"
    )
    return estimator.fit(rows)


def head_state(model: LogisticRegressionModel) -> dict[str, torch.Tensor]:
    """The tensors of a linear `Head` that gives MLlib's probabilities: its coefficients are of the raw vectors."""
    weight, bias = model.coefficientMatrix.toArray(), model.interceptVector.toArray()
    if len(weight) == 1:  # binomial: the log odds of class 1 against class 0
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.concatenate([[0.0], bias])
    dimension = weight.shape[1]
    return {
        "mean": torch.zeros(dimension),
        "deviation": torch.ones(dimension),
        "frame.1.weight": torch.from_numpy(weight.astype(np.float32)),
        "frame.1.bias": torch.from_numpy(bias.astype(np.float32)),
    }
