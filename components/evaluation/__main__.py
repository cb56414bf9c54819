"""Measures the model on the held-out assets: metrics, plots, predictions, a report; recorded in its MLflow run."""

import sys

from components.core import paths
from components.core.files import atomic_json
from components.core.lineage import short_version
from components.core.recipe import Recipe
from components.core.stage import run_stage
from components.core.tables import read_table, write_shard
from components.evaluation import curves, scores, tracks
from components.evaluation.content import Content
from components.evaluation.moments import PAIRS, chosen_moments
from components.evaluation.record import record
from components.evaluation.write import moment_pictures, write_plots, write_report
from components.tasks.trained import load_trained

SPLIT = "test"
HEADLINE = ("accuracy", "f1_macro", "roc_auc_macro")
HEADLINE_OF_POSITIVE = ("frame_auc", "average_precision", "f1")
HEADLINE_OF_BOXES = ("ap50", "corloc", "mean_iou")
HEADLINE_OF_TRACKS = ("hota", "mota", "idf1")


def main(recipe: Recipe) -> None:
    """Writes data/RECIPE/evaluation. Raises SightlineError where the split's labels are of one side only, and there are
    no boxes to judge a detector by."""
    folder, task = paths.data(recipe.name, "evaluation"), recipe.task
    model = load_trained(paths.data(recipe.name, "model"))
    samples = model.samples(recipe, SPLIT)
    threshold = model.meta["threshold"]
    catalog = read_table(paths.data(recipe.name, "catalog")).to_pylist()
    assets = scores.scored_assets(samples, model.predict(samples), catalog, task, threshold)
    followed = tracks.followed(assets, task)
    metrics = scores.measured(assets, catalog, threshold) | followed.figures
    pairs = curves.confused_pairs(curves.confusion_counts(assets, task), PAIRS)
    moments = chosen_moments(assets, pairs, recipe.evaluation.moments, recipe.evaluation.gap_s)
    version = short_version(model.digest)
    pictures = moment_pictures(recipe.name, assets, moments)
    content = Content(recipe, assets, metrics, moments, pictures, version, followed.rows)

    atomic_json(folder / "metrics.json", metrics)
    write_plots(folder, content)
    predictions, schema = scores.prediction_rows(assets, task, version), scores.schema(assets, task)
    write_shard(folder / "predictions" / "part-00000.parquet", predictions, schema)
    write_report(folder / "report", content)
    record(recipe, model.digest, metrics)
    headline = HEADLINE if task.positive is None else HEADLINE_OF_POSITIVE
    headline += HEADLINE_OF_BOXES if recipe.finds_boxes else ()
    headline = HEADLINE_OF_TRACKS + headline if task.tracks else headline
    figures = ", ".join(f"{name} {metrics[name]:.3f}" for name in headline if name in metrics)
    page = (folder / "report" / "index.html").relative_to(paths.workspace())
    print(f"evaluation: {figures} on {metrics['labelled_frames']} frames of {metrics['assets']} assets; report: {page}")


if __name__ == "__main__":
    sys.exit(run_stage("evaluation", __doc__, main))
