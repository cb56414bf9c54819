"""Where things lie in a workspace. Everything is relative to the workspace root, so that outputs name no machine."""

import hashlib
import os
import re
from pathlib import Path
from urllib.parse import unquote

from components.core.errors import SightlineError

DATASET = "dataset://"
MEMBER = "!/"  # between an archive's uri and a member's name, after an archive's suffix
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")

_REMOTE = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
_MEMBER = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, ARCHIVE_SUFFIXES))})){MEMBER}(.+)", re.DOTALL | re.IGNORECASE)


def workspace() -> Path:
    """The workspace root: SIGHTLINE_WORKSPACE, else the nearest folder upwards that holds a dvc.yaml."""
    if named := os.environ.get("SIGHTLINE_WORKSPACE"):
        return Path(named).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "dvc.yaml").is_file():
            return folder
    raise SightlineError(
        f"{here}: no dvc.yaml here or above", "run the command inside a Sightline checkout, or set SIGHTLINE_WORKSPACE"
    )


def data(recipe: str, table: str = "") -> Path:
    """The folder of a recipe's DVC outputs, or of one of them."""
    return workspace() / "data" / recipe / table


def state(*parts: str) -> Path:
    """A path in `.sightline/`: what a workspace keeps outside DVC (work cache, MLflow, deployed bundles, logs)."""
    return workspace().joinpath(".sightline", *parts)


def scores(recipe: str) -> Path:
    """The table of a champion's predictions on footage that it was not made from: a shard per asset."""
    return state("scores", recipe, "predictions")


def user_cache(*parts: str) -> Path:
    """A path in the user's cache, shared by all workspaces (wheels, downloaded weights)."""
    root = os.environ.get("SIGHTLINE_CACHE") or Path.home() / ".cache" / "sightline"
    return Path(root).joinpath(*parts)


def mirror() -> Path | None:
    """The local mirror of data sets and weights (SIGHTLINE_MIRROR), or None."""
    named = os.environ.get("SIGHTLINE_MIRROR")
    return Path(named).resolve() if named else None


def resolve(uri: str) -> Path:
    """The local file of a catalog uri; whether it is there is for the caller to find out.

    `dataset://NAME/...`: in the mirror or, where it is not there, in what `sightline data` fetched. `s3://...`,
    `https://...`: the copy in `.sightline/fetched`. `ARCHIVE!/member`: what was extracted. Else an absolute path or one
    relative to the workspace. Raises SightlineError where a data set's file is in neither place, or a uri leads out of
    its folder.
    """
    if uri.startswith(DATASET):
        name, _, rest = uri.removeprefix(DATASET).partition("/")
        places = [root / _inside(uri, name) / _inside(uri, rest) for root in dataset_roots()]
        for place in places:
            if place.exists():
                return place
        raise SightlineError(
            f"{uri}: not there ({', '.join(map(str, places))})",
            f"fetch it with `sightline data {name}`, or set SIGHTLINE_MIRROR to the folder that holds it",
        )
    if member := _MEMBER.fullmatch(uri):
        return extracted(member[1]) / _inside(uri, member[2])
    if _REMOTE.fullmatch(uri):
        return fetched(uri)
    return workspace() / uri


def dataset_roots() -> list[Path]:
    """Where data sets may lie, each in a folder of its own: the mirror, then what `sightline data` fetched."""
    root = mirror()
    return [*([root] if root else []), user_cache("data")]


def fetched(uri: str) -> Path:
    """Where the copy of a remote file or folder lies in this workspace: its uri's parts, below `.sightline/fetched`."""
    scheme, rest = _REMOTE.fullmatch(uri).groups()
    if scheme in ("http", "https"):
        rest = unquote(rest)
    return state("fetched", scheme, _inside(uri, rest.rstrip("/")))


def extracted(uri: str) -> Path:
    """Where the members of the archive with this uri lie in this workspace."""
    return state(
        "fetched", "archives", hashlib.sha256(uri.encode(errors="surrogateescape")).hexdigest()[:16], "members"
    )


def _inside(uri: str, path: str) -> str:
    if path.startswith("/") or ".." in path.split("/") or "\0" in path:
        raise SightlineError(f"{uri!r}: leads out of its folder", "correct the uri")
    return path
