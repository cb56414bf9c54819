"""Holds the catalog, annotations, frames and features to the recipe's expectations; stops the run where they fail."""

import sys

import pyarrow as pa

from components.core import paths
from components.core.errors import SightlineError
from components.core.files import atomic_json
from components.core.recipe import Recipe
from components.core.stage import run_stage
from components.core.tables import ANNOTATIONS, CATALOG, FRAMES, metadata, read_shard, shards
from components.validation import views
from components.validation.check import check, refuse
from components.validation.suites import suites

ACCEPTED, REFUSED = "labels_accepted", "labels_refused"


def main(recipe: Recipe) -> None:
    """Writes data/RECIPE/validation.json and Data Docs. Raises SightlineError naming every failed expectation."""
    target = paths.data(recipe.name, "validation.json")
    docs = paths.state("data_docs", recipe.name)
    target.unlink(missing_ok=True)
    catalog = _read(recipe, "catalog", CATALOG, views.CATALOG_COLUMNS)
    annotations = _read(recipe, "annotations", ANNOTATIONS, views.ANNOTATION_COLUMNS)
    accepted, refused = _counts(recipe)
    frames = _read(recipe, "frames", FRAMES, views.FRAME_COLUMNS)
    vectors = (read_shard(path, views.FEATURE_COLUMNS) for path in shards(paths.data(recipe.name, "features")))
    looked_at = {
        "catalog": views.catalog_view(catalog, frames),
        "annotations": views.annotations_view(annotations, accepted, refused, catalog),
        "frames": views.frames_view(frames, annotations, catalog, recipe.task),
        "features": views.features_view(vectors, frames),
    }
    report = check(looked_at, suites(recipe, frames.num_rows), docs)
    count = sum(suite["expectations"] for suite in report["suites"].values())
    if not report["success"]:
        raise refuse(report, docs.relative_to(paths.workspace()))
    atomic_json(target, report)
    print(f"validation: {count} expectations met; Data Docs: {docs.relative_to(paths.workspace()) / 'index.html'}")


def _counts(recipe: Recipe) -> tuple[int, int]:
    """How many labels ingest accepted and refused, as it noted in the refused table, which holds whole files too."""
    notes = metadata(paths.data(recipe.name, "refused"))
    for name in (ACCEPTED, REFUSED):
        if name not in notes:
            raise SightlineError(f"data/{recipe.name}/refused: no note of {name}", "run the ingest stage again")
    return int(notes[ACCEPTED]), int(notes[REFUSED])


def _read(recipe: Recipe, table: str, schema: pa.Schema, columns: list[str]) -> pa.Table:
    """A table's columns; no rows where it has no shards, so that the suites say what is missing."""
    empty = schema.empty_table().select(columns)
    files = shards(paths.data(recipe.name, table))
    return pa.concat_tables([empty, *(read_shard(file, columns).cast(empty.schema) for file in files)])


if __name__ == "__main__":
    sys.exit(run_stage("validation", __doc__, main))
