"""What a source is, and what all kinds of sources share: names, label files, the classes of the source's words."""

import fcntl
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from components.core.errors import SightlineError
from components.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from components.core.recipe import Recipe

if TYPE_CHECKING:
    from components.ingest.labels.common import Label  # whose package reads what is written here

AUTO, FOLDERS = "auto", "folders"
AUTO_LABELS = ("labels.csv", "frame_labels.csv")
MEDIA_SUFFIXES = VIDEO_SUFFIXES | IMAGE_SUFFIXES
LABEL_SUFFIXES = frozenset(".csv .json .txt .xml .ini".split())
NAME_BYTES, PATH_BYTES, PARTS = 255, 1024, 64  # of one part of a path, of all of it, and how many parts

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Source:
    """Footage in a folder. `files` are names below `root`, sorted; a file's uri is `uri_prefix`/name.

    `ignored` counts the files that are neither video nor picture. `labels` is a file, or the folder that a format with
    many files is read from; `label_format` as in the recipe (`folders`: a picture's folder names its class);
    `label_column`: the CSV column of the label, where it is not `label`. `label_map` turns the source's words into
    classes; `split` maps names to train, val or test where the source says so. `refused`: files that were not taken
    over, each with the reason; one that is an address, and not a name below `root`, is its own uri. `label_source`: who
    says what the labels say, as in the annotations' column `source`. `given`: the labels themselves, where they lie in
    no file.
    """

    root: Path
    name: str
    uri_prefix: str
    files: tuple[str, ...]
    ignored: int = 0
    labels: Path | None = None
    label_map: dict[str, str] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)
    label_format: str = AUTO
    label_column: str | None = None
    refused: tuple[tuple[str, str], ...] = ()
    label_source: str = "human"
    given: "tuple[Label, ...] | None" = None

    def uri(self, name: str) -> str:
        """The catalog's uri of a file of this source; `components.core.paths.resolve` finds the file by it."""
        if "://" in name:  # no path has that
            return name
        if self.uri_prefix.startswith(("http://", "https://")) and not self.uri_prefix.endswith("!"):
            name = quote(name)
        return name if self.uri_prefix == "." else f"{self.uri_prefix}/{name}"


def is_media(name: str) -> bool:
    """Whether the name is a video's or a picture's."""
    return Path(name).suffix.lower() in MEDIA_SUFFIXES


def is_label(name: str) -> bool:
    """Whether labels might be in a file of this name."""
    return Path(name).suffix.lower() in LABEL_SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a part of the name marks what systems leave behind: a leading dot, or a Mac's `__MACOSX`."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def checked_name(name: str) -> str:
    """`name` of a listing or an archive as a relative path. Raises ValueError, with the reason, where it is none."""
    if name.startswith(("/", "\\")):
        raise ValueError("an absolute path")
    if re.match(r"[A-Za-z]:", name):
        raise ValueError("a path with a drive letter")
    if "\\" in name:
        raise ValueError("a backslash in the name")
    if _CONTROL.search(name):
        raise ValueError("a control character in the name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("`..` in the path leads out of the folder")
    if not parts:
        raise ValueError("an empty name")
    if any(len(part.encode(errors="surrogateescape")) > NAME_BYTES for part in parts):
        raise ValueError(f"a part of the name is longer than {NAME_BYTES} bytes")
    if len(parts) > PARTS or len(name.encode(errors="surrogateescape")) > PATH_BYTES:
        raise ValueError(f"a path of more than {PARTS} parts or {PATH_BYTES} bytes")
    return "/".join(parts)


def find_labels(
    recipe: Recipe, root: Path, default: str = AUTO, form: str = AUTO, present: Collection[str] | None = None
) -> tuple[Path | None, str]:
    """(labels file or folder or None, its format) by the recipe, else by the source's `default` and its `form`.

    `present`: the names that count as there, where `root` may hold others. Raises SightlineError where the labels that
    the recipe or the source names are not there.
    """
    named = default if recipe.ingest.labels == AUTO else recipe.ingest.labels
    if recipe.ingest.label_format != AUTO:
        form = recipe.ingest.label_format
    elif recipe.ingest.labels != AUTO:
        form = AUTO  # the source's format is that of the source's own labels
    if named == FOLDERS or (named == AUTO and form == FOLDERS):
        return root, FOLDERS
    if named == AUTO:
        if form not in (AUTO, "csv"):
            return root, form  # the reader looks for its files
        return next((root / name for name in AUTO_LABELS if _is_there(root, name, present)), None), form
    if not _is_there(root, named, present):
        raise SightlineError(
            f"{root / named}: the labels file is not there", "correct ingest.labels (a name below the source's folder)"
        )
    return root / named, form


def _is_there(root: Path, name: str, present: Collection[str] | None) -> bool:
    if present is None:
        return (root / name).exists()
    return name in present or any(other.startswith(f"{name.rstrip('/')}/") for other in present)


def words(recipe: Recipe, negative: Collection[str] = (), positive: Collection[str] = ()) -> dict[str, str]:
    """The source's words -> the recipe's first other class and its positive class, unless the recipe says more.

    A word that is itself a class stays; without a positive class only the recipe's own map counts.
    """
    task, known = recipe.task, {}
    if task.positive is not None:
        other = next(name for name in task.classes if name != task.positive)
        known = dict.fromkeys(negative, other) | dict.fromkeys(positive, task.positive)
    return {word: name for word, name in known.items() if word not in task.classes} | recipe.ingest.label_map


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time makes or fetches a thing; another that wants the same waits. A dead holder lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
