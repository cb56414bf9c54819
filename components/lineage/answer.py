"""What the registry and the tables say of where a model came from, and of which models saw a file."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from mlflow.entities.model_registry import ModelVersion

from components.core import lineage, paths, tracking
from components.core.errors import SightlineError, UsageError
from components.core.files import file_sha256
from components.core.recipe import Recipe
from components.core.tables import asset_id, read_table


def of_version(recipe: Recipe, number: int | None = None) -> dict[str, Any]:
    """Where a version (without a number: the champion) came from: registry, runs, commit, dvc.lock, digests, assets.

    Raises UsageError where there is no such version, SightlineError where no lineage was kept with it.
    """
    version = _version(recipe, number)
    record, assets = lineage.kept(version)
    aliases = tracking.client().get_registered_model(recipe.registered_name).aliases
    return {
        "model": recipe.registered_name,
        "version": int(version.version),
        "aliases": sorted(alias for alias, named in aliases.items() if str(named) == str(version.version)),
        "mlflow_run": version.run_id,
        **record,
        "assets": assets,
    }


def of_prediction(recipe: Recipe, uri: str, frame: int | None = None, scores: Path | None = None) -> dict[str, Any]:
    """The prediction on a source file (and one of its frames) and where its model came from.

    `scores`: a table of predictions; without it, the evaluation's. The file's bytes are compared with those that the
    prediction was made on: `source.bytes` is same | changed | absent. Raises UsageError where there is no such row.
    """
    table = scores or paths.data(recipe.name, "evaluation") / "predictions"
    rows = read_table(table).to_pylist() if table.is_dir() else pq.read_table(table).to_pylist()
    found = [row for row in rows if row["uri"] == uri and frame in (None, row["frame_index"])]
    if not found:
        where = f"frame {frame} of {uri}" if frame is not None else uri
        raise UsageError(f"{table}: no prediction on {where}", "uris are as in the table: sightline catalog ... --sql")
    row = max(found, key=lambda one: one["score"])
    file = paths.resolve(uri)
    state = "absent"
    if file.is_file():
        state = "same" if file_sha256(file).startswith(row["asset_id"]) else "changed"
    version = _predicting(recipe, row["model_version"])
    body = of_version(recipe, int(version.version))
    body["assets"] = [asset for asset in body["assets"] if asset["asset_id"] == row["asset_id"]]
    source = {"file": str(file), "bytes": state}
    return {"prediction": {key: row[key] for key in row if key != "label"}, "source": source, **body}


def of_source(recipe: Recipe, source: str) -> dict[str, Any]:
    """Every version that saw a file, and in which split. `source`: a file, an asset's id or its uri."""
    file = Path(source)
    asset = asset_id(file_sha256(file)) if file.is_file() else source
    saw = []
    found = tracking.client().search_model_versions(f"name = '{recipe.registered_name}'")
    for version in sorted(found, key=lambda one: int(one.version)):
        try:
            record, assets = lineage.kept(version)
        except SightlineError:
            continue  # a version that somebody else registered
        for one in assets:
            if asset in (one["asset_id"], one["sha256"], one["uri"]):
                number = int(version.version)
                saw.append({"version": number, "git_commit": record["git_commit"], "mlflow_run": version.run_id} | one)
    return {"model": recipe.registered_name, "source": source, "asset": asset, "versions": saw}


def _version(recipe: Recipe, number: int | None) -> ModelVersion:
    name = recipe.registered_name
    if number is not None:
        return tracking.version_by_number(name, number)
    champion = tracking.version_by_alias(name, tracking.CHAMPION)
    if champion is None:
        raise SightlineError(f"{name}: there is no champion", f"sightline run {recipe.name}, or name a version")
    return champion


def _predicting(recipe: Recipe, said: str) -> ModelVersion:
    """The version that a prediction names, by its number or by the beginning of its model's digest."""
    if said.isdigit() and len(said) < lineage.VERSION_DIGITS:
        return _version(recipe, int(said))
    for version in tracking.client().search_model_versions(f"name = '{recipe.registered_name}'"):
        if version.tags.get(tracking.MODEL_DIGEST, "").startswith(said):
            return version
    raise SightlineError(f"{recipe.registered_name}: no version has the model {said}", "run the promotion stage")
