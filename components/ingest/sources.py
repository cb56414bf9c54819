"""Where the footage is: generated scenes, a named data set of the mirror, or a folder. Footage is never copied."""

import csv
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from components import scenes
from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.files import value_sha256
from components.core.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from components.core.progress import progress
from components.core.recipe import Recipe, nearest
from components.ingest.datasets import DATASETS

AUTO = "auto"
AUTO_LABELS = ("labels.csv", "frame_labels.csv")
SCENES = "scenes"


@dataclass(frozen=True)
class Source:
    """Footage in a folder. `files` are names below `root`, sorted; a file's uri is `uri_prefix`/name.

    `ignored` counts the files that are neither video nor picture. `label_map` turns the source's words into classes;
    `split` maps names to train, val or test where the source says so.
    """

    root: Path
    name: str
    uri_prefix: str
    files: tuple[str, ...]
    ignored: int = 0
    labels: Path | None = None
    label_map: dict[str, str] = field(default_factory=dict)
    split: dict[str, str] = field(default_factory=dict)

    def uri(self, name: str) -> str:
        """The catalog's uri of a file of this source."""
        return f"{self.uri_prefix}/{name}"


def locate(recipe: Recipe) -> Source:
    """The footage that `recipe.source` names: `scenes`, a data set, else a folder (relative to the workspace).

    Generates the scenes where they are not there yet. Raises SightlineError or UsageError where there is no such
    source, it holds no footage, or the labels file it is told to have is not there.
    """
    make = _scenes if recipe.source == SCENES else _dataset if recipe.source in DATASETS else _folder
    source = make(recipe)
    if not source.files:
        raise SightlineError(
            f"{source.root}: no video or picture in this folder or below it ({source.ignored} other files)",
            f"put footage there; known: {' '.join(sorted(VIDEO_SUFFIXES | IMAGE_SUFFIXES))}",
        )
    return source


def _scenes(recipe: Recipe) -> Source:
    spec = scenes.SceneSpec(**recipe.ingest.scenes.model_dump())
    # The generator's own source is part of the name: a changed generator never passes for the footage of the old one.
    digest = value_sha256({"spec": asdict(spec), "code": _code_sha256(Path(scenes.__file__).parent)})[:16]
    root = paths.state(SCENES, digest)
    with _locked(root.with_suffix(".lock")):
        if not (root / "scene.json").is_file():
            total = sum(spec.clips(split) for split in ("train", "val", "test"))
            with progress("scenes", total, "clips") as ticker:
                scenes.generate(spec, root, progress=lambda done, total: ticker.update(done))
    with open(root / "clips.csv", newline="") as file:
        given = {row["video"]: row["split"] for row in csv.DictReader(file)}
    files, ignored = _media_files(root)
    split = {name: given[Path(name).name] for name in files}
    prefix = root.relative_to(paths.workspace()).as_posix()
    words = _words(recipe, "0", "1")
    return Source(root, SCENES, prefix, files, ignored, _labels(recipe, root), words, split)


def _code_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*.py")):
        digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time makes a scene; another recipe that wants the same one waits. A dead holder lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _dataset(recipe: Recipe) -> Source:
    dataset, mirror = DATASETS[recipe.source], paths.mirror()
    if mirror is None:
        raise SightlineError(
            f"source {recipe.source!r} is a data set, and SIGHTLINE_MIRROR is not set",
            f"set SIGHTLINE_MIRROR to the folder that holds {dataset.folder}/",
        )
    root = mirror / dataset.folder
    if not (root / dataset.media).is_dir():
        raise SightlineError(
            f"{root / dataset.media}: not there, so the mirror does not hold the data set {recipe.source!r}",
            f"put the data set there, or set SIGHTLINE_MIRROR to the folder that holds {dataset.folder}/",
        )
    found, ignored = _media_files(root)
    files = tuple(name for name in found if name.startswith(f"{dataset.media}/"))
    chosen = {} if recipe.ingest.split.test else {f"{dataset.media}/{name}": "test" for name in dataset.test}
    words = _words(recipe, dataset.negative, dataset.positive)
    labels = _labels(recipe, root, dataset.labels)
    return Source(root, recipe.source, f"mirror://{dataset.folder}", files, ignored, labels, words, chosen)


def _folder(recipe: Recipe) -> Source:
    given = Path(recipe.source).expanduser()
    root = paths.workspace() / given
    if not root.is_dir():
        if root.is_file():
            raise UsageError(f"source {recipe.source!r} is a file", "name the folder that holds it")
        if len(given.parts) > 1 or given.is_absolute():
            raise SightlineError(f"source {recipe.source!r}: no such folder ({root})", "correct the path")
        raise UsageError(
            f"source {recipe.source!r} is neither a data set nor a folder of the workspace",
            nearest(recipe.source, [SCENES, *DATASETS]),
        )
    shown = Path(os.path.normpath(root))
    # Inside the workspace a uri is relative, so that a table names no machine; outside it can only be what was given.
    inside = shown.is_relative_to(paths.workspace())
    prefix = shown.relative_to(paths.workspace()).as_posix() if inside else os.path.normpath(given)
    files, ignored = _media_files(root)
    return Source(root, shown.name, prefix, files, ignored, _labels(recipe, root), dict(recipe.ingest.label_map))


def _words(recipe: Recipe, negative: str, positive: str) -> dict[str, str]:
    """The source's two words -> the recipe's first other class and its positive class, unless the recipe says more."""
    task = recipe.task
    other = next(name for name in task.classes if name != task.positive)
    return {negative: other, positive: task.positive} | recipe.ingest.label_map


def _labels(recipe: Recipe, root: Path, default: str = AUTO) -> Path | None:
    named = default if recipe.ingest.labels == AUTO else recipe.ingest.labels
    if named == AUTO:
        return next((root / name for name in AUTO_LABELS if (root / name).is_file()), None)
    if not (root / named).is_file():
        raise SightlineError(
            f"{root / named}: the labels file is not there", "correct ingest.labels (a name below the source's folder)"
        )
    return root / named


def _media_files(root: Path) -> tuple[tuple[str, ...], int]:
    """Names of the videos and pictures below `root`, sorted, and the number of other files. Hidden ones are neither."""
    names, others = [], 0
    seen: set[tuple[int, int]] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        status = os.stat(folder)
        if (status.st_dev, status.st_ino) in seen:  # a link back up: do not go round for ever
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if name.startswith("."):
                continue
            path = Path(folder, name)
            if path.suffix.lower() in VIDEO_SUFFIXES | IMAGE_SUFFIXES:
                names.append(path.relative_to(root).as_posix())
            else:
                others += 1
    return tuple(sorted(names)), others
