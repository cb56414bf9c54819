"""Where the footage is: generated scenes and pictures, image search, a data set, a folder, a glob, an archive, a URI.

What is local is used in place; what is not is fetched once into `.sightline/fetched`, and looked at again each time.
"""

from components.core.errors import SightlineError
from components.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from components.core.recipe import Recipe
from components.ingest.sources import archive, explained, folder, generated, named, remote
from components.ingest.sources.datasets import DATASETS
from components.ingest.sources.source import Source

__all__ = ["Source", "locate"]

SHOWN = 3
SEARCH, EXPLAINED = "search", "explained"


def locate(recipe: Recipe) -> Source:
    """The footage that `recipe.source` names: generated, searched for, another recipe's with the boxes of its explained
    classifier, a data set, a URI, an archive, a folder, a glob.

    Generates, gathers, fetches or extracts what is not there yet. Raises SightlineError or UsageError where there is no
    such source, it holds no footage, or the labels it is told to have are not there.
    """
    if recipe.source == EXPLAINED:
        source = explained.locate(recipe, locate(explained.taught_by(recipe)))
    else:
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
    if source == SEARCH:
        # Here and not above: it is made of this package, and of the prober with its decoders, which few sources need.
        from components.ingest.search import gather

        return gather.locate
    if source in DATASETS:
        return named.locate
    if "://" in source:
        return remote.locate
    return archive.locate if archive.is_archive(source) else folder.locate
