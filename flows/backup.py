"""Back-up: what a service with the same champion needs after its machine is lost, in one archive, while all goes on.

It holds `.sightline/` but for what can be made again, dvc.lock and params.yaml, the registry's database where that lies
elsewhere, and DVC's cache where it is asked for. It does not hold what git has.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import file_sha256
from components.core.progress import Ticker, progress
from flows import carried, databases, kept
from flows.archive import writing

DUMP = "databases/registry.pgdump"  # of a registry that is not in `.sightline/`
CACHE = "cache"
SUFFIX = ".tar"
MB = 1_000_000
TRIES = 20  # until no champion is moved while the registry is copied
REGISTERED = "select distinct r.artifact_uri from runs r join model_versions m on m.run_id = r.run_uuid"


@dataclass(frozen=True)
class Taken:
    """A back-up: where it is, its size in bytes, files and digest; recipe -> version served; what it does not hold."""

    archive: str
    bytes: int
    files: int
    sha256: str
    champions: dict[str, int]
    left_out: list[str]


def back_up(to: str, registry: str | None, data: bool, say: Callable[[str], None]) -> Taken:
    """Writes an archive to `to`: a file (.tar) or a folder, here or where fsspec reaches (s3://...).

    `registry`: the URL of the registry's database, where MLFLOW_TRACKING_URI does not tell; `data`: DVC's cache too.
    The archive appears whole or not at all. Raises UsageError, SightlineError.
    """
    source = kept.registry(registry)
    url = to if to.endswith(SUFFIX) else f"{to.rstrip('/')}/{_name()}"
    with kept.alone(), kept.scratch() as scratch:
        if kept.unfinished().exists():
            raise SightlineError(f"{kept.unfinished()}: a restore was cut off", "sightline restore ARCHIVE finishes it")
        target = scratch / url.rpartition("/")[2] if carried.is_remote(url) else Path(url).expanduser().absolute()
        if target.exists():
            raise UsageError(f"{target}: is there already", "name another file or a folder")
        if target.resolve().is_relative_to(paths.state().resolve()):
            raise UsageError(f"{target}: in what is backed up: each archive would hold those before", "name another")
        copies, pointers = _at_one_time(scratch / "copies", source)
        found = dict(kept.files()) | copies
        if not pointers and not copies:
            raise SightlineError(f"{paths.workspace()}: no registry and no champion to keep", "sightline run RECIPE")
        if data:
            found |= dict(kept.below(dvc_cache(), CACHE))
        total = sum(_size(path) for path in found.values())
        carried.check_room(target, total)
        facts = _facts(source, pointers) | {"left_out": _left_out(source, copies, found, data), "data": data}
        with progress("backup", total // MB + 1, "MB") as ticker, writing(target, counting(ticker)) as archive:
            for name, content in sorted(pointers.items()):
                archive.add_bytes(name, content)
            for name in sorted(found.keys() - pointers.keys()):
                try:
                    archive.add(name, found[name])
                except FileNotFoundError:
                    say(f"{found[name]}: was removed meanwhile, and is not in the archive")
            archive.close(facts)
            ticker.update(total // MB + 1)
        digest = file_sha256(target)
        if carried.is_remote(url):
            carried.send(target, url, digest)
        size = target.stat().st_size
    return Taken(url, size, len(archive.files), digest, facts["champions"], facts["left_out"])


def dvc_cache() -> Path:
    """The folder of DVC's cache."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=paths.workspace(), capture_output=True, text=True)
    if done.returncode:
        raise SightlineError(f"dvc cache dir: {' '.join(done.stderr.split())}", "see that this is a DVC workspace")
    return Path(done.stdout.strip())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _name() -> str:
    return f"sightline-{paths.workspace().name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def counting(ticker: Ticker) -> Callable[[int], None]:
    """What counts bytes for a ticker of megabytes."""
    told = 0

    def tell(count: int) -> None:
        nonlocal told
        told += count
        ticker.update(told // MB)

    return tell


def _at_one_time(folder: Path, source: kept.Registry) -> tuple[dict[str, Path], dict[str, bytes]]:
    """(copies of all databases, by their names in the archive; the pointers), none moved while the others were read."""
    for _ in range(TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        before = kept.pointers()
        copies = _copies(folder, source)
        if before == kept.pointers():
            return copies, before
    raise SightlineError("champions are moved faster than they can be read", "back up when no promotion goes on")


def _copies(folder: Path, source: kept.Registry) -> dict[str, Path]:
    wanted = {name: path for name, path in kept.files() if databases.is_sqlite(path)}
    copies = {name: folder / name for name in wanted}
    for name, path in wanted.items():
        copies[name].parent.mkdir(parents=True, exist_ok=True)
        databases.copy_sqlite(path, copies[name])
    if source.server:
        copies[DUMP] = folder / DUMP
        copies[DUMP].parent.mkdir(parents=True, exist_ok=True)
        source.server.dump(copies[DUMP])
    return copies


def _facts(source: kept.Registry, pointers: dict[str, bytes]) -> dict[str, Any]:
    """What the manifest says of where the archive came from."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=paths.workspace(), capture_output=True, text=True)
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "state": str(paths.state()),
        "commit": commit.stdout.strip() or None,
        "registry": source.kind,
        "champions": {name.split("/")[-2]: json.loads(body)["version"] for name, body in pointers.items()},
    }


def _left_out(source: kept.Registry, copies: dict[str, Path], found: dict[str, Path], data: bool) -> list[str]:
    """What a reader might look for in the archive and would not find, in words."""
    said = [] if data else ["tables of data/: `sightline push` keeps them, or --data"]
    if not paths.state("prefect", "prefect.db").is_file():
        said.append("Prefect's database: it is not in this workspace")
    if paths.state("compose").is_dir():
        said.append("what containers keep (.sightline/compose): copy it after `sightline down --compose`")
    registry = "/".join((kept.STATE, *kept.REGISTRY))
    if source.server:
        uris = source.server.answers(REGISTERED)
    else:
        uris = databases.texts(copies[registry], REGISTERED) if registry in copies else []
    elsewhere = [uri for uri in uris if not _holds(found, uri)]
    if elsewhere:
        said.append(
            f"artifacts of {len(elsewhere)} registered models, such as {elsewhere[0]}: back up that store itself"
        )
    return said


def _holds(found: dict[str, Path], uri: str) -> bool:
    """Whether files of the artifacts at `uri` are among those found."""
    parts, state = urlsplit(uri), paths.state()
    if parts.scheme == "mlflow-artifacts":
        folder = state / "mlflow" / "artifacts" / unquote(parts.path).lstrip("/")
    else:
        folder = Path(unquote(parts.path))
    if parts.scheme not in ("file", "", "mlflow-artifacts") or not folder.is_relative_to(state):
        return False
    prefix = f"{kept.STATE}/{folder.relative_to(state).as_posix()}/"
    return any(name.startswith(prefix) for name in found)
