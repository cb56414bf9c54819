"""Generated sources: scenes (video), cameras (pictures with EXIF), digits (a folder per class), wild. Once per spec."""

import csv
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.core import paths
from components.core.files import value_sha256
from components.core.progress import progress
from components.core.recipe import Recipe
from components.ingest.sources.folder import walk
from components.ingest.sources.source import AUTO, FOLDERS, Source, find_labels, locked, words

DIGITS = 10


@dataclass(frozen=True)
class Generator:
    """A generator and what its footage is like.

    `module` has the class `spec` and `generate(spec, folder, progress=)`, which writes the file `marker` last; `code`
    is the package whose source decides the bytes. `total(spec)` counts the `unit`s made. `labels`: `folders` or auto.
    """

    module: str
    spec: str
    code: str
    marker: str
    unit: str
    total: Callable[[Any], int]
    labels: str = AUTO
    negative: tuple[str, ...] = ()
    positive: tuple[str, ...] = ()


GENERATORS = {
    "scenes": Generator(
        "components.scenes", "SceneSpec", "components.scenes", "scene.json", "clips",
        lambda spec: sum(spec.clips(split) for split in ("train", "val", "test")), AUTO, ("0",), ("1",),
    ),
    "cameras": Generator(
        "components.pictures.cameras", "CameraSpec", "components.pictures", "spec.json", "pictures",
        lambda spec: spec.sites * spec.pictures, AUTO, ("empty",), ("animal",),
    ),
    "digits": Generator(
        "components.pictures.digits", "DigitSpec", "components.pictures", "spec.json", "pictures",
        lambda spec: DIGITS * spec.per_class, FOLDERS,
    ),
    "wild": Generator(
        "components.pictures.wild", "WildSpec", "components.pictures", "spec.json", "pictures",
        lambda spec: spec.pictures, AUTO, ("empty",), ("animal",),
    ),
}  # fmt: skip


def locate(recipe: Recipe) -> Source:
    """The footage of the recipe's generator, made first where it is not there or was interrupted."""
    kind = GENERATORS[recipe.source]
    module = importlib.import_module(kind.module)
    spec = getattr(module, kind.spec)(**getattr(recipe.ingest, recipe.source).model_dump())
    # The generator's own source is part of the name: a changed generator never passes for the footage of the old one.
    digest = value_sha256({"spec": asdict(spec), "code": code_sha256(kind.code)})[:16]
    root = paths.state(recipe.source, digest)
    with locked(root.with_suffix(".lock")):
        if not (root / kind.marker).is_file():
            with progress(recipe.source, kind.total(spec), kind.unit) as ticker:
                module.generate(spec, root, progress=lambda done, total: ticker.update(done))
    found = walk(root)
    prefix = root.relative_to(paths.workspace()).as_posix()
    labels, form = find_labels(recipe, root, kind.labels)
    return Source(
        root, recipe.source, prefix, tuple(found.files), found.others, labels,
        words(recipe, kind.negative, kind.positive), _given_split(root, found.files), form,
        refused=tuple(found.refused),
    )  # fmt: skip


def code_sha256(package: str) -> str:
    """SHA-256 over the names and bytes of a package's modules, in hex."""
    folder = Path(importlib.import_module(package).__file__).parent
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _given_split(root: Path, files: list[str]) -> dict[str, str]:
    if not (root / "clips.csv").is_file():
        return {}
    with open(root / "clips.csv", newline="") as file:
        given = {row["video"]: row["split"] for row in csv.DictReader(file)}
    return {name: given[Path(name).name] for name in files}
