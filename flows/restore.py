"""Restore: an archive becomes the workspace's state. Built and checked beside it, then put in its place at once.

One rename exchanges `.sightline/` for what was built: a restore that is killed before it has changed nothing, one that
is killed after it is finished by the next. What was replaced is kept in `.sightline/replaced/TIME`.
"""

import ctypes
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.core import paths
from components.core.bundle import read_bundle, read_pointer
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_bytes, atomic_json, link_or_copy, read_json, sync_directory
from components.core.progress import progress
from flows import carried, databases, kept
from flows.archive import manifest, unpack
from flows.backup import CACHE, DUMP, MB, counting, dvc_cache

NOTES = "archive.json"  # in .sightline/restored/
CURRENT, EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of renameat2(2)


@dataclass(frozen=True)
class Restored:
    """A restore: the archive's time and commit; recipe -> version served; what the archive does not hold; the folder of
    what was replaced, from the workspace."""

    made: str
    commit: str | None
    champions: dict[str, int]
    left_out: list[str]
    replaced: str


def restore(source: str, registry: str | None, force: bool, say: Callable[[str], None]) -> Restored:
    """Makes the archive at `source`, a file or a URL, the state of this workspace.

    `registry`: the URL of the database that takes the registry, of an archive whose registry was PostgreSQL's. Without
    `force` a workspace or database that has a registry is left alone. A restore that was cut off while it put things in
    place is finished instead. Raises UsageError, SightlineError; the state is then as it was.
    """
    with kept.alone():
        new = kept.beside(".new")
        if kept.unfinished().exists():
            say("a restore was cut off while it put things in place: finishing that one")
            return _finish(registry)
        shutil.rmtree(new, ignore_errors=True)
        if working := kept.busy():
            raise SightlineError(f"{paths.workspace()}: in use by {', '.join(working)}", "sightline down, then again")
        if not force and (there := _registry_here()):
            raise UsageError(f"{there}: this workspace has a registry", "restore elsewhere, or replace it by --force")
        with kept.scratch() as scratch:
            body = _unpacked(source, scratch)
            target = kept.registry(registry)
            _stage_registry(scratch, body, target, force)
            _add_cache(scratch / CACHE)
            os.rename(_state_to_be(scratch, body, target), new)
        _exchange(new, paths.state().resolve())
        return _finish(registry)


def verify(source: str) -> dict[str, Any]:
    """The manifest of an archive all of whose files are as it says, and whose champions can be served. Raises
    SightlineError where they are not."""
    with kept.alone(), kept.scratch() as scratch:
        return _unpacked(source, scratch)


def _unpacked(source: str, scratch: Path) -> dict[str, Any]:
    """Unpacks the archive into `scratch`, every byte checked; returns its manifest."""
    archive = Path(source).expanduser()
    if carried.is_remote(source):
        archive = scratch / "archive.tar"
        carried.fetch(source, archive)
    body = manifest(archive)
    if strange := [name for name in body["files"] if not _has_place(name)]:
        raise SightlineError(f"{source}: holds {strange[0]!r}, which no back-up does", "take another archive")
    total = sum(facts["bytes"] for facts in body["files"].values())
    carried.check_room(scratch, total)
    with progress("restore", total // MB + 1, "MB") as ticker:
        unpack(archive, scratch, counting(ticker))
        ticker.update(total // MB + 1)
    for recipe in body["champions"]:
        deployed = scratch / kept.STATE / "deployed" / recipe
        pointer = read_pointer(deployed)
        if read_bundle(deployed / pointer.folder).digest != pointer.digest:
            raise SightlineError(f"{source}: the bundle of {recipe} is not the one its pointer names", "take another")
    return body


def _has_place(name: str) -> bool:
    """Whether a file of an archive is one that a restore puts anywhere, by its name."""
    top, _, rest = name.partition("/")
    known = {kept.ROOT: rest in kept.ROOT_FILES, kept.STATE: rest.partition("/")[0] not in kept.STAYS, CACHE: True}
    return name == DUMP or known.get(top, False)


def _registry_here() -> Path | None:
    found = [paths.state(*kept.REGISTRY), *sorted(paths.state("deployed").glob("*/champion.json"))]
    return next((path for path in found if path.exists()), None)


def _stage_registry(scratch: Path, body: dict[str, Any], target: kept.Registry, force: bool) -> None:
    """Makes the registry to be, with its artifacts where they will lie: the file in `scratch`, or a new database."""
    if body["registry"] != target.kind:
        raise UsageError(
            f"the archive's registry is of kind {body['registry']}, and this workspace's of kind {target.kind}",
            "unset MLFLOW_TRACKING_URI" if target.server else "name a database: --registry postgresql://USER@HOST/NAME",
        )
    before, after = Path(body["state"]), paths.state()
    moved = {f"{before.as_uri()}/": f"{after.as_uri()}/", f"{before}/": f"{after}/"} if before != after else {}
    if target.server:
        if not force and not target.server.is_empty():
            raise UsageError(f"{target.server.url}: has tables", "name an empty database, or replace it by --force")
        target.server.stage(scratch / DUMP, moved)
    elif (file := scratch.joinpath(kept.STATE, *kept.REGISTRY)).exists():
        databases.move_sqlite(file, moved)


def _add_cache(cache: Path) -> None:
    """Adds what the archive has of DVC's cache to that of this workspace: by its names it can replace nothing."""
    if cache.is_dir():
        here = dvc_cache()
        for name, path in kept.below(cache, ""):
            if not (target := here / name.lstrip("/")).exists():
                link_or_copy(path, target)


def _state_to_be(scratch: Path, body: dict[str, Any], target: kept.Registry) -> Path:
    """Makes what is to be `.sightline/`, with notes of what is still to be done; returns its folder."""
    state = scratch / kept.STATE
    notes = state / kept.unfinished().parent.name
    notes.mkdir(parents=True)
    if (root := scratch / kept.ROOT).is_dir():
        os.rename(root, notes / kept.ROOT)
    atomic_json(notes / NOTES, {name: value for name, value in body.items() if name != "files"})
    database = target.server and target.server.url
    still = {"replaced": f"{datetime.now(UTC):%Y%m%dT%H%M%S_%f}", "database": database}
    atomic_json(notes / kept.unfinished().name, still)
    sync_directory(state)
    return state


def _exchange(new: Path, state: Path) -> None:
    """Puts the folder `new` at `state`, and what is there at `new`, in one step. Raises SightlineError."""
    if not state.exists():
        os.rename(new, state)
    else:
        library = ctypes.CDLL(None, use_errno=True)
        if library.renameat2(CURRENT, os.fsencode(new), CURRENT, os.fsencode(state), EXCHANGE):
            said = os.strerror(ctypes.get_errno())
            raise SightlineError(
                f"{state}: this file system cannot exchange two folders ({said})", f"move {state} away, then again"
            )
    sync_directory(state.parent)


def _finish(registry: str | None) -> Restored:
    """Does what is left once the state is in its place; any step may have been done before."""
    state, old, notes = paths.state(), kept.beside(".new"), kept.unfinished().parent
    body = read_json(notes / NOTES, "restore the archive again, by --force")
    still = read_json(kept.unfinished(), "restore the archive again, by --force")
    time = still["replaced"]
    if body["registry"] == kept.POSTGRESQL:
        server = kept.registry(registry).server
        if server is None or server.url != still["database"]:  # of another nothing waits to be put in place
            raise UsageError(f"{still['database']}: is still to be put in place", "name that by --registry, as before")
        server.switch(f"{server.name}_replaced_{time}")
    replaced = state / "replaced" / time
    for name in kept.STAYS:
        if (old / name).exists() and not (state / name).exists():
            os.rename(old / name, state / name)
    replaced.mkdir(parents=True, exist_ok=True)
    for file in sorted((notes / kept.ROOT).glob("*")):
        target, content = paths.workspace() / file.name, file.read_bytes()
        if target.exists() and target.read_bytes() != content:
            link_or_copy(target, replaced / file.name)
        atomic_bytes(target, content)
    if old.exists():
        os.rename(old, replaced / "sightline")
    kept.unfinished().unlink()
    sync_directory(notes)
    facts = {name: body[name] for name in ("made", "commit", "champions", "left_out")}
    return Restored(**facts, replaced=str(replaced.relative_to(paths.workspace())))
