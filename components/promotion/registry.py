"""MLflow's registry: one version per model digest, its decision in its tags, the aliases.

The order is what makes a killed promotion safe to repeat: the version appears together with its decision, then the
aliases move, then the version is marked as settled. Every step looks first whether it is done already.
"""

import json
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

from components.core import lineage, paths, profile, tracking
from components.core.errors import SightlineError
from components.core.files import file_sha256, json_text, value_sha256
from components.core.recipe import Recipe
from components.core.tables import read_shard
from components.promotion import trail
from components.promotion.decide import Decision
from components.tasks.trained import tensors_file

PREDICTIONS_DIGEST = "sightline.predictions_digest"
DECISION = "sightline.decision"
SETTLED = "sightline.decision_settled"
MODEL_PATH, EVALUATION_PATH = "model", "evaluation"
META_FILE = f"{MODEL_PATH}/model.json"
LOCK_WAIT_S = 600


@contextmanager
def locked(name: str) -> Iterator[None]:
    """One promotion of a registered model at a time on this machine; waits for the other one."""
    file = paths.state("locks", f"promotion-{name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(file, timeout=LOCK_WAIT_S):
            yield
    except Timeout:
        problem = f"{file}: another promotion of {name} has not ended in {LOCK_WAIT_S} s"
        raise SightlineError(problem, "see what holds it, end it, and run the stage again") from None


def stored_decision(version: ModelVersion | None) -> tuple[str, str | None, Decision] | None:
    """(digest of what was decided on, digest of the champion then, the decision) of a version; None if it has none."""
    if version is None or DECISION not in version.tags:
        return None
    body = json.loads(version.tags[DECISION])
    decision = body["decision"]
    return body["inputs"], body["champion"], Decision(**decision | {"reasons": tuple(decision["reasons"])})


def evidence(version: ModelVersion) -> tuple[pa.Table | None, dict, str]:
    """(predictions table, model.json, "") that a version's run holds, or (None, {}, the reason) where it does not."""
    if not version.run_id:
        return None, {}, "no run belongs to it"
    try:
        files = [file for path in (EVALUATION_PATH, MODEL_PATH) for file in _artifacts(version.run_id, path)]
        predictions = sorted(file for file in files if file.endswith(".parquet"))
        if not predictions or META_FILE not in files:
            return None, {}, "its run does not hold its predictions and model"
        with tempfile.TemporaryDirectory() as folder:
            local = [tracking.client().download_artifacts(version.run_id, file, folder) for file in predictions]
            table = pa.concat_tables(read_shard(file) for file in local)
            meta = tracking.client().download_artifacts(version.run_id, META_FILE, folder)
            return table, json.loads(Path(meta).read_text()), ""
    except MlflowException as error:
        return None, {}, f"its run cannot be read ({error.message})"


def training_run(recipe: Recipe, digest: str, model: Path, predictions: Path) -> str:
    """Id of the run that holds the model. What the store has lost, or never had, is logged into it (or a new one).

    Raises SightlineError where the model that the store holds has other bytes than `digest` says.
    """
    run = tracking.find_run(recipe.name, model_digest=digest)
    whole = run and _artifacts(run, MODEL_PATH) and _artifacts(run, EVALUATION_PATH)
    if whole:
        _verify(run, digest, tensors_file(model).name)
        return run
    with tracking.run(recipe, "promotion", model_digest=digest) as run:
        if not _artifacts(run, MODEL_PATH):
            mlflow.log_artifacts(str(model), MODEL_PATH)
        if not _artifacts(run, EVALUATION_PATH):
            mlflow.log_artifacts(str(predictions), f"{EVALUATION_PATH}/predictions")
    return run


def _verify(run: str, digest: str, tensors: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = tracking.client().download_artifacts(run, f"{MODEL_PATH}/{tensors}", folder)
        if file_sha256(file) != digest:
            raise SightlineError(
                f"MLflow run {run}: its {MODEL_PATH}/{tensors} is not the model that was trained ({digest[:12]})",
                "see who changed it; remove the run's artifact `model`, and it is logged again",
            )


def keep_lineage(
    run: str, record: dict, assets: pa.Table, reference: Callable[[Collection[str] | None], pa.Table]
) -> None:
    """Logs the lineage of the run's model into it, and the profile that `reference` makes of its footage: of these
    assets, or of all (None).

    A record without a gap stays: it is from when the model was made.
    """
    known = lineage.stored(run)
    whole = known and (not lineage.gaps(known[0]) or lineage.gaps(record))
    if whole and profile.stored(run) is None:
        profile.keep(run, reference({asset["asset_id"] for asset in known[1]}))
    if whole:
        return
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(assets, Path(folder) / lineage.ASSETS)
        Path(folder, lineage.RECORD).write_text(json_text(record))  # last: with it the lineage is whole
        profile.keep(run, reference(None))
        for name in (lineage.ASSETS, lineage.RECORD):
            tracking.client().log_artifact(run, str(Path(folder) / name), lineage.FOLDER)


def decision_tag(inputs: str, champion: str | None, decision: Decision) -> dict[str, str]:
    """The tag that keeps a decision with what it was made from; `stored_decision` reads it."""
    return {DECISION: json_text({"inputs": inputs, "champion": champion, "decision": asdict(decision)})}


def register(name: str, run: str, tags: dict[str, str]) -> ModelVersion:
    """The version with this model digest and these tags, made from the run's model where there is none yet.

    A decision that differs from the stored one takes its place and is not settled.
    """
    client = tracking.client()
    version = tracking.version_by_digest(name, tags[tracking.MODEL_DIGEST])
    if version is None:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
                raise
        source = f"{client.get_run(run).info.artifact_uri}/{MODEL_PATH}"
        return client.create_model_version(name, source, run, tags=tags)
    for key, value in tags.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(name, version.version, key, value)
    return client.get_model_version(name, version.version)


def settle(name: str, version: ModelVersion, decision: Decision) -> None:
    """Moves the aliases as the decision says, once: an alias that somebody moved afterwards is left where it is."""
    client = tracking.client()
    decided = value_sha256(version.tags[DECISION])
    if version.tags.get(SETTLED) == decided:
        return
    client.set_registered_model_alias(name, tracking.CHALLENGER, version.version)
    if decision.promoted:
        trail.move(name, int(version.version), "promotion", " ".join(decision.reasons))
    client.set_model_version_tag(name, version.version, SETTLED, decided)


def _artifacts(run: str, path: str) -> list[str]:
    """Paths of all files below `path` among a run's artifacts."""
    files: list[str] = []
    for entry in tracking.client().list_artifacts(run, path):
        files += _artifacts(run, entry.path) if entry.is_dir else [entry.path]
    return files
