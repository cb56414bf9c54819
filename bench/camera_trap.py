"""Animal or empty on real camera-trap pictures, each site left out in turn, beside the frozen baseline.

Needs SIGHTLINE_MIRROR with camera-trap/ and weights/mobilenet_v2.pth, and runs the project's own stages in a workspace
of its own, ingest to evaluation, with the recipe `sensor` at the settings of SETTINGS. Learning rate and penalty are
Hyperopt's, by the pictures of one of the two sites that are not left out; the model is then trained on both.

- baseline: frozen MobileNetV2 features at 224x224, mean-pooled, standardised, and scikit-learn's logistic regression
  with its own defaults and balanced classes, trained on the same two sites.
- few: both kinds of features under that same regression, trained on 3 pictures with an animal and 12 without, the
  mean over 20 draws from the two sites.
"""

import argparse
import copy
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, log_loss, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from components.core import paths, tables
from components.core.files import atomic_json, atomic_text
from components.core.recipe import load_recipe
from components.tasks.classification.samples import load_samples

ROOT = Path(__file__).resolve().parents[1]
SITES = ("vj_ga_hu_1", "vj_ga_hu_2", "vj_ga_hu_3")
RECIPE, PLAIN = "camera-trap", "camera-trap-baseline"
SETTINGS = {
    "source": "camera-trap",
    "frames": {"fps": None, "max_side": 640},
    "features": {"backbone": "mobilenet_v2", "weights": "imagenet", "size": [360, 640], "parts": ["mean", "max"]},
    "validation": {"min_frames_per_class": 4},
    "training": {"head": "logistic", "epochs": 60, "patience": 10, "batch_size": 16, "refit": True},
    "tuning": {"trials": 8, "epochs": 20},
}
BASELINE = {"size": [224, 224], "parts": ["mean"]}
FIRST, SECOND = ("ingest", "frames", "features"), ("validation", "tuning", "training", "evaluation")
ANIMALS, EMPTY, DRAWS = 3, 12, 20


def recipe_body(left_out: str) -> dict:
    """The recipe's mapping with one site as test and the next as validation."""
    body = copy.deepcopy(yaml.safe_load((ROOT / "params.yaml").read_text())["recipes"]["sensor"])
    for section, values in SETTINGS.items():
        body[section] = body[section] | values if isinstance(values, dict) else values
    validation = SITES[(SITES.index(left_out) + 1) % len(SITES)]
    body["ingest"]["split"] |= {"test": [f"{left_out}/*"], "val": [f"{validation}/*"]}
    return body


def prepare(workspace: Path, left_out: str) -> None:
    """Writes params.yaml with the recipe and, under the second name, the baseline's features."""
    body = recipe_body(left_out)
    plain = copy.deepcopy(body)
    plain["features"] |= BASELINE
    atomic_text(workspace / "params.yaml", yaml.safe_dump({"recipes": {RECIPE: body, PLAIN: plain}}))
    atomic_text(workspace / "dvc.yaml", "stages: {}\n")


def run(workspace: Path, stage: str, recipe: str) -> None:
    """Runs a stage as a command; what it prints goes to stderr."""
    command = [sys.executable, "-m", f"components.{stage}", "--recipe", recipe]
    environment = {**os.environ, "SIGHTLINE_WORKSPACE": str(workspace), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=workspace, env=environment, stdout=sys.stderr, check=True)


def vectors(recipe: str, *splits: str) -> tuple[np.ndarray, np.ndarray]:
    """The features (N, D) and labels (N,) of these splits, 1 an animal."""
    samples = load_samples(load_recipe(recipe), *splits)
    return samples.vectors, samples.labels


def regression(inputs: np.ndarray, labels: np.ndarray):
    """The baseline's head, trained."""
    head = LogisticRegression(class_weight="balanced", max_iter=3000)
    return make_pipeline(StandardScaler(), head).fit(inputs, labels)


def few_labels(recipe: str) -> float:
    """The mean average precision on the site left out of regressions trained on a few pictures each."""
    inputs, labels = vectors(recipe, "train", "val")
    test, truth = vectors(recipe, "test")
    found = []
    for draw in range(DRAWS):
        random = np.random.default_rng(draw)
        kept = np.concatenate([
            random.choice(np.flatnonzero(labels == label), count, replace=False)
            for label, count in ((1, ANIMALS), (0, EMPTY))
        ])  # fmt: skip
        scores = regression(inputs[kept], labels[kept]).decision_function(test)
        found.append(average_precision_score(truth, scores))
    return float(np.mean(found))


def figures(labels: np.ndarray, scores: np.ndarray) -> dict:
    """Average precision with its 95% bootstrap interval over pictures, AUC, log loss, and wrong calls at 0.5."""
    random, found = np.random.default_rng(0), []
    while len(found) < 1000:
        at = random.integers(len(labels), size=len(labels))
        if 0 < labels[at].sum() < len(at):
            found.append(average_precision_score(labels[at], scores[at]))
    return {
        "average_precision": float(average_precision_score(labels, scores)),
        "interval": [float(value) for value in np.quantile(found, (0.025, 0.975))],
        "auc": float(roc_auc_score(labels, scores)),
        "log_loss": float(log_loss(labels, scores)),
        "wrong": int(((scores >= 0.5) != labels).sum()),
    }


def ours(workspace: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of the site left out, as the evaluation stage wrote and ingest labelled them."""
    truth = {row["asset_id"]: row["class"] for row in tables.read_table(paths.data(RECIPE, "annotations")).to_pylist()}
    rows = tables.read_table(workspace / "data" / RECIPE / "evaluation" / "predictions").to_pylist()
    return np.array([truth[row["asset_id"]] == "animal" for row in rows]), np.array(
        [row["prob_animal"] for row in rows]
    )


def measure(workspace: Path, left_out: str) -> dict:
    """Both methods on the site left out, each trained on the other two."""
    prepare(workspace, left_out)
    for recipe, stages in ((RECIPE, (*FIRST, *SECOND)), (PLAIN, FIRST)):
        for stage in stages:
            run(workspace, stage, recipe)
    labels, scores = ours(workspace)
    inputs, classes = vectors(PLAIN, "train", "val")
    test, truth = vectors(PLAIN, "test")
    return {
        "site": left_out,
        "pictures": len(labels),
        "animals": int(labels.sum()),
        "sightline": figures(labels, scores) | {"few": few_labels(RECIPE)},
        "baseline": figures(truth, regression(inputs, classes).predict_proba(test)[:, 1]) | {"few": few_labels(PLAIN)},
    }


def main() -> None:
    """Prints a table, a line per site and method; with --json also writes it."""
    parser = argparse.ArgumentParser(prog="python -m bench camera_trap", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--workspace", type=Path, help="keep the workspace here (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="camera-trap-") as temporary:
        workspace = (options.workspace or Path(temporary)).resolve()
        workspace.mkdir(parents=True, exist_ok=True)
        os.environ["SIGHTLINE_WORKSPACE"] = str(workspace)
        results = [measure(workspace, site) for site in SITES]
    print("site left out  pictures  animals  method     AP     95%            AUC    log loss  wrong  AP of 15 labels")
    for row in results:
        for method in ("baseline", "sightline"):
            of = row[method]
            low, high = of["interval"]
            print(
                f"{row['site']:14} {row['pictures']:8}  {row['animals']:7}  {method:9}  {of['average_precision']:.3f}  "
                f"{low:.3f} to {high:.3f} {of['auc']:.3f}  {of['log_loss']:8.3f}  {of['wrong']:5}  {of['few']:.3f}"
            )
    if options.json:
        atomic_json(options.json, results)


if __name__ == "__main__":
    main()
