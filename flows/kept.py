"""What of a workspace is kept by a back-up, where it lies, and that nothing else backs up or restores meanwhile."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.core import paths
from components.core.bundle import POINTER
from components.core.errors import SightlineError, UsageError
from flows import processes
from flows.archive import locks
from flows.databases import COMPANIONS, SQLITE, PostgreSQL, is_sqlite

# Folders of .sightline/ that an archive does not hold, and why; a restore leaves them. One that is in no list is kept.
STAYS = {
    "work": "work per asset", "fetched": "copies of remote sources", "scenes": "generated", "cameras": "generated",
    "digits": "generated", "wild": "generated", "data_docs": "pages of the last validation", "engines": "measured on "
    "this machine", "bench": "measurements", "spark": "scratch", "run": "what runs now", "locks": "what runs now",
    "logs": "logs", "compose": "what containers keep", "restored": "a restore's notes",
    "replaced": "what a restore replaced",
}  # fmt: skip
KEPT = {
    "mlflow": "registry, runs, their artifacts and lineage", "deployed": "bundles, pointers to champions",
    "prefect": "runs, schedules, automations", "monitoring": "retraining asked for", "scores": "scored footage",
    "gathered": "pictures that a search found", "edge": "what devices sent",
}  # fmt: skip
ROOT_FILES = ("params.yaml", "dvc.lock")
STATE, ROOT = "state", "workspace"  # folders of the archive
REGISTRY = ("mlflow", "mlflow.db")  # in .sightline/
WORKSPACE, POSTGRESQL = "workspace", "postgresql"


@dataclass(frozen=True)
class Registry:
    """The registry's database. `kind`: workspace, the SQLite file in `.sightline/` | postgresql, that of `server`."""

    kind: str
    server: PostgreSQL | None = None


def registry(named: str | None) -> Registry:
    """The database behind the registry: the one that is named, or that MLFLOW_TRACKING_URI leads to.

    Raises UsageError where that is another's server, whose database nobody here knows, or another SQLite file.
    """
    uri = named or os.environ.get("MLFLOW_TRACKING_URI", "")
    if uri.startswith("http"):
        served = processes.find("mlflow")
        if served is None or served.url != uri.rstrip("/"):
            raise UsageError(
                f"{uri}: an MLflow server; which database it has is not known here",
                "name that: --registry postgresql://USER@HOST/NAME",
            )
        uri = ""
    if uri.startswith(SQLITE) and Path(uri.removeprefix(SQLITE)).resolve() != paths.state(*REGISTRY).resolve():
        raise UsageError(f"{uri}: a registry in a file of its own is not backed up", "sqlite3 FILE '.backup COPY' does")
    if not uri or uri.startswith(SQLITE):
        return Registry(WORKSPACE)
    return Registry(POSTGRESQL, PostgreSQL.of(uri))


def files() -> Iterator[tuple[str, Path]]:
    """(name in the archive, path) of every file of the workspace that is kept, databases among them, in order."""
    for name in ROOT_FILES:
        if (path := paths.workspace() / name).is_file():
            yield f"{ROOT}/{name}", path
    state = paths.state()
    for folder in sorted(state.iterdir()) if state.is_dir() else ():
        if folder.name not in STAYS:
            yield from below(folder, f"{STATE}/{folder.name}")


def below(folder: Path, name: str) -> Iterator[tuple[str, Path]]:
    """(name/..., path) of every file below `folder`, or of itself; links are followed, temporary files left out.

    Raises OSError for a folder that cannot be read.
    """
    if folder.is_file():
        yield name, folder
        return
    for place, folders, found in os.walk(folder, followlinks=True, onerror=_unless_gone):
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in sorted(found):
            path = Path(place, file)
            if not file.startswith(".") and path.is_file() and not _is_companion(path):
                yield f"{name}/{path.relative_to(folder).as_posix()}", path


def _unless_gone(error: OSError) -> None:
    """Of what may not be read somebody must hear; what is gone, or no folder, holds nothing."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error


def _is_companion(path: Path) -> bool:
    """Whether the file belongs to a SQLite database beside it."""
    for ending in COMPANIONS:
        base = path.with_name(path.name.removesuffix(ending))
        if path.name.endswith(ending) and base.is_file() and is_sqlite(base):
            return True
    return False


def pointers() -> dict[str, bytes]:
    """Name in the archive -> content, of the files that say what each recipe serves."""
    found = sorted(paths.state("deployed").glob(f"*/{POINTER}"))
    return {f"{STATE}/deployed/{path.parent.name}/{POINTER}": path.read_bytes() for path in found}


def busy() -> list[str]:
    """What works in this workspace now: services, and runs of recipes."""
    working = [name for name in processes.recorded() if processes.find(name)]
    for path in sorted(paths.state("run", "turns").glob("*.json")):
        with open(path) as handle:
            if not locks(handle):
                working.append(f"a run of {path.stem}")
    return working


def unfinished() -> Path:
    """The file that is there while a restore has still to put things in their places."""
    return paths.state("restored", "unfinished.json")


@contextmanager
def alone() -> Iterator[None]:
    """One back-up or restore of a workspace at a time. Raises SightlineError where another goes on."""
    root = os.open(
        paths.workspace(), os.O_RDONLY
    )  # the folder itself is locked: `.sightline/` may be changed for another
    try:
        if not locks(root):
            raise SightlineError(f"{paths.workspace()}: another back-up or restore goes on", "wait for its end")
        yield
    finally:
        os.close(root)


@contextmanager
def scratch() -> Iterator[Path]:
    """Yields an empty folder beside `.sightline/`, on its disk, for its owner alone, as archives are; what a killed
    process left in it is removed."""
    folder = beside()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def beside(ending: str = ".aside") -> Path:
    """A path on the file system of `.sightline/`, beside it."""
    state = paths.state().resolve()
    return state.with_name(state.name + ending)
