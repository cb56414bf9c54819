"""The champion on today's held-out assets: footage that came after it was judged is scored by it too.

Without that a challenger that learned from new footage would be compared on the old footage alone.
"""

import tempfile

import numpy as np
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from components.core import lineage, paths, profile, tracking
from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.promotion import boxes, tracks
from components.promotion.compare import Scores
from components.tasks.classification.labels import UNLABELLED
from components.tasks.parts import identity
from components.tasks.trained import Trained, load_trained

SPLIT = "test"


def misses(champion: Scores, challenger: Scores) -> bool:
    """Whether the challenger was judged on an asset of which the champion's own scores say nothing."""
    return not {asset for asset, _ in challenger.keys} <= {asset for asset, _ in champion.keys}


def rescored(recipe: Recipe, version: ModelVersion) -> tuple[Scores | None, str]:
    """(the champion's answers on the known frames that are held out today, ""), or (None, the reason).

    What it was trained or tuned on is left out. It cannot be asked where its model or its lineage is not in the store,
    or where today's frames, classes or vectors are made otherwise than those it learned from.
    """
    try:
        record, assets = lineage.kept(version)
        with tempfile.TemporaryDirectory() as folder:
            model = load_trained(tracking.client().download_artifacts(version.run_id, "model", folder))
            if reason := _unlike(recipe, model, record):
                return None, reason
            samples = model.samples(recipe, SPLIT)
            probabilities = model.predict(samples)
    except (SightlineError, MlflowException) as error:
        return None, f"it could not be asked about newer footage ({error.args[0]})"
    learned = {asset["asset_id"] for asset in assets if asset["split"] != SPLIT}
    counts = np.diff(samples.starts)
    names = np.repeat(np.array(samples.asset_ids, dtype=object), counts)
    metric, known = recipe.promotion.gates.metric, ~np.isin(names.astype(str), sorted(learned))
    if metric not in tracks.METRICS:
        known &= samples.labels != UNLABELLED
    known = np.flatnonzero(known)
    keys = [(names[row], int(samples.frame_index[row])) for row in known]
    scores = Scores(keys, samples.labels[known], probabilities[known], model.meta["threshold"])
    if metric in boxes.METRICS:
        scores = boxes.of_samples(scores, samples, known, len(recipe.task.classes))
    if metric in tracks.METRICS:
        scores = tracks.of_samples(scores, samples, known, recipe.task.classes)
    return scores, ""


def _unlike(recipe: Recipe, champion: Trained, record: dict) -> str:
    """Why the champion cannot read today's tables; "" where it can."""
    asked = recipe.model_dump(mode="json")
    for section in ("task", "frames"):
        if record["params"][section] != asked[section]:
            return f"newer footage has other {section} than it was trained for"
    if champion.own_weights:  # it makes its vectors from the frames
        now = identity(recipe.features, champion.own_weights)
    else:
        now = profile.vectors_identity(paths.data(recipe.name, "features"))
    then = champion.meta["vectors"]
    differing = [name for name in identity(recipe.features, "") if then.get(name) != now.get(name)]
    return f"newer footage has vectors of another {differing[0]} than it reads" if differing else ""
