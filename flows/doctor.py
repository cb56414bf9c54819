"""`sightline doctor`: what the machine and the workspace bring, each with the remedy where it falls short."""

import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from components.core import java, paths
from components.core.errors import SightlineError
from components.core.recipe import load_recipe, recipe_names

NEED_GB = 5.0
PACKAGES = ("torch", "horovod", "pyspark", "av", "mlflow", "great_expectations", "hyperopt", "prefect", "dvc")


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `state`: ok | note | missing."""

    what: str
    state: str
    detail: str
    remedy: str = ""


def examine() -> list[Finding]:
    """All findings, in the order in which they matter."""
    checks: list[Callable[[], Finding]] = [
        _python, _packages, _java, _repository, _parameters, _python_on_path, _disk, _mirror, _services
    ]  # fmt: skip
    return [check() for check in checks]


def show(findings: list[Finding]) -> None:
    """Prints the findings as a table, each remedy below its line."""
    from rich.console import Console

    console = Console(highlight=False)
    for finding in findings:
        colour = {"ok": "green", "note": "yellow", "missing": "red"}[finding.state]
        console.print(f"[{colour}]{finding.state:8}[/] {finding.what:12} ", finding.detail, soft_wrap=True, sep="")
        if finding.remedy:
            console.print(f"{'':22}remedy: {finding.remedy}", soft_wrap=True)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        return Finding("Python", "missing", f"{version}; Sightline needs 3.11", "make setup with PYTHON=python3.11")
    return Finding("Python", "ok", f"{version} ({sys.executable})")


def _packages() -> Finding:
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        return Finding("packages", "missing", f"not installed: {', '.join(absent)}", "make setup")
    return Finding("packages", "ok", f"{', '.join(PACKAGES)}")


def _java() -> Finding:
    try:
        return Finding("Java", "ok", str(java.java_home()))
    except SightlineError as error:
        return Finding("Java", "missing", error.problem, error.remedy)


def _repository() -> Finding:
    root = paths.workspace()
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    if not (root / ".dvc").is_dir():
        return Finding("workspace", "missing", f"{root}: no .dvc folder", "use a clone of the project, or: dvc init")
    if git.returncode:
        return Finding("workspace", "note", f"{root}: no git commit", "commit, so that runs name what they ran")
    return Finding("workspace", "ok", f"{root} at {git.stdout.strip()}")


def _parameters() -> Finding:
    try:
        names = recipe_names()
        for name in names:
            load_recipe(name)
        return Finding("params.yaml", "ok", f"recipes: {', '.join(names)}")
    except SightlineError as error:
        return Finding("params.yaml", "missing", error.problem, error.remedy)


def _python_on_path() -> Finding:
    found = shutil.which("python")
    if found and os.path.samefile(found, sys.executable):
        return Finding("dvc repro", "ok", f"`python` is {found}")
    return Finding(
        "dvc repro", "note", f"`python` on PATH is {found or 'nothing'}: plain `dvc repro` would take it",
        f"before dvc repro: source {os.path.dirname(sys.executable)}/activate",
    )  # fmt: skip


def _disk() -> Finding:
    free = shutil.disk_usage(paths.workspace()).free / 1e9
    if free < NEED_GB:
        return Finding("disk", "missing", f"{free:.1f} GB free, {NEED_GB:.0f} needed", "free some: dvc gc --workspace")
    return Finding("disk", "ok", f"{free:.0f} GB free")


def _mirror() -> Finding:
    folder = paths.mirror()
    if folder is None:
        return Finding("mirror", "ok", "SIGHTLINE_MIRROR is not set: data sets and weights are not looked for locally")
    if not folder.is_dir():
        return Finding("mirror", "missing", f"SIGHTLINE_MIRROR: {folder} is not a folder", "correct or unset it")
    return Finding("mirror", "ok", str(folder))


def _services() -> Finding:
    from flows import services

    rows = [row for row in services.status() if row.state != "stopped"]
    dead = [row.service for row in rows if row.state == "died"]
    if dead:
        return Finding("services", "note", f"died: {', '.join(dead)}", "see .sightline/logs, then: sightline up")
    return Finding("services", "ok", ", ".join(f"{row.service} {row.state}" for row in rows) or "none running")
