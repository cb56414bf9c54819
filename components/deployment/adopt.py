"""After `dvc pull`: publishes the pulled bundle, so that the champion of another machine can be served here."""

import argparse
import os
import sys

from components.core import paths, tracking
from components.core.bundle import Pointer, read_bundle, write_pointer
from components.core.errors import SightlineError
from components.core.files import read_json
from components.core.recipe import Recipe, load_recipe
from components.core.stage import guarded
from components.deployment.publish import deployed, publish

EXAMPLE = "example: python -m components.deployment.adopt --recipe suspicious"


def adopt(recipe: Recipe) -> Pointer:
    """Publishes data/RECIPE/bundle under its version and points to it; returns the pointer.

    Raises SightlineError where its model was refused, or where the registry here has a champion of its own.
    """
    data = paths.data(recipe.name)
    decision = read_json(data / "decision.json", f"sightline pull {recipe.name}")
    version = decision["model_version"]
    if not decision["promoted"]:
        raise SightlineError(
            f"{recipe.name}: the bundle of this commit is version {version}, which was refused",
            "check out the commit whose model was promoted, and pull there",
        )
    with tracking.explained():
        champion = tracking.version_by_alias(recipe.registered_name, tracking.CHAMPION)
    if champion and champion.tags.get(tracking.MODEL_DIGEST) != decision["model_digest"]:
        raise SightlineError(
            f"{recipe.registered_name}: the registry here has another champion, version {champion.version}",
            f"that one is served; sightline promote {recipe.name} moves the alias",
        )
    folder = publish(recipe.name, version, data / "bundle")
    pointer = Pointer(version, folder.name, read_bundle(folder).digest)
    write_pointer(deployed(recipe.name), pointer)
    return pointer


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.deployment.adopt", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of params.yaml")
    arguments = parser.parse_args(argv)

    def act() -> None:
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        print(f"{recipe.name}: version {adopt(recipe).version} is here to be served: sightline serve {recipe.name}")

    return guarded(act, label=f"adopt@{arguments.recipe}")


if __name__ == "__main__":
    sys.exit(main())
