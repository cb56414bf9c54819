"""What there is to compare: the profile of the champion, and the same figures of the footage that it never saw."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from mlflow.entities.model_registry import ModelVersion

from components.core import paths, profile, tables
from components.core.errors import SightlineError
from components.core.files import value_sha256
from components.core.profile import VECTORS
from components.core.recipe import Recipe
from components.tasks.classification.labels import UNLABELLED, frame_labels


@dataclass(frozen=True)
class Footage:
    """`then`: the champion's profile; `now`: that of the newest assets that it has not seen.

    `labelled`: how many of those have reviewed labels on frames that the champion scored; `digest`: of which assets
    they are and what their labels say; `left_out`: what cannot be compared, in words.
    """

    then: pa.Table
    now: pa.Table
    labelled: int
    digest: str
    left_out: tuple[str, ...]

    def current(self) -> dict[str, np.ndarray]:
        """Figures of the new footage, without what cannot be compared."""
        found = profile.figures(self.now)
        if self.left_out:
            found.pop(profile.EMBEDDING, None)
        return found


def footage(recipe: Recipe, champion: ModelVersion, scores: Path, model: str) -> Footage:
    """The two sides, by the recipe's tables and the scores of new footage (a folder that need not be there).

    `model`: whose scores they must be. Raises SightlineError where no profile was kept with the champion, or a table is
    not there.
    """
    then, data = reference(champion), paths.data(recipe.name)
    new = newest(unseen(data, then), recipe.monitoring.window)
    notes = tables.read_table(data / "annotations")
    notes = notes.filter(pc.is_in(notes["asset_id"], pa.array(sorted(new), pa.string())))
    said = scored(recipe, scores, new, model, notes)
    now = profile.profile(data, new.keys(), said)
    labels = notes.select(["asset_id", "first_pts", "last_pts", "class"]).to_pylist()
    same = now.schema.metadata[VECTORS] == then.schema.metadata[VECTORS]
    return Footage(
        then, now, sum(one.error is not None for one in said.values()), value_sha256([sorted(new), labels]),
        () if same else ("embedding: the vectors are made otherwise than those that the champion learned from",),
    )  # fmt: skip


def reference(champion: ModelVersion) -> pa.Table:
    """The champion's profile."""
    found = profile.stored(champion.run_id) if champion.run_id else None
    if found is None:
        raise SightlineError(
            f"{champion.name} version {champion.version}: no profile was kept with it",
            "it was registered without the promotion stage: run that for its model",
        )
    return found


def unseen(data: Path, seen: pa.Table) -> dict[str, dict]:
    """Rows {uri, status} of the catalog by asset, quarantined ones too, that are not in the profile `seen`."""
    known = set(seen["asset_id"].to_pylist())
    rows = tables.read_table(data / "catalog", ["asset_id", "uri", "status"]).to_pylist()
    return {row["asset_id"]: row for row in rows if row["asset_id"] not in known}


def newest(assets: dict[str, dict], count: int) -> dict[str, dict]:
    """The `count` of these assets whose files were written last; what has no file any more is older than all."""

    def written(asset: str) -> tuple[int, str]:
        file = paths.resolve(assets[asset]["uri"])
        return (file.stat().st_mtime_ns if file.exists() else 0), asset

    return {asset: assets[asset] for asset in sorted(assets, key=written)[-count:]}


def shard(scores: Path, asset: str) -> Path:
    """Where the scores of an asset are."""
    return scores / f"{asset}.parquet"


def scored(
    recipe: Recipe, scores: Path, assets: Collection[str], model: str, annotations: pa.Table
) -> dict[str, profile.Scored]:
    """What this model said of these assets, and how wrong it was by the labels that they have by now."""
    task, sums = recipe.task, {}
    for file in (shard(scores, asset) for asset in sorted(assets)):
        if tables.scored_by(file) != model:
            continue
        rows = tables.read_shard(file, ["asset_id", "pts", "score", *(f"prob_{name}" for name in task.classes)])
        ids = np.array(rows["asset_id"].to_pylist(), dtype=object)
        labels = frame_labels(annotations, ids, rows["pts"].to_numpy(), task)
        right = np.stack([rows[f"prob_{name}"].to_numpy() for name in task.classes], axis=1)
        errors = np.where(labels == UNLABELLED, np.nan, 1.0 - right[np.arange(len(labels)), labels])
        profile.add(sums, ids, rows["score"].to_numpy(), errors)
    return profile.means(sums)
