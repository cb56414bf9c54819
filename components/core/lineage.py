"""Lineage: what a model came from, as one record that is kept beside it in MLflow.

lineage/lineage.json     commit, flow run, dvc.lock's own account of every stage, digests of all tables, parameters
lineage/assets.parquet   each asset that the model was trained, tuned or judged on: uri, digest of its bytes, split
"""

import hashlib
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from mlflow.entities.model_registry import ModelVersion

from components.core import paths, tracking
from components.core.errors import SightlineError
from components.core.files import tree_sha256
from components.core.recipe import Recipe
from components.core.tables import read_table

FOLDER, RECORD, ASSETS = "lineage", "lineage.json", "assets.parquet"
TABLES = ("catalog", "annotations", "frames", "features", "model", "evaluation/predictions")
BEFORE = ("ingest", "frames", "features", "validation", "tuning", "training", "evaluation")  # stages a model hangs on
VERSION_DIGITS = 12
LOCK_S = 2.0  # a half-written dvc.lock is whole again long before
COLUMNS = ["asset_id", "uri", "sha256", "split"]


def record(recipe: Recipe, data: Path, model_digest: str, origin: dict[str, str]) -> dict[str, Any]:
    """The record of the model in `data`, the recipe's outputs. `origin`: the tags that `tracking.origin` gives."""
    lock, stages = _dvc_lock(recipe.name)
    return {
        "recipe": recipe.name,
        "model_digest": model_digest,
        "git_commit": origin.get("sightline.git_commit"),
        "git_changes": _changes(),
        "prefect_flow_run": origin.get("sightline.prefect_flow_run"),
        "dvc_lock": lock and hashlib.sha256(lock).hexdigest(),
        "stages": stages,
        "tables": {table: tree_sha256(data / table) for table in TABLES if (data / table).exists()},
        "model_dvc": dvc_digest(data / "model"),
        "judged": _judged(data / "evaluation" / "predictions"),
        "params": recipe.model_dump(mode="json"),
    }


def short_version(model_digest: str) -> str:
    """What predictions and reports call a model that the registry has no number for yet."""
    return model_digest[:VERSION_DIGITS]


def assets(data: Path) -> pa.Table:
    """The usable assets of the catalog in `data`: asset_id, uri, sha256 of the bytes, split."""
    catalog = read_table(data / "catalog", [*COLUMNS, "status"])
    return catalog.filter(pc.equal(catalog["status"], "ok")).select(COLUMNS)


def kept(version: ModelVersion) -> tuple[dict[str, Any], list[dict]]:
    """(the record, the assets) that a version's run holds. Raises SightlineError where it holds none."""
    found = stored(version.run_id) if version.run_id else None
    if found is None:
        raise SightlineError(
            f"{version.name} version {version.version}: no lineage was kept with it",
            "it was registered without the promotion stage: run that for its model",
        )
    return found


def stored(run: str) -> tuple[dict[str, Any], list[dict]] | None:
    """(the record, the assets) that a run holds; None where it does not hold both."""
    client, names = tracking.client(), [f"{FOLDER}/{name}" for name in (RECORD, ASSETS)]
    if not {entry.path for entry in client.list_artifacts(run, FOLDER)}.issuperset(names):
        return None
    with tempfile.TemporaryDirectory() as local:
        found, table = (client.download_artifacts(run, name, local) for name in names)
        return json.loads(Path(found).read_text()), pq.read_table(table).to_pylist()


def gaps(found: dict[str, Any]) -> list[str]:
    """What a record does not account for, in words; empty where the model can be traced to every byte it came from."""
    said = []
    if not found["git_commit"]:
        said.append("no git commit is known")
    missing = [stage for stage in BEFORE if stage not in found["stages"]]
    if missing:
        said.append(f"dvc.lock knows nothing of {', '.join(missing)}: run the flow, or `dvc repro`")
    model = f"data/{found['recipe']}/model"
    for out in found["stages"].get("training", {}).get("outs", []):
        if out["path"] == model and out["md5"] != found["model_dvc"]:
            said.append(f"{model} is not the one that dvc.lock names: it was made outside DVC")
    if found["judged"] != [short_version(found["model_digest"])]:
        said.append(f"data/{found['recipe']}/evaluation/predictions are of another model: {found['judged']}")
    return said


def dvc_digest(folder: Path) -> str:
    """DVC's own digest of a folder: the MD5 of its sorted list of files with theirs."""
    listed = [
        {"md5": hashlib.md5(file.read_bytes()).hexdigest(), "relpath": file.relative_to(folder).as_posix()}
        for file in folder.rglob("*")
        if file.is_file()
    ]
    listed.sort(key=lambda entry: entry["relpath"])
    return hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest() + ".dir"


def _dvc_lock(recipe: str) -> tuple[bytes | None, dict[str, dict]]:
    """(dvc.lock's bytes, its account of each stage before promotion); None and {} without one.

    DVC writes the file in place, and another recipe's stage may end just now: it is read again until it is whole.
    """
    path, until = paths.workspace() / "dvc.lock", time.monotonic() + LOCK_S
    while True:
        content = path.read_bytes() if path.is_file() else None
        try:
            known = yaml.safe_load(content or b"") or {}
        except yaml.YAMLError:
            known = {}
        found = known.get("stages", {}) if isinstance(known, dict) else {}
        stages = {stage: found[f"{stage}@{recipe}"] for stage in BEFORE if f"{stage}@{recipe}" in found}
        if content is None or len(stages) == len(BEFORE) or time.monotonic() > until:
            return content, stages
        time.sleep(0.1)


def _judged(predictions: Path) -> list[str]:
    """The models, by their short versions, that the predictions are of."""
    return sorted(set(read_table(predictions, ["model_version"])["model_version"].to_pylist()))


def _changes() -> list[str] | None:
    """Files that differ from the commit, as git lists them; None without a repository."""
    command = ["git", "status", "--porcelain", "--untracked-files=no"]
    try:
        reply = subprocess.run(command, cwd=paths.workspace(), capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return [line[3:] for line in reply.stdout.splitlines()] if reply.returncode == 0 else None
