"""The queries of a recipe: for the positive class, for what is not it, and of random words."""

import hashlib
import re
from dataclasses import dataclass

from components.core.errors import UsageError
from components.core.recipe import Recipe
from components.ingest.search.words import WORDS

_PART = re.compile(r"\w+")


@dataclass(frozen=True)
class Query:
    """What is asked, the class of what it finds, and how many pictures are wanted of it at most."""

    text: str
    label: str
    wanted: int


def queries_of(recipe: Recipe) -> tuple[Query, ...]:
    """The recipe's queries, positive ones first, then named negatives, then random words; none twice.

    Raises UsageError where there is no positive class, or a side has no query, or a query is on both sides.
    """
    search, task = recipe.ingest.search, recipe.task
    if task.positive is None:
        raise UsageError(
            "source 'search' needs task.positive: the class that ingest.search.positive looks for",
            f"set it to one of {', '.join(task.classes)}",
        )
    if not search.positive:
        raise UsageError("ingest.search.positive: no query", f"say what finds pictures of {task.positive!r}")
    if not search.negative and not search.random:
        raise UsageError(
            "ingest.search: no query for what is not of the positive class",
            "name some in ingest.search.negative, or set ingest.search.random",
        )
    positive, negative = (_tidied(key, getattr(search, key)) for key in ("positive", "negative"))
    if both := {text.casefold() for text in positive} & {text.casefold() for text in negative}:
        problem = f"ingest.search: {sorted(both)[0]!r} is a positive and a negative query"
        raise UsageError(problem, "leave it in one of the two: what both find is dropped")
    other = next(name for name in task.classes if name != task.positive)
    drawn = random_words(search.random, search.seed, positive, negative)
    return (
        *(Query(text, task.positive, search.pictures) for text in positive),
        *(Query(text, other, search.negative_pictures) for text in negative),
        *(Query(text, other, search.random_pictures) for text in drawn),
    )


def random_words(count: int, seed: int, positive: tuple[str, ...], negative: tuple[str, ...]) -> tuple[str, ...]:
    """`count` words drawn by `seed`, none of a positive query and no negative query.

    A word's rank is a hash of it and the seed: more words, or another query, leave those that were drawn as they are.
    Raises UsageError where there are not so many.
    """
    taken = set().union(*map(_forms, (*_PART.findall(" ".join(positive)), *negative)))
    ranked = sorted(
        (word for word in WORDS if not _forms(word) & taken),
        key=lambda word: hashlib.sha256(f"{seed}:{word}".encode()).digest(),
    )
    if count > len(ranked):
        raise UsageError(f"ingest.search.random: {count}, but there are {len(ranked)} words to draw", "ask for fewer")
    return tuple(ranked[:count])


def _tidied(key: str, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The queries with single blanks, each once."""
    tidy = {" ".join(text.split()): None for text in texts}
    if "" in tidy:
        raise UsageError(f"ingest.search.{key}: an empty query", "say what to look for, or leave it out")
    return tuple(tidy)


def _forms(word: str) -> set[str]:
    """An English noun and its plurals as they are formed by rule, without case."""
    word = word.casefold()
    return {word, f"{word}s", f"{word}es", f"{word[:-1]}ies" if word.endswith("y") else word}
