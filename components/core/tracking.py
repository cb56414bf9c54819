"""MLflow: one experiment per recipe, runs found again by digest tags, and the registry's aliases.

The store is sqlite in the workspace unless MLFLOW_TRACKING_URI names a server. MLflow's ids are random, so nothing
that DVC versions holds them: a run or model version is found by the digest of what it is about.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow  # noqa: E402
from mlflow import MlflowClient  # noqa: E402
from mlflow.entities.model_registry import ModelVersion  # noqa: E402
from mlflow.exceptions import MlflowException  # noqa: E402
from mlflow.protos.databricks_pb2 import (  # noqa: E402
    INTERNAL_ERROR,
    INVALID_PARAMETER_VALUE,
    REQUEST_LIMIT_EXCEEDED,
    RESOURCE_DOES_NOT_EXIST,
    TEMPORARILY_UNAVAILABLE,
    ErrorCode,
)

from components.core import paths  # noqa: E402
from components.core.errors import SightlineError, TransientError, UsageError  # noqa: E402
from components.core.recipe import Recipe  # noqa: E402

CHAMPION, CHALLENGER = "champion", "challenger"
MODEL_DIGEST = "sightline.model_digest"

# MLflow's words for "no such model" and, for an alias, "no such alias".
ABSENT = frozenset(ErrorCode.Name(code) for code in (RESOURCE_DOES_NOT_EXIST, INVALID_PARAMETER_VALUE))
# And for what has nothing to do with the request: a store that does not answer, or is locked by another process.
PASSING = frozenset(ErrorCode.Name(code) for code in (INTERNAL_ERROR, TEMPORARILY_UNAVAILABLE, REQUEST_LIMIT_EXCEEDED))


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else the workspace's sqlite store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.state('mlflow', 'mlflow.db')}"


def client() -> MlflowClient:
    """A client of the tracking store and the registry."""
    uri = tracking_uri()
    if uri.startswith("sqlite:///"):
        paths.state("mlflow").mkdir(parents=True, exist_ok=True)
    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri)


@contextmanager
def explained() -> Iterator[None]:
    """Turns MLflow's own errors inside the context (a server that does not answer, say) into SightlineErrors."""
    try:
        yield
    except MlflowException as error:
        remedy = "see that the store is there and answers; MLFLOW_TRACKING_URI names another"
        kind = TransientError if error.error_code in PASSING else SightlineError
        raise kind(f"MLflow at {tracking_uri()}: {error.message}", remedy) from error


def experiment_id(recipe: str) -> str:
    """The id of the recipe's experiment, made where it is not there yet."""
    found = client().get_experiment_by_name(recipe)
    if found:
        return found.experiment_id
    local = tracking_uri().startswith("sqlite")
    location = paths.state("mlflow", "artifacts", recipe).as_uri() if local else None
    try:
        return client().create_experiment(recipe, artifact_location=location)
    except MlflowException:  # another recipe's stage was first
        return client().get_experiment_by_name(recipe).experiment_id


def find_run(recipe: str, **tags: str) -> str | None:
    """Id of the newest run of the recipe that has all these tags (`model_digest` -> `sightline.model_digest`)."""
    terms = [f"tags.`sightline.{name}` = '{value}'" for name, value in sorted(tags.items())]
    runs = client().search_runs([experiment_id(recipe)], " and ".join(terms), max_results=1)
    return runs[0].info.run_id if runs else None


@contextmanager
def run(recipe: Recipe, name: str, resume: bool = True, parent: str | None = None, **tags: str) -> Iterator[str]:
    """Yields the id of an active MLflow run with these tags: the one that already has them, else a new one.

    Resuming makes a repeated stage (a retry, a run after a kill) write into the same run instead of a twin.
    """
    experiment = experiment_id(recipe.name)
    found = find_run(recipe.name, **tags) if resume and tags else None
    full = {f"sightline.{key}": value for key, value in tags.items()} | origin()
    if parent:
        full["mlflow.parentRunId"] = parent
    if found:
        context = mlflow.start_run(run_id=found, nested=parent is not None)
    else:
        context = mlflow.start_run(experiment_id=experiment, run_name=name, tags=full, nested=parent is not None)
    with context as active:
        yield active.info.run_id


def origin() -> dict[str, str]:
    """Tags that tie a run to the commit and to the orchestrator's run."""
    tags = {}
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.workspace(), capture_output=True, text=True)
    if commit.returncode == 0:
        tags["sightline.git_commit"] = commit.stdout.strip()
    if flow_run := os.environ.get("PREFECT__FLOW_RUN_ID") or os.environ.get("SIGHTLINE_FLOW_RUN_ID"):
        tags["sightline.prefect_flow_run"] = flow_run
    return tags


def flat_params(section: Any, prefix: str = "") -> dict[str, str]:
    """A recipe section as MLflow parameters: dotted names to text."""
    values = section.model_dump(mode="json") if hasattr(section, "model_dump") else section
    flat: dict[str, str] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        flat |= flat_params(value, f"{name}.") if isinstance(value, dict) and value else {name: str(value)}
    return flat


def version_by_alias(model: str, alias: str) -> ModelVersion | None:
    """The registry's version under `alias`, or None."""
    try:
        return client().get_model_version_by_alias(model, alias)
    except MlflowException as error:
        if error.error_code in ABSENT:
            return None
        raise  # a store that does not answer must not look like a model without a champion


def version_by_number(model: str, number: int) -> ModelVersion:
    """The registry's version of this number. Raises UsageError where there is none."""
    try:
        return client().get_model_version(model, str(number))
    except MlflowException as error:
        if error.error_code not in ABSENT:
            raise
        raise UsageError(f"{model} has no version {number}", "see `sightline history`, or MLflow's own page") from None


def version_by_digest(model: str, digest: str) -> ModelVersion | None:
    """The registry's newest version whose model has this digest, or None."""
    found = client().search_model_versions(f"name = '{model}' and tag.`{MODEL_DIGEST}` = '{digest}'")
    return max(found, key=lambda version: int(version.version)) if found else None
