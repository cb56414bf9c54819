"""The footage of another recipe with the boxes that its explained classifier gave: nobody has drawn them.

Where human boxes are named, `ingest.explained.truth`, they are taken over for the held-out assets alone: there they are
what a detector is measured by, and training never sees them.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from components.core import paths, tables
from components.core.errors import SightlineError, UsageError
from components.core.recipe import Recipe, load_recipe, recipe_names
from components.ingest.labels.common import Box, Label, Names
from components.ingest.sources.source import AUTO, Source

HELD_OUT = "test"
HUMAN = "human"


def locate(recipe: Recipe, base: Source) -> Source:
    """The source `base` of the recipe `ingest.explained.recipe`, with its split, and as labels the boxes found there.

    Of its files those that have a box or show none for sure. Raises SightlineError where that recipe was not explained
    yet, or the human boxes named are not there.
    """

    asked, data = recipe.ingest.explained, paths.data(recipe.ingest.explained.recipe)
    if recipe.ingest.split.test or recipe.ingest.split.val:
        raise UsageError(
            "ingest.split.test and val: a source `explained` has the split of the recipe that it learns from",
            f"leave them empty, and set recipes.{asked.recipe}.ingest.split",
        )
    catalog = {row["asset_id"]: row for row in _rows(data / "catalog") if row["status"] == "ok"}
    frames = _sampled(data / "frames")
    label_map = base.label_map | recipe.ingest.label_map
    labels = list(_labels(_rows(data / "explained" / "boxes"), catalog, frames))
    if asked.truth is not None:
        held_out = {row["name"] for row in catalog.values() if row["split"] == HELD_OUT}
        labels = _judged(recipe, base, asked.truth, held_out, labels)
        # Held out, a picture is empty by its own label, whatever the classifier says of it.
        background = recipe.task.classes[0]
        shown = [row for row in _rows(data / "annotations") if row["x"] is None and row["class"] == background]
        empty = {asset: row for asset, row in catalog.items() if row["name"] in held_out}
        labels += _labels(shown, empty, frames)
    used = {label.media for label in labels}
    split = {row["name"]: row["split"] for row in catalog.values()}
    return replace(
        base, name="explained", files=tuple(name for name in base.files if name in used), given=tuple(labels),
        split={name: split[name] for name in used}, label_map=label_map, refused=(), label_source="lime",
    )  # fmt: skip


def _judged(recipe: Recipe, base: Source, truth: str, held_out: set[str], labels: list[Label]) -> list[Label]:
    """The labels, those of held-out assets replaced by the boxes of the file `truth`; where it has some, LIME's stay
    beside them, to be compared with them."""
    from components.ingest.labels.read import read_labels  # which in turn reads what a source is

    found = read_labels(_with_labels(base, truth), recipe.task.classes)
    names = Names(base.files)
    named = [(label, names.ending(label.media)) for label in found.labels if label.box is not None]
    drawn = [label._replace(media=of[0], said_by=HUMAN) for label, of in named if len(of) == 1 and of[0] in held_out]
    seen = {label.media for label in drawn}
    kept = [label for label in labels if label.media not in held_out or (label.box and label.media in seen)]
    return kept + drawn


def taught_by(recipe: Recipe) -> Recipe:
    """The recipe whose explained classifier gives this one its boxes. Raises UsageError where it is so taught too."""
    name = recipe.ingest.explained.recipe
    if name not in recipe_names():
        raise UsageError(f"ingest.explained.recipe: no recipe {name!r}", "name one that params.yaml lists as explained")
    teacher = load_recipe(name)
    if teacher.source == "explained":
        raise UsageError(f"ingest.explained.recipe: {name} has no footage of its own", "name the recipe that it names")
    return teacher


def _labels(rows: Iterable[dict], catalog: dict[str, dict], frames: dict[str, list[tuple]]) -> Iterator[Label]:
    """Rows of an annotations table as labels: one for each sampled frame that a row covers, with its box or, without
    one, of the frame as a whole."""
    for row in rows:
        asset = catalog.get(row["asset_id"])
        if asset is None:
            continue
        box = None if row["x"] is None else Box(row["x"], row["y"], row["w"], row["h"])
        for pts, index in frames[row["asset_id"]]:
            if row["first_pts"] <= pts <= row["last_pts"]:
                yield Label(
                    "boxes", None, asset["name"], row["class"], index if asset["kind"] == "video" else None, box=box,
                    track=row["track_id"], weight=row["weight"], said_by=row["source"],
                )  # fmt: skip


def _sampled(folder: Path) -> dict[str, list[tuple]]:
    """(pts, frame index) of each asset's sampled frames."""
    found: dict[str, list[tuple]] = defaultdict(list)
    for row in tables.read_table(folder, ["asset_id", "pts", "frame_index"]).to_pylist():
        found[row["asset_id"]].append((row["pts"], row["frame_index"]))
    return found


def _rows(folder: Path) -> list[dict]:
    return tables.read_table(folder).to_pylist()


def _with_labels(base: Source, truth: str) -> Source:
    """The source with the file `truth` for its labels: below its folder, or a path of its own."""
    file = base.root / truth
    file = file if file.is_file() else paths.workspace() / Path(truth).expanduser()
    if not file.is_file():
        raise SightlineError(
            f"ingest.explained.truth: {truth}: not a file of {base.root} or of the workspace",
            "name the file of human boxes, or null where there are none",
        )
    return replace(base, root=file.parent, labels=file, label_format=AUTO, label_column=None)
