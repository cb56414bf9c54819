"""`python -m components.ingest.fetch NAME`: a data set brought here and checked, or all that are known listed."""

import argparse
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_json, atomic_path, file_sha256, read_json
from components.core.progress import progress
from components.core.recipe import load_recipe, nearest, recipe_names
from components.core.stage import guarded
from components.ingest.sources import locate, unpack, web
from components.ingest.sources.datasets import DATASETS, Dataset, File
from components.ingest.sources.listing import Entry
from components.ingest.sources.named import place
from components.ingest.sources.remote import synchronise
from components.ingest.sources.source import locked

STATE = "fetched.json"
SHOWN = 5


def main(name: str, as_json: bool) -> None:
    """Brings the data set, or the source of the recipe, of this name here, and says what it is and what comes next."""
    if name not in DATASETS:
        return _recipe(name)
    dataset = DATASETS[name]
    root, checked = obtain(name, dataset)
    if as_json:
        print(json.dumps({"name": name, "path": str(root), "files": len(dataset.files), "checked": checked}, indent=2))
        return
    _say(f"{name}: {dataset.about}")
    if not checked:
        _say(f"{root}: there; nothing was checked: no SHA-256 of what lies there is published")
    else:
        rest = "" if checked == len(dataset.files) else "; of the others none is published"
        _say(f"{root}: there; {checked} of {len(dataset.files)} files have their published SHA-256{rest}")
    _say(f"licence: {dataset.licence}")
    _say(f"please cite: {dataset.cite}")
    _say(f"next: sightline run RECIPE --set source={name}")


def obtain(name: str, dataset: Dataset) -> tuple[Path, int]:
    """(folder of a data set that is there whole, number of its files that a published checksum vouches for).

    What the mirror holds whole is used in place; else it is put together in the user's cache, of the mirror's files
    and of the network's. Raises SightlineError where a file cannot be had or is not what was published.
    """
    root, there = paths.user_cache("data", dataset.folder), place(dataset)
    mirrored = there if there and there != root else None
    if mirrored and dataset.unpack:
        return mirrored, 0
    if mirrored and not (missing := [file.path for file in dataset.files if not (mirrored / file.path).is_file()]):
        return mirrored, _check(mirrored, dataset.files)
    if mirrored:
        _say(f"{mirrored}: {len(missing)} of {len(dataset.files)} files are not there: {_some(missing)}")
    if not dataset.files:
        if not there:
            problem = f"{name}: this data set is laid out by hand: its terms or its form allow no command to fetch it"
            raise SightlineError(problem, f"put it into {root}: {dataset.by_hand}")
        return root, 0
    with locked(root.with_suffix(".lock")):
        files, unpacked = _with_known(root, dataset.files), (root / STATE).is_file() and there == root
        _from_mirror(root, files)
        _from_network(root, name, files)
        if dataset.unpack and not unpacked:
            getattr(unpack, dataset.unpack)(root)
        atomic_json(
            root / STATE, {"name": name, "sha256": {file.path: file_sha256(root / file.path) for file in files}}
        )
    return root, sum(file.sha256 is not None for file in dataset.files)


def _with_known(root: Path, files: tuple[File, ...]) -> tuple[File, ...]:
    """The files with the checksums that they had when they were fetched, where none is published."""
    if not (root / STATE).is_file():
        return files
    known = read_json(root / STATE, "take the file away: the data set is then looked at anew").get("sha256", {})
    return tuple(replace(file, sha256=file.sha256 or known.get(file.path)) for file in files)


def _check(root: Path, files: tuple[File, ...]) -> int:
    """The number of files that have their checksum. Raises SightlineError where any has another."""
    files = tuple(file for file in files if file.sha256)
    wrong = []
    if files:
        with progress("check", len(files), "files") as ticker:
            for file in files:
                if file_sha256(root / file.path) != file.sha256:
                    wrong.append(file.path)
                ticker.advance()
    if wrong:
        problem = f"{root}: {len(wrong)} files are not what was published (SHA-256): {_some(wrong)}"
        raise SightlineError(problem, "replace them, or take them away so that they are fetched")
    return len(files)


def _from_mirror(root: Path, files: tuple[File, ...]) -> None:
    """Copies what the mirror has into the cache. Raises SightlineError where it is not what was published."""
    mirror = paths.mirror()
    for file in files if mirror else ():
        candidates = [mirror / root.name / file.path, *([mirror / file.mirrored] if file.mirrored else [])]
        source = next((path for path in candidates if path.is_file()), None)
        if source is None or (root / file.path).is_file():
            continue
        if file.sha256 and file_sha256(source) != file.sha256:
            problem = f"{source}: not what was published (SHA-256)"
            raise SightlineError(problem, "replace it, or take it away so that it is fetched")
        with atomic_path(root / file.path) as temporary:
            shutil.copyfile(source, temporary)


def _from_network(root: Path, name: str, files: tuple[File, ...]) -> None:
    """Fetches what is not there yet or is not what it must be. Raises SightlineError naming what cannot be had."""
    todo = [file for file in files if not _is_there(root, file)]
    session = web.new_session()
    entries = [Entry(file.path, file.url, file.bytes, file.sha256) for file in todo]
    refused = synchronise(root, entries, lambda *arguments: web.fetch(session, *arguments), name)
    if refused:
        urls = {file.path: file.url for file in files}
        problem = f"{name}: {len(refused)} of {len(files)} files: {_some([f'{urls[n]}: {why}' for n, why in refused])}"
        raise SightlineError(problem, f"run again, or put them into {root} or below SIGHTLINE_MIRROR by hand")


def _is_there(root: Path, file: File) -> bool:
    return (root / file.path).is_file() and file.sha256 in (None, file_sha256(root / file.path))


def _recipe(name: str) -> None:
    """Brings a recipe's own source here, whatever it is."""
    try:
        known = recipe_names()
    except SightlineError:
        known = []  # outside a workspace there are data sets only
    if name not in known:
        raise UsageError(f"{name!r} is no data set" + (", and no recipe" if known else ""), nearest(
            name, [*DATASETS, *known]))  # fmt: skip
    os.chdir(paths.workspace())
    recipe = load_recipe(name)
    if recipe.source in DATASETS:
        return main(recipe.source, False)
    source = locate(recipe)
    _say(f"{recipe.source}: {len(source.files)} videos and pictures in {source.root}")
    _say(f"next: sightline run {name}")


def show(as_json: bool) -> None:
    """Prints the data sets that are known, and which of them are here."""
    rows = []
    for name, dataset in sorted(DATASETS.items()):
        here = place(dataset)
        rows.append({"name": name, "here": str(here) if here else None, "fetched": bool(dataset.files),
                     "about": dataset.about, "licence": dataset.licence, "cite": dataset.cite})  # fmt: skip
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = "here" if row["here"] else "to be fetched" if row["fetched"] else "by hand"
        print(f"{row['name']:14} {state:14} {row['about']} ({row['licence']})")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _run() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m components.ingest.fetch",
        description=__doc__,
        epilog="example: python -m components.ingest.fetch caviar",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="a data set, or a recipe whose source is fetched")
    parser.add_argument("--list", action="store_true", help="list the data sets that are known")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args()
    if arguments.list or arguments.name is None:
        return guarded(lambda: show(arguments.json), "data")
    return guarded(lambda: main(arguments.name, arguments.json), f"data {arguments.name}")


if __name__ == "__main__":
    sys.exit(_run())
