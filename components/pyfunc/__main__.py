"""Writes a recipe's champion, or another published version, as an MLflow model that loads outside this project."""

import argparse
import os
import sys
from pathlib import Path

from components.core import paths
from components.core.bundle import Pointer, champion_pointer, read_bundle
from components.core.errors import SightlineError, UsageError
from components.core.files import atomic_directory
from components.core.recipe import load_recipe
from components.core.stage import guarded

EXAMPLE = "example: python -m components.pyfunc --recipe suspicious -o suspicious-mlflow"
MARK = "MLmodel"  # what makes a folder an MLflow model


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.pyfunc", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of params.yaml")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="where the model's folder goes")
    parser.add_argument("--version", type=int, metavar="N", help="a published version (default: the champion)")
    parser.add_argument("--log", action="store_true", help="put it beside the version in MLflow's registry too")
    arguments = parser.parse_args(argv)

    def act() -> None:
        output = Path(arguments.output).resolve()
        _check_output(output)
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        deployed = paths.state("deployed", recipe.name)
        pointer = _pointer(deployed, recipe.name, arguments.version)
        from components.pyfunc.write import write_model  # MLflow takes seconds: what is wrong is said before

        with atomic_directory(output) as folder:
            write_model(deployed, pointer, folder)
        print(f"{recipe.name}: version {pointer.version} as an MLflow model: {output}")
        if arguments.log:
            from components.pyfunc.registry import log_model

            print(f"  in the registry: {log_model(recipe, pointer.version, output)}")
        print(f"  to serve it: mlflow models serve -m {output} --env-manager local")

    return guarded(act, label=f"export@{arguments.recipe}")


def _check_output(output: Path) -> None:
    """Raises UsageError for a folder that holds something else than such a model, which would be lost."""
    if output.exists() and not (output / MARK).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output}: is there, and is no MLflow model", "name a folder that is empty or not there")


def _pointer(deployed: Path, recipe: str, version: int | None) -> Pointer:
    """What is to be exported. Raises SightlineError where it was never published here."""
    if version is None:
        return champion_pointer(deployed, recipe)
    folder = deployed / f"v{version}"
    if not folder.is_dir():
        there = ", ".join(sorted(one.name for one in deployed.glob("v*"))) or "none"
        raise SightlineError(f"{folder}: this version was never published here (there is: {there})", "name another")
    return Pointer(version, folder.name, read_bundle(folder).digest)


if __name__ == "__main__":
    sys.exit(main())
