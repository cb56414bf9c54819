"""What every stage's command has in common: `python -m components.STAGE --recipe NAME`."""

import argparse
import os
import sys
import traceback
from collections.abc import Callable

from components.core import paths
from components.core.errors import SightlineError
from components.core.recipe import Recipe, load_recipe

DEBUG = "SIGHTLINE_DEBUG"


def run_stage(stage: str, does: str, main: Callable[[Recipe], None], argv: list[str] | None = None) -> int:
    """Parses the command line, loads the recipe, calls `main(recipe)` in the workspace root; returns the exit code.

    0 done, 1 failed, 2 a wrong request (unknown recipe or parameter). A SightlineError is printed as problem and
    remedy; anything else is a defect and keeps its traceback.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m components.{stage}",
        description=does,
        epilog=f"example: python -m components.{stage} --recipe suspicious",
    )
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of params.yaml")
    arguments = parser.parse_args(argv)
    return guarded(lambda: _run(main, arguments.recipe), label=f"{stage}@{arguments.recipe}")


def _run(main: Callable[[Recipe], None], name: str) -> None:
    os.chdir(paths.workspace())
    main(load_recipe(name))


def guarded(action: Callable[[], None], label: str) -> int:
    """Calls `action`; returns 0, or prints what went wrong on stderr and returns the exit code."""
    try:
        action()
    except SightlineError as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        print(f"{label}: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0
