"""One promotion from the stages' files to the registry."""

from collections.abc import Collection
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pyarrow as pa
from mlflow.entities.model_registry import ModelVersion

from components.core import lineage, profile, tracking
from components.core.errors import SightlineError, UsageError
from components.core.files import read_json, tree_sha256, value_sha256
from components.core.recipe import Recipe
from components.core.tables import read_table, shards
from components.promotion import boxes, registry, tracks
from components.promotion.compare import Scores
from components.promotion.decide import Champion, Decision, decide
from components.promotion.inputs import asset_slices, failed_checks, gate_metric, judged_scores, numbers
from components.promotion.rescore import misses, rescored
from components.tasks.classification.metrics import figure_names
from components.tasks.trained import Trained, load_trained


def promote(recipe: Recipe, data: Path) -> tuple[ModelVersion, Decision]:
    """Decides on the model in `data`, registers it and moves the aliases; the caller holds the registry's lock.

    A model that was decided on before, from the same inputs and against the same champion, or that is itself the
    champion, keeps its decision: a promotion that was killed is finished, not made twice.
    """
    model = load_trained(data / "model")
    metrics = numbers(read_json(data / "evaluation" / "metrics.json", "run the evaluation stage"))
    failed = failed_checks(read_json(data / "validation.json", "run the validation stage"))
    predictions = data / "evaluation" / "predictions"
    predictions_digest = tree_sha256(predictions)
    gates = recipe.promotion.gates
    traced = lineage.record(recipe, data, model.digest, tracking.origin())
    gaps = lineage.gaps(traced)
    inputs = value_sha256([predictions_digest, metrics, failed, gaps, gates.model_dump(mode="json")])
    name = recipe.registered_name

    champion = tracking.version_by_alias(name, tracking.CHAMPION)
    champion_digest = champion and champion.tags.get(tracking.MODEL_DIGEST)
    stored = registry.stored_decision(tracking.version_by_digest(name, model.digest))
    same = stored and stored[0] == inputs and (champion_digest == model.digest or stored[1] == champion_digest)
    if same:
        against, decision = stored[1:]
    else:
        against, decision = champion_digest, _decide(recipe, model, metrics, failed, gaps, predictions, champion)
    run = registry.training_run(recipe, model.digest, model.folder, predictions)
    registry.keep_lineage(run, traced, lineage.assets(data), partial(_profile, recipe, data, predictions))
    tags = {tracking.MODEL_DIGEST: model.digest, registry.PREDICTIONS_DIGEST: predictions_digest}
    version = registry.register(name, run, tags | registry.decision_tag(inputs, against, decision))
    registry.settle(name, version, decision)
    return version, decision


def _decide(
    recipe: Recipe,
    model: Trained,
    metrics: dict,
    failed: list[str],
    gaps: list[str],
    predictions: Path,
    champion: ModelVersion | None,
) -> Decision:
    task, gates = recipe.task, recipe.promotion.gates
    metric, table = gate_metric(gates.metric, task), read_table(predictions)
    if gates.metric not in metrics and gates.metric in tracks.METRICS:
        raise UsageError(
            f"promotion.gates.metric: {gates.metric} is not defined: on the held-out frames nothing is to be followed",
            "hold out sequences with tracks; see ingest.split",
        )
    if gates.metric not in metrics and gates.metric in figure_names(len(task.classes), task.positive_index):
        raise UsageError(
            f"promotion.gates.metric: {gates.metric} is not defined: the held-out frames are of one side only",
            f"gate by {boxes.METRICS[0]}, or hold out frames of both sides; see ingest.split",
        )
    try:
        scores = judged_scores(table, task, model.meta["threshold"], gates.metric)
        slices = asset_slices(table)
    except KeyError as error:
        raise SightlineError(
            f"{predictions} and {model.folder}: no {error} in them", "run the training and evaluation stages again"
        ) from None
    rival = champion and _champion(recipe, champion, model, scores)
    return decide(gates, metrics, failed, scores, model.digest, rival, metric, slices, gaps)


def _profile(recipe: Recipe, data: Path, predictions: Path, assets: Collection[str] | None) -> pa.Table:
    return profile.profile(data, assets, profile.scored(shards(predictions), recipe.task.classes))


def _champion(recipe: Recipe, version: ModelVersion, challenger: Trained, judged: Scores) -> Champion:
    number, digest = int(version.version), version.tags.get(tracking.MODEL_DIGEST)
    table, meta, missing = registry.evidence(version)
    if table is None:
        return Champion(number, digest, None, missing)
    try:
        own = judged_scores(table, recipe.task, meta["threshold"], recipe.promotion.gates.metric)
    except KeyError as error:
        return Champion(number, digest, None, f"its predictions and model lack {error}")
    if digest == challenger.digest or not misses(own, judged):
        return Champion(number, digest, own)
    today, note = rescored(recipe, version)
    return Champion(number, digest, today or own, note=note)


def decision_file(version: ModelVersion, decision: Decision) -> dict:
    """What decision.json holds."""
    digest = version.tags[tracking.MODEL_DIGEST]
    return asdict(decision) | {"model_version": int(version.version), "model_digest": digest}
