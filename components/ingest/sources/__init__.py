"""Where the footage is: generated scenes and pictures, a named data set, a folder, a glob, an archive, or a URI.

What is local is used in place; what is not is fetched once into `.sightline/fetched`, and looked at again each time.
"""

from components.core.errors import SightlineError
from components.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from components.core.recipe import Recipe
from components.ingest.sources import archive, folder, generated, named, remote
from components.ingest.sources.datasets import DATASETS
from components.ingest.sources.source import Source

__all__ = ["Source", "locate"]

SHOWN = 3


def locate(recipe: Recipe) -> Source:
    """The footage that `recipe.source` names: generated, a data set, a URI, an archive, a folder or a glob.

    Generates, fetches or extracts what is not there yet. Raises SightlineError or UsageError where there is no such
    source, it holds no footage, or the labels it is told to have are not there.
    """
    source = _kind(recipe.source)(recipe)
    if not source.files:
        refused = "".join(f"; {name!r}: {reason}" for name, reason in source.refused[:SHOWN])
        raise SightlineError(
            f"{recipe.source} ({source.root}): no video or picture in it ({source.ignored} other files{refused})",
            f"put footage there; known: {' '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))}",
        )
    return source


def _kind(source: str):
    if source in generated.GENERATORS:
        return generated.locate
    if source in DATASETS:
        return named.locate
    if "://" in source:
        return remote.locate
    return archive.locate if archive.is_archive(source) else folder.locate
