"""A folder per class: the folder that a picture or a video lies in says what it shows."""

from collections.abc import Iterable
from fractions import Fraction

from components.ingest.labels.common import Found, Label, Refusal

WHOLE = (Fraction(0), None)


def read(files: Iterable[str], words: Iterable[str]) -> Found:
    """A label of each whole file: the innermost of its folders that is one of `words`. Where none is, it is refused."""
    found, known = Found(), frozenset(words)
    for name in files:
        word = folder_word(name, known)
        if word is None:
            folder = name.rpartition("/")[0] or "."
            found.refused.append(Refusal(name, None, f"no class or word of label_map is the folder {folder}"))
        else:
            found.labels.append(Label(name, None, name, word, span=WHOLE))
    return found


def folder_word(name: str, words: frozenset[str]) -> str | None:
    """The innermost folder of a file that is one of `words`, or None."""
    return next((part for part in reversed(name.split("/")[:-1]) if part in words), None)
