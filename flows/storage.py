"""Where versions of data and models go beyond this workspace: a DVC remote, named in params.yaml."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from components.core import paths
from components.core.errors import TransientError, UsageError
from flows.graph import read_graph

REMOTE = "sightline"
SERVED = ("promotion", "deployment")  # what a service needs: the decision and the bundle


def remote_url() -> str:
    """`storage.remote` of params.yaml (a folder or what DVC takes: s3://..., ssh://...), else a folder of the user's.

    A relative folder counts from the workspace. Raises UsageError for another key or kind of value.
    """
    storage = yaml.safe_load((paths.workspace() / "params.yaml").read_text()).get("storage") or {}
    if not isinstance(storage, dict) or set(storage) - {"remote"}:
        raise UsageError(f"params.yaml: storage: {storage!r}", "it has one key, remote")
    named = storage.get("remote")
    if named is None:
        home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        return str(Path(home) / "sightline" / "remote")
    if not isinstance(named, str) or not named:
        raise UsageError(f"params.yaml: storage.remote: {named!r}", "a folder or a URL, or null for the default")
    return named if "://" in named else str(paths.workspace() / named)


def push(recipes: list[str]) -> str:
    """Sends all versions that dvc.lock names of these recipes to the remote; returns what DVC says of it."""
    return _dvc("push", [node.name for recipe in recipes for node in read_graph(recipe)])


def pull(recipe: str, everything: bool) -> str:
    """Brings what dvc.lock names here: decision and bundle, or `everything` of the recipe; returns what DVC says."""
    names = [node.name for node in read_graph(recipe)]
    return _dvc("pull", [name for name in names if everything or name.partition("@")[0] in SERVED])


def _dvc(what: str, names: list[str]) -> str:
    url = remote_url()
    # Of this workspace alone: what one machine keeps where is no part of the project.
    _run("remote", "add", "--local", "--force", REMOTE, url)
    return _run(what, "--remote", REMOTE, *names)


def _run(*arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
    done = subprocess.run(command, cwd=paths.workspace(), capture_output=True, text=True)
    if done.returncode:
        said = " ".join(done.stderr.split()) or f"dvc ended with {done.returncode}"
        raise TransientError(f"dvc {arguments[0]}: {said}", f"see that {remote_url()} can be reached, then again")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
