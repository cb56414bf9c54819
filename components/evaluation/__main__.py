"""Measures the model on the held-out assets: metrics, plots, predictions, a report; recorded in its MLflow run."""

import sys

from components.core import paths
from components.core.files import atomic_json
from components.core.recipe import Recipe
from components.core.stage import run_stage
from components.core.tables import predictions_schema, read_table, write_shard
from components.evaluation import scores
from components.evaluation.moments import ranked_moments
from components.evaluation.record import record
from components.evaluation.report import Content
from components.evaluation.write import moment_pictures, write_plots, write_report
from components.tasks.classification.model import load_model
from components.tasks.classification.samples import load_samples

SPLIT = "test"
VERSION_DIGITS = 12  # of the model's digest: what predictions and the report call it


def main(recipe: Recipe) -> None:
    """Writes data/RECIPE/evaluation. Raises SightlineError where the split has no labelled frames of both sides."""
    folder, task = paths.data(recipe.name, "evaluation"), recipe.task
    model, samples = load_model(paths.data(recipe.name, "model")), load_samples(recipe, SPLIT)
    threshold = float(model.meta["threshold"])
    catalog = read_table(paths.data(recipe.name, "catalog")).to_pylist()
    assets = scores.scored_assets(samples, model.predict(samples), catalog, task, threshold)
    metrics = scores.test_metrics(assets, threshold)
    tracks = [(asset.seconds, asset.scores) for asset in assets]
    moments = ranked_moments(tracks, recipe.evaluation.moments, recipe.evaluation.gap_s)
    version = model.digest[:VERSION_DIGITS]
    content = Content(recipe, assets, metrics, moments, moment_pictures(recipe.name, assets, moments), version)

    atomic_json(folder / "metrics.json", metrics)
    write_plots(folder, content)
    predictions = scores.prediction_rows(assets, task, version)
    write_shard(folder / "predictions" / "part-00000.parquet", predictions, predictions_schema(task.classes))
    write_report(folder / "report", content)
    record(recipe, model.digest, metrics)
    figures = ", ".join(f"{name} {metrics[name]:.3f}" for name in ("frame_auc", "average_precision", "f1"))
    page = (folder / "report" / "index.html").relative_to(paths.workspace())
    print(f"evaluation: {figures} on {metrics['labelled_frames']} frames of {metrics['assets']} assets; report: {page}")


if __name__ == "__main__":
    sys.exit(run_stage("evaluation", __doc__, main))
