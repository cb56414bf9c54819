"""A detector judged where all pictures show something: figures of boxes, plots, a page without what is undefined."""

import csv
import json
import re

import numpy as np
import pytest

from components.core.errors import SightlineError
from components.core.recipe import load_recipe
from components.core.tables import read_table
from components.evaluation import scores
from components.evaluation.__main__ import main
from components.evaluation.report import render
from components.tasks.detection.metrics import matches
from components.tasks.detection.model import load_detector
from tests.deployment import detecting, making
from tests.evaluation.pages import made_content
from tests.evaluation.test_report import headings
from tests.evaluation.test_stage import Page
from tests.tasks.detection.drawn import RECIPE

UNDEFINED = {"frame_auc", "average_precision", "f1", "precision", "recall", "f1_macro", "roc_auc_macro"}
BOXES = {"ap50", "ap", "corloc", "mean_iou", "recall50", "box_precision", "box_recall", "box_f1", "boxes"}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """(workspace, what the stage said) after the evaluation of a detector of pictures that all show something."""
    root = tmp_path_factory.mktemp("evaluated") / "workspace"
    detecting.make_shown(root, {"train": 5, "val": 5, "test": 25})
    making.give_store(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SIGHTLINE_WORKSPACE", str(root))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        main(load_recipe(RECIPE))
        yield root


def out(root):
    return root / "data" / RECIPE / "evaluation"


def rows_of(file):
    with open(file) as handle:
        return list(csv.DictReader(handle))


def words(text):
    """A page without its pictures, whose letters may spell anything."""
    return re.sub(r"data:image/jpeg[^\"]*", "", text)


def test_figures_are_those_of_boxes_and_none_is_undefined(evaluated):
    metrics = json.loads((out(evaluated) / "metrics.json").read_text())
    assert not UNDEFINED & set(metrics) and BOXES | {"accuracy", "log_loss", "threshold"} <= set(metrics)
    assert all(np.isfinite(value) for value in metrics.values())
    assert (metrics["labelled_frames"], metrics["frames"], metrics["true_negatives"]) == (20, 25, 0)
    assert metrics["accuracy"] == metrics["true_positives"] / 20
    assert 0.5 < metrics["ap50"] <= 1 and 0.5 < metrics["box_f1"] <= 1
    model = load_detector(evaluated / "data" / RECIPE / "model")
    samples = model.samples(load_recipe(RECIPE), "test")
    known = [row for row, truth in enumerate(samples.truths) if truth is not None]
    found = type(samples.found)(*(part[known] for part in samples.found))
    right = matches([samples.truths[row] for row in known], found, 2)
    assert right.precision() == pytest.approx(metrics["ap50"])
    figures = right.called(detecting.THRESHOLD)
    assert {name: metrics[name] for name in figures} == figures


def test_plots_are_all_there_and_the_curve_is_that_of_boxes(evaluated):
    metrics = json.loads((out(evaluated) / "metrics.json").read_text())
    assert (out(evaluated) / "roc.csv").read_text() == "false_positive_rate,true_positive_rate,threshold\n"
    rows = rows_of(out(evaluated) / "precision_recall.csv")
    curve = [{key: float(value) for key, value in row.items()} for row in rows]
    assert curve[-1] == {"recall": 0, "precision": 1, "threshold": float("inf")}
    called = [row for row in curve if row["threshold"] >= metrics["threshold"]][0]
    assert called["recall"] == pytest.approx(metrics["box_recall"])
    calls = [(row["actual"], row["predicted"]) for row in rows_of(out(evaluated) / "confusion.csv")]
    assert len(calls) == 20 and {actual for actual, _ in calls} == {"red"}
    assert (out(evaluated) / "confusion.svg").read_text().startswith("<svg ")


def test_predictions_hold_the_boxes(evaluated):
    table = read_table(out(evaluated) / "predictions")
    assert len(table) == 25 and table["truth"].null_count == table["label"].null_count == 5


def test_the_page_shows_what_is_defined(evaluated):
    text = words((out(evaluated) / "report" / "index.html").read_text())
    shown = headings(text)
    assert shown[:6] == ["AP at IoU .5", "CorLoc", "Mean IoU", "Recall of boxes", "F1 of boxes", "Accuracy"]
    drawings = [attributes for name, attributes in Page(text).tags if name == "svg"]
    assert [one["class"] for one in drawings] == ["curve", "matrix"]
    assert "Precision over recall of boxes" in drawings[0]["aria-label"]
    assert "labels of these pictures are of one side only" in text
    assert "ROC" not in text and not re.search(r"\bnan\b", text.lower())
    rows = rows_of(out(evaluated) / "report" / "per_video.csv")
    assert len(rows) == 25 and sum(bool(row["ap50"]) for row in rows) == 20
    assert {row["class"]: row["roc_auc"] for row in rows_of(out(evaluated) / "report" / "per_class.csv")} == {
        "background": "", "red": "",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("classes", "positive", "labels"),
    [
        (["empty", "animal"], "animal", [1]),
        (["empty", "animal"], None, [1]),
        (["empty", "animal", "plant"], "animal", [1]),
        (["empty", "animal", "plant"], "plant", [1, 0]),
    ],
    ids=["two classes", "none of them positive", "three, one occurs", "the positive one does not occur"],
)  # fmt: skip
@pytest.mark.parametrize("videos", [0, 3], ids=["pictures", "videos"])
def test_pages_of_one_side(classes, positive, labels, videos):
    content = made_content(classes, positive, videos=videos, labels=(labels * 240)[: 240 if videos else 60], boxes=True)
    assert not content.two_sided and not UNDEFINED & set(content.metrics)
    text = words(render(content))
    shown = headings(text)
    assert shown[5] == "Accuracy" and "Class by class" not in shown and "ROC" not in text and "AUC" not in text
    assert ("None is plant" if positive == "plant" else "All are animal") in text
    assert "AP of boxes" in text, "of slices, and of videos"
    sites = content.metrics["slices"]["site"]
    assert sum(site["assets"] for site in sites.values()) == len(content.assets)
    assert all(0 <= site["ap50"] <= 1 for site in sites.values())


def test_a_detector_with_frames_of_both_sides_has_both_kinds_of_figures():
    content = made_content(["empty", "animal"], "animal", boxes=True)
    assert UNDEFINED - {"f1_macro", "roc_auc_macro"} | BOXES <= set(content.metrics)
    text = render(content)
    shown = headings(text)
    assert shown[4] == "F1 of boxes" and "Picture AUC" in shown and "Average precision" in shown
    assert "ROC curve" in text and "Precision over recall; average precision" in text
    part = content.metrics["slices"]["light"]["day"]
    assert part["ap50"] is not None and part["frame_auc"] is not None
    empty = made_content(["empty", "animal"], "animal", labels=[0, 0, 1] * 20, boxes=True).metrics["slices"]["site"]
    assert [site["ap50"] is None for site in empty.values()].count(True) == 2, "no true box there"


def test_without_a_true_box_one_side_is_still_refused():
    with pytest.raises(SightlineError, match="ingest.split"):
        made_content(["empty", "animal"], "animal", labels=[0] * 60, boxes=True)


def test_the_threshold_of_a_detector_of_many_classes_is_that_of_its_boxes():
    assets = made_content(["empty", "animal", "plant"], boxes=True).assets
    assert scores.test_metrics(assets, 0.25)["threshold"] == 0.25
    figures = scores.measured(assets, [], 0.25)
    assert figures["box_recall"] > scores.measured(assets, [], None)["box_recall"]
