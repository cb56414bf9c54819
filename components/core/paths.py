"""Where things lie in a workspace. Everything is relative to the workspace root, so that outputs name no machine."""

import os
from pathlib import Path

from components.core.errors import SightlineError


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


def user_cache(*parts: str) -> Path:
    """A path in the user's cache, shared by all workspaces (wheels, downloaded weights)."""
    root = os.environ.get("SIGHTLINE_CACHE") or Path.home() / ".cache" / "sightline"
    return Path(root).joinpath(*parts)


def mirror() -> Path | None:
    """The local mirror of data sets and weights (SIGHTLINE_MIRROR), or None."""
    named = os.environ.get("SIGHTLINE_MIRROR")
    return Path(named).resolve() if named else None


def resolve(uri: str) -> Path:
    """The local file of a catalog uri: `mirror://NAME/...`, an absolute path, or a path relative to the workspace.

    Raises SightlineError where the mirror is needed and SIGHTLINE_MIRROR is not set.
    """
    if uri.startswith("mirror://"):
        root = mirror()
        if root is None:
            raise SightlineError(f"{uri}: SIGHTLINE_MIRROR is not set", "set it to the folder that holds the data sets")
        return root / uri.removeprefix("mirror://")
    return workspace() / uri
