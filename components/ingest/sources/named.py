"""A data set known by name: in the mirror, else where `sightline data NAME` put it. Used in place."""

from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.ingest.sources.datasets import DATASETS, Dataset
from components.ingest.sources.folder import matches, walk
from components.ingest.sources.source import Source, find_labels, words


def locate(recipe: Recipe) -> Source:
    """The footage of the data set `recipe.source`. Raises SightlineError where nobody has put it anywhere."""
    dataset = DATASETS[recipe.source]
    root = place(dataset)
    if root is None:
        looked = ", ".join(str(folder / dataset.folder) for folder in paths.dataset_roots())
        how = f"sightline data {recipe.source}" if dataset.files else f"lay it out there: {dataset.by_hand}"
        raise SightlineError(
            f"source {recipe.source!r} is a data set that is not here ({looked})",
            f"{how}; or set SIGHTLINE_MIRROR to the folder that holds {dataset.folder}/",
        )
    found = walk(root)
    files = tuple(name for name in found.files if _is_media(name, dataset))
    chosen = {}
    if not recipe.ingest.split.test:
        chosen = {name: "test" for name in files if any(_held_out(name, glob) for glob in dataset.test)}
    labels, form = find_labels(recipe, root, dataset.labels, dataset.label_format)
    own = labels is not None and recipe.ingest.labels == "auto"
    return Source(
        root, recipe.source, f"{paths.DATASET}{dataset.folder}", files, found.others, labels,
        words(recipe, dataset.negative, dataset.positive), chosen, form, dataset.label_column if own else None,
        tuple(found.refused),
    )  # fmt: skip


def place(dataset: Dataset) -> Path | None:
    """The folder of a data set: the first that holds all of it, else the first that holds any footage of it."""
    there = [root / dataset.folder for root in paths.dataset_roots()]
    there = [root for root in there if any((root / media).is_dir() for media in dataset.media)]
    whole = (root for root in there if dataset.unpack or all((root / file.path).is_file() for file in dataset.files))
    return next(whole, next(iter(there), None))


def _is_media(name: str, dataset: Dataset) -> bool:
    return any(not media or name.startswith(f"{media}/") for media in dataset.media)


def _held_out(name: str, glob: str) -> bool:
    return matches(name, glob) or matches(name.rpartition("/")[2], glob)
