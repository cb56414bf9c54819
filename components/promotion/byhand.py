"""Moving the champion by hand: `promote` a version, `rollback` to the champion before, and the `history` of both."""

import argparse
import os
import sys
from dataclasses import asdict

from mlflow.entities.model_registry import ModelVersion

from components.core import paths, tracking
from components.core.bundle import read_bundle
from components.core.errors import SightlineError
from components.core.files import json_text
from components.core.recipe import Recipe, load_recipe
from components.core.stage import guarded
from components.promotion import registry, trail

EXAMPLE = "example: python -m components.promotion.byhand rollback --recipe suspicious"


def promote(recipe: Recipe, number: int | None = None, override: str | None = None) -> tuple[int, bool]:
    """(the champion's version now, whether it was moved). Without a number the version is the challenger.

    Raises SightlineError with the reasons where the promotion stage refused that version, unless `override` says why it
    is to be served all the same, and where its bundle is not published here whole.
    """
    name = recipe.registered_name
    with tracking.explained(), registry.locked(name):
        version = _version(name, number)
        chosen = int(version.version)
        stored = registry.stored_decision(version)
        if stored is None:
            raise SightlineError(f"{name} version {chosen}: nothing was decided on it", "run the promotion stage")
        decision = stored[2]
        if not (decision.promoted or override):
            reasons = "".join(f"\n  - {reason}" for reason in decision.reasons)
            remedy = f"train a better one, or: sightline promote {recipe.name} --version {chosen} --override WHY"
            raise SightlineError(f"{name} version {chosen} was refused:{reasons}", remedy)
        _servable(recipe, chosen)
        return chosen, trail.move(name, chosen, "promote", override or decision.reasons[0])


def rollback(recipe: Recipe, number: int | None = None, reason: str = "") -> tuple[int, bool]:
    """(the champion's version now, whether it was moved). Without a number: the champion before the present one.

    Raises SightlineError where there was none, or its bundle is not published here whole.
    """
    name = recipe.registered_name
    with tracking.explained(), registry.locked(name):
        present = tracking.version_by_alias(name, tracking.CHAMPION)
        chosen = number
        if chosen is None:
            chosen = before(trail.moves(name), present and int(present.version))
        if chosen is None:
            raise SightlineError(f"{name}: there was no champion before the present one", "name one with --version")
        _version(name, chosen)
        _servable(recipe, chosen)
        return chosen, trail.move(name, chosen, "rollback", reason or "rolled back by hand")


def before(made: list[trail.Move], present: int | None) -> int | None:
    """The champion before `present`: rolling back twice goes back two, it does not return.

    Moves are undone from the last one on, as brackets are: a rollback closes the promotion that it undid.
    """
    champions: list[int] = []
    for one in made:
        if one.by == "rollback" and one.after in champions:
            while champions[-1] != one.after:
                champions.pop()
        elif not champions or champions[-1] != one.after:
            champions.append(one.after)
    while champions and champions[-1] == present:
        champions.pop()
    return champions[-1] if champions else None


def _version(name: str, number: int | None) -> ModelVersion:
    if number is not None:
        return tracking.version_by_number(name, number)
    challenger = tracking.version_by_alias(name, tracking.CHALLENGER)
    if challenger is None:
        raise SightlineError(f"{name}: there is no challenger", "run the training flow first")
    return challenger


def _servable(recipe: Recipe, number: int) -> None:
    folder = paths.state("deployed", recipe.name, f"v{number}")
    if not folder.is_dir():
        problem = f"{folder}: the bundle of version {number} was never published here"
        raise SightlineError(problem, "move the alias where it was, or run the deployment stage for that model")
    read_bundle(folder)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.promotion.byhand", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("what", choices=["promote", "rollback", "history"])
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of params.yaml")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the registry")
    parser.add_argument("--override", metavar="WHY", help="promote a version that was refused, for this reason")
    parser.add_argument("--reason", default="", metavar="WHY", help="why it is rolled back, for the trail")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    arguments = parser.parse_args(argv)

    def act() -> None:
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        if arguments.what == "history":
            with tracking.explained():
                made = trail.moves(recipe.registered_name)
            _show_history(made, arguments.json)
            return
        if arguments.what == "promote":
            version, moved = promote(recipe, arguments.version, arguments.override)
        else:
            version, moved = rollback(recipe, arguments.version, arguments.reason)
        body = {"recipe": recipe.name, "champion": version, "moved": moved}
        text = f"{recipe.name}: version {version} {'is champion now' if moved else 'is champion already'}"
        print(json_text(body).strip() if arguments.json else text)

    return guarded(act, label=f"{arguments.what}@{arguments.recipe}")


def _show_history(made: list[trail.Move], as_json: bool) -> None:
    if as_json:
        print(json_text([asdict(move) for move in made]), end="")
    for move in () if as_json else made:
        print(f"{move.time}  {move.before or '-'} -> {move.after}  {move.by}: {move.reason}")


if __name__ == "__main__":
    sys.exit(main())
