"""An archive as a source: its media and label files are extracted once per archive, whole or not at all.

What is no footage stays packed. An archive that tries to write outside its folder, or that grows far beyond its own
size, is refused whole; a member that is merely damaged is refused by itself.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_directory, atomic_json, file_sha256, json_text
from components.core.recipe import Recipe
from components.ingest.sources.folder import uri_of, walk
from components.ingest.sources.members import Evil, Limits, Member, open_members
from components.ingest.sources.source import Source, checked_name, find_labels, is_hidden, is_label, is_media, locked

STATE = ".extracted.json"  # in the folder of members: what was refused, and how many others there are
LINK_DEPTH = 8


def is_archive(name: str) -> bool:
    """Whether the name is that of an archive."""
    return name.lower().endswith(paths.ARCHIVE_SUFFIXES)


def locate(recipe: Recipe) -> Source:
    """The members of the archive that `recipe.source` names, absolute or relative to the workspace.

    Raises SightlineError, naming the archive and the member, where it is not there or is refused.
    """
    given = Path(recipe.source).expanduser()
    path = paths.workspace() / given
    if path.is_dir():
        raise UsageError(f"source {recipe.source!r} is a folder with an archive's name", "give the folder another name")
    if not path.is_file():
        raise SightlineError(f"source {recipe.source!r}: no such archive ({path})", "correct the path")
    return from_file(recipe, path, uri_of(given))


def from_file(recipe: Recipe, path: Path, uri: str) -> Source:
    """The members of the archive at `path`, whose own uri is `uri`: theirs are `uri`!/member."""
    root = paths.extracted(uri)
    with locked(root.parent.with_suffix(".lock")):
        folder = paths.state("fetched", "extracted", _digest(path, root.parent / "archive.json"))
        with locked(folder.with_suffix(".lock")):
            if not (folder / STATE).is_file():
                extract(path, folder)
        _point(root, folder)
    found, state = walk(root), json.loads((root / STATE).read_text())
    labels, form = find_labels(recipe, root)
    refused = sorted([*found.refused, *map(tuple, state["refused"])])
    return Source(
        root, Path(uri).name, f"{uri}!", tuple(found.files), found.others + state["others"], labels,
        dict(recipe.ingest.label_map), label_format=form, refused=tuple(refused),
    )  # fmt: skip


def _digest(path: Path, known: Path) -> str:
    """The archive's SHA-256. `known` remembers it with the size and times of the file it belongs to."""
    status = os.stat(path)
    print_ = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
    try:
        body = json.loads(known.read_text())
        if body["fingerprint"] == print_:
            return body["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not looked at yet, or half written: it is only a memory
    digest = file_sha256(path)
    atomic_json(known, {"fingerprint": print_, "sha256": digest})
    return digest


def _point(link: Path, folder: Path) -> None:
    """Makes `link` a relative link to `folder`, at once."""
    target = os.path.relpath(folder, link.parent)
    if link.is_symlink() and os.readlink(link) == target:
        return
    link.parent.mkdir(parents=True, exist_ok=True)
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, link)


def extract(path: Path, folder: Path, limits: Limits | None = None) -> None:
    """Writes the media and label files of an archive to `folder`, whole or not at all.

    Raises SightlineError where the archive cannot be read, is encrypted, tries to leave its folder or is a bomb.
    """
    limits = limits or Limits.of(path)
    with atomic_directory(folder) as temporary:
        into = _Extraction(temporary)
        try:
            for member in open_members(path, limits):
                into.take(member)
            into.link()
        except Evil as error:
            raise SightlineError(f"{path}: refused: {error}", error.remedy) from None
        into.refused.sort()
        (temporary / STATE).write_text(json_text({"refused": into.refused, "others": into.others}))


@dataclass
class _Extraction:
    """What was written so far, what is refused, and the links to be made once their targets are there."""

    folder: Path
    refused: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0
    links: dict[str, str] = field(default_factory=dict)
    written: set[str] = field(default_factory=set)

    def take(self, member: Member) -> None:
        """Writes a member, notes it as a link for later, or counts it as none of footage."""
        name = _safe(member.name, member.name)
        if member.kind == "folder":
            return
        if member.kind == "other":
            raise Evil(f"member {member.name!r} is a device or a pipe")
        if member.kind == "link":
            base = "" if member.hard else name.rpartition("/")[0]
            self.links[name] = _inside(member, base)
        elif is_hidden(name) or not (is_media(name) or is_label(name)):
            self.others += not is_hidden(name)
        elif name in self.written:
            self._refuse(name, "a second member with this name")
        else:
            self._write(member, name)

    def link(self) -> None:
        """Puts the targets of links inside the archive under the links' names too."""
        for name, target in sorted(self.links.items()):
            for _ in range(LINK_DEPTH):
                target = self.links.get(target, target)
            if is_hidden(name) or not (is_media(name) or is_label(name)) or name in self.written:
                continue
            if target not in self.written:
                self._refuse(name, f"a link to {target!r}, which is no file of the archive")
                continue
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(self.folder / target, self.folder / name)

    def _write(self, member: Member, name: str) -> None:
        target = self.folder / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open(target, "xb") as file:
                for block in member.read():
                    file.write(block)
            self.written.add(name)
        except (FileExistsError, NotADirectoryError):
            self._refuse(name, "the archive has a file and a folder of this name")
        except ValueError as error:
            target.unlink(missing_ok=True)
            self._refuse(name, str(error))

    def _refuse(self, name: str, reason: str) -> None:
        self.refused.append((name.encode(errors="surrogateescape").decode(errors="backslashreplace"), reason))


def _safe(name: str, shown: str) -> str:
    try:
        return checked_name(name)
    except ValueError as error:
        if name.strip("/") in ("", "."):
            return "."  # the archive's own root
        raise Evil(f"member {shown!r}: {error}") from None


def _inside(member: Member, base: str) -> str:
    """Where a link inside the archive leads. Raises Evil where that is outside."""
    target = member.target or ""
    joined = os.path.normpath(f"{base}/{target}" if base else target)
    if target.startswith(("/", "\\")) or joined.split("/")[0] == ".." or "\\" in target or target[1:2] == ":":
        raise Evil(f"member {member.name!r} is a link that leads out of the archive, to {target!r}")
    return joined
