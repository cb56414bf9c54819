"""Publishing: bundles side by side under the registry's version numbers, and the pointer to the champion's."""

import shutil
from pathlib import Path

from components.core import paths, tracking
from components.core.bundle import Pointer, read_bundle, read_pointer, write_pointer
from components.core.errors import SightlineError
from components.core.files import atomic_directory
from components.core.recipe import Recipe


class NotPublished(SightlineError):
    """The champion's bundle is not among those published in this workspace."""


def deployed(recipe: str) -> Path:
    """The folder of a recipe's published bundles."""
    return paths.state("deployed", recipe)


def version_folder(recipe: str, version: int) -> Path:
    """Where the bundle of a registry version is published."""
    return deployed(recipe) / f"v{version}"


def publish(recipe: str, version: int, bundle: Path) -> Path:
    """Copies a bundle folder to its version's place, whole or not at all; one that is there already is left alone."""
    target = version_folder(recipe, version)
    wanted = read_bundle(bundle)
    try:
        if read_bundle(target).digest == wanted.digest:
            return target
    except SightlineError:
        pass  # not there, or damaged: published anew
    with atomic_directory(target) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True, copy_function=shutil.copyfile)
    return target


def point_to_champion(recipe: Recipe) -> tuple[Pointer | None, bool]:
    """Lets the pointer follow the registry's alias: (the pointer now, whether it was rewritten).

    Without a champion in the registry it stays as it is. Raises, the pointer left as it was, NotPublished where
    the champion's bundle was never published, SightlineError where it is damaged.
    """
    folder = deployed(recipe.name)
    version = tracking.version_by_alias(recipe.registered_name, tracking.CHAMPION)
    try:
        present, damaged = read_pointer(folder), False
    except SightlineError:
        present, damaged = None, True
    if version is None:
        return present, False
    number = int(version.version)
    target = version_folder(recipe.name, number)
    if not target.is_dir():
        raise NotPublished(
            f"{target}: the bundle of champion version {number} was never published here",
            "run the deployment stage for that model, or move the alias to a published version",
        )
    wanted = Pointer(number, target.name, read_bundle(target).digest)
    if wanted == present and not damaged:
        return wanted, False
    write_pointer(folder, wanted)
    return wanted, True
