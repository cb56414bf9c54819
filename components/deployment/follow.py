"""Follows the registry: when its champion alias moves (a rollback, a click in MLflow), the service's pointer does."""

import argparse
import os
import sys
import time

from components.core import paths, tracking
from components.core.errors import SightlineError
from components.core.recipe import Recipe, load_recipe
from components.core.stage import guarded
from components.deployment.publish import point_to_champion

EXAMPLE = "example: python -m components.deployment.follow --recipe suspicious --interval 2"


def follow(recipe: Recipe, interval: float) -> None:
    """Looks every `interval` seconds, for ever. A look that fails is reported once, and the pointer stays."""
    said = ""
    while True:
        try:
            said = look(recipe, said)
        except Exception as error:  # whatever it is, the next look may succeed, and nobody else would look
            told = str(error) if isinstance(error, SightlineError) else repr(error)
            if told != said:
                said = told
                print(f"follow@{recipe.name}: {told}\n  the present champion stays", file=sys.stderr, flush=True)
        time.sleep(interval)


def look(recipe: Recipe, said: str = "") -> str:
    """One look. Raises SightlineError as `point_to_champion` does, and where MLflow does not answer."""
    with tracking.explained():
        pointer, moved = point_to_champion(recipe)
    now = f"serving version {pointer.version}" if pointer else "no champion yet"
    if moved or now != said:
        print(f"follow@{recipe.name}: {now}", flush=True)
    return now


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.deployment.follow", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of params.yaml")
    parser.add_argument("--once", action="store_true", help="look once; 1 where the champion cannot be served")
    parser.add_argument("--interval", type=float, default=2.0, metavar="SECONDS", help="between two looks (default 2)")
    arguments = parser.parse_args(argv)
    if arguments.interval <= 0:
        parser.error("--interval must be above 0")

    def act() -> None:
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        if arguments.once:
            look(recipe)
        else:
            follow(recipe, arguments.interval)

    try:
        return guarded(act, label=f"follow@{arguments.recipe}")
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
