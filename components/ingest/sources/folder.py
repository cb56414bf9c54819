"""A folder, or the files of a folder that a glob names. Used in place: nothing is copied."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from urllib.parse import unquote

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.recipe import Recipe, nearest
from components.ingest.sources.datasets import DATASETS
from components.ingest.sources.source import Source, find_labels, is_media

WILD = "*?["
GENERATED = ("scenes", "cameras", "digits", "wild")


@dataclass
class Found:
    """What lies below a folder: media by name, how many other files, and what is refused with the reason."""

    files: list[str] = field(default_factory=list)
    others: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)


def locate(recipe: Recipe, given: str | None = None) -> Source:
    """The folder or glob `given` (default: the recipe's source), absolute or relative to the workspace.

    Raises UsageError where the name is neither a source known by name nor a folder, or a glob matches nothing;
    SightlineError where a path leads nowhere.
    """
    given = recipe.source if given is None else given
    base, pattern = split_glob(given)
    path = Path(base).expanduser()
    root = paths.workspace() / path
    if not root.is_dir():
        _no_folder(recipe.source, path, root)
    prefix = uri_of(path)
    found = walk(root)
    if pattern:
        matching = [name for name in found.files if matches(name, pattern)]
        if not matching:
            example = f"names there look like {found.files[0]!r}" if found.files else "no video or picture is there"
            raise UsageError(f"source {recipe.source!r}: no file below {root} matches {pattern!r}", example)
        found = Found(matching, found.others + len(found.files) - len(matching), found.refused)
    labels, form = find_labels(recipe, root)
    name = Path(os.path.normpath(root)).name
    return Source(
        root, name, prefix, tuple(found.files), found.others, labels, dict(recipe.ingest.label_map),
        label_format=form, refused=tuple(found.refused),
    )  # fmt: skip


def from_uri(recipe: Recipe) -> Source:
    """The folder of a `file://` URI of this machine."""
    host, slash, path = recipe.source.removeprefix("file://").partition("/")
    if host not in ("", "localhost"):
        raise UsageError(f"source {recipe.source!r} names the host {host!r}", "write file:///path/to/folder")
    return locate(recipe, slash + unquote(path))


def uri_of(path: Path) -> str:
    """The uri of a local path. Inside the workspace it is relative, so that a table names no machine."""
    shown = Path(os.path.normpath(paths.workspace() / path))
    inside = shown.is_relative_to(paths.workspace())
    return shown.relative_to(paths.workspace()).as_posix() if inside else os.path.normpath(path)


def split_glob(given: str) -> tuple[str, str]:
    """(folder, pattern below it); the pattern is empty where `given` has no wildcard or is a path that is there."""
    if not any(char in given for char in WILD) or (paths.workspace() / Path(given).expanduser()).exists():
        return given, ""
    parts = given.split("/")
    first = next(index for index, part in enumerate(parts) if any(char in part for char in WILD))
    if ".." in parts[first:]:
        raise UsageError(f"source {given!r}: `..` after a wildcard", "name the folder first, then the pattern")
    base = "/".join(parts[:first])
    return base or ("/" if given.startswith("/") else "."), "/".join(parts[first:])


def matches(name: str, pattern: str) -> bool:
    """Whether the path `name` is one of a glob's: `**` is any number of folders, the rest matches within a part."""
    names, wanted = name.split("/"), pattern.split("/")

    @cache
    def rest(at: int, part: int) -> bool:
        if part == len(wanted):
            return at == len(names)
        if wanted[part] == "**":
            return rest(at, part + 1) or (at < len(names) and rest(at + 1, part))
        return at < len(names) and fnmatchcase(names[at], wanted[part]) and rest(at + 1, part + 1)

    return rest(0, 0)


def walk(root: Path) -> Found:
    """Everything below `root`, each list sorted. Hidden files and folders are not looked at.

    A link that leads out of the folder is refused; one that stays inside is followed, but no folder is gone through
    twice, and under its own name where it has one here. Pipes, devices and unreadable folders are refused.
    """
    found, home, seen, links = Found(), os.path.realpath(root), set(), [""]
    while links:
        linked = sorted({link for start in links for link in _walk_real(root, start, home, seen, found)})
        links = [name for name in linked if _leads_inside(root, name, home, found)]
    found.files.sort()
    found.refused.sort()
    return found


def _walk_real(root: Path, start: str, home: str, seen: set, found: Found) -> Iterator[str]:
    """Goes through the folders below `start` that no link leads to; yields the names of links to folders."""

    def unreadable(error: OSError) -> None:
        name = Path(os.path.relpath(error.filename, root)).as_posix()
        found.refused.append((name, f"the folder cannot be read ({error.strerror})"))

    for folder, folders, files in os.walk(root / start, onerror=unreadable):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        below = Path(folder).relative_to(root)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in folders:
            if os.path.islink(os.path.join(folder, name)):
                yield (below / name).as_posix()
        for name in files:
            if not name.startswith("."):
                _take(root, (below / name).as_posix(), home, found)


def _take(root: Path, name: str, home: str, found: Found) -> None:
    path = root / name
    if not is_media(name):
        found.others += 1
    elif path.is_symlink() and not _leads_inside(root, name, home, found):
        return
    elif path.exists() and not stat.S_ISREG(path.stat().st_mode):
        found.refused.append((name, "neither a file nor a folder: a pipe, a socket or a device"))
    else:
        found.files.append(name)


def _leads_inside(root: Path, name: str, home: str, found: Found) -> bool:
    target = os.path.realpath(root / name)
    if os.path.commonpath([home, target]) == home:
        return True
    found.refused.append((name, "a link that leads out of the folder"))
    return False


def _no_folder(source: str, given: Path, root: Path) -> None:
    if root.is_file():
        raise UsageError(f"source {source!r} is a file", "name the folder that holds it, or an archive")
    if len(given.parts) > 1 or given.is_absolute():
        raise SightlineError(f"source {source!r}: no such folder ({root})", "correct the path")
    raise UsageError(
        f"source {source!r} is neither a data set nor a folder of the workspace",
        nearest(source, [*GENERATED, "search", "explained", *DATASETS]),
    )
