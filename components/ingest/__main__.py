"""Ingest: a source of footage -> catalog, annotations, refused files and labels."""

import sys

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.recipe import Recipe, nearest
from components.core.stage import run_stage
from components.core.tables import ANNOTATIONS, CATALOG, QUARANTINE, write_table
from components.ingest.annotate import annotate
from components.ingest.catalog import catalog_rows, label_targets, split_candidates
from components.ingest.labels import read_labels
from components.ingest.probe import OK
from components.ingest.report import closing_words, in_order, refused_rows
from components.ingest.sources import locate
from components.ingest.split import assign, assign_sequences, check_globs
from components.ingest.survey import survey


def main(recipe: Recipe) -> None:
    """Reads the source and writes the three tables. Raises SightlineError where no file of it is usable."""
    check_classes(recipe)
    source = locate(recipe)
    check_globs(recipe.ingest.split, list(source.files))
    found = read_labels(source, recipe.task.classes)
    records = survey(source, limits=recipe.ingest.limits)
    catalog = catalog_rows(source, records, site=recipe.ingest.site)
    if not any(row["status"] == OK for row in catalog):
        reasons = "; ".join(f"{row['name']}: {row['reason']}" for row in catalog[:3])
        problem = f"{source.root}: no asset of {len(catalog)} could be decoded ({reasons})"
        raise SightlineError(problem, "replace these files, or name another source")
    targets = label_targets(source, records)
    task = recipe.task
    result = annotate(
        found.labels, targets, task.classes, source.label_map, recipe.ingest.uncovered, task.positive,
        source.label_source,
    )  # fmt: skip
    divide = assign_sequences if task.tracks else assign
    splits = divide(split_candidates(source, targets, result.rows), recipe.ingest.split)
    for row in catalog:
        row["split"] = splits[row["asset_id"]] if row["status"] == OK else None
    refused = in_order([*found.refused, *result.refused])
    write_table(paths.data(recipe.name, "catalog"), catalog, CATALOG)
    write_table(paths.data(recipe.name, "annotations"), result.rows, ANNOTATIONS)
    # Annotations are runs of frames, and files are refused too: how many labels it was is noted beside them.
    noted = QUARANTINE.with_metadata({"labels_accepted": str(result.accepted), "labels_refused": str(len(refused))})
    write_table(paths.data(recipe.name, "refused"), refused_rows(source, refused), noted)
    for line in closing_words(source, catalog, found, result, refused):
        print(f"ingest: {line}", file=sys.stderr)


def check_classes(recipe: Recipe) -> None:
    """Raises UsageError where label_map or uncovered names a class that the task does not have."""
    named = {f"label_map.{word}": name for word, name in recipe.ingest.label_map.items()}
    named |= {"uncovered": recipe.ingest.uncovered} if recipe.ingest.uncovered is not None else {}
    for key, name in named.items():
        if name not in recipe.task.classes:
            raise UsageError(f"ingest.{key}: {name!r} is not a class", nearest(name, list(recipe.task.classes)))


if __name__ == "__main__":
    sys.exit(run_stage("ingest", __doc__, main))
