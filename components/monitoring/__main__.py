"""Is the new footage still like what the champion learned from, and does the champion still call it right?"""

import argparse
import os
import sys
from pathlib import Path

from components.core import paths, tracking
from components.core.files import json_text
from components.core.recipe import load_recipe
from components.core.stage import guarded
from components.monitoring.check import check, check_captured, to_score

EXAMPLE = "example: python -m components.monitoring --recipe suspicious --alpha .01"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.monitoring", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe that has a champion")
    parser.add_argument("--alpha", type=float, help="chance of any false alarm in one check (the recipe's)")
    parser.add_argument("--scores", metavar="DIR", help="predictions on new footage (those of the scoring flow)")
    parser.add_argument("--captured", metavar="DIR", help="what a service captured, in place of the recipe's tables")
    parser.add_argument("--unseen", action="store_true", help="only list the files that the champion has not seen")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args(argv)
    if arguments.alpha is not None and not 0 < arguments.alpha < 1:
        parser.error("--alpha must be between 0 and 1")
    if arguments.captured and (arguments.scores or arguments.unseen):
        parser.error("--captured has scores of its own, and all of it was seen: leave out --scores and --unseen")

    def act() -> None:
        scores = Path(arguments.scores).resolve() if arguments.scores else None
        captured = Path(arguments.captured).resolve() if arguments.captured else None
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        with tracking.explained():
            if arguments.unseen:
                print("".join(f"{file}\n" for file in to_score(recipe)), end="")
                return
            alpha = arguments.alpha or recipe.monitoring.alpha
            if captured:
                found = check_captured(recipe, alpha, captured)
            else:
                found = check(recipe, alpha, scores or paths.scores(recipe.name))
        what = "captured pictures against {} assets" if captured else "new assets against {}"
        print(json_text(found) if arguments.json else _in_words(found, what), end="")

    return guarded(act, label=f"drift@{arguments.recipe}")


def _in_words(found: dict, what: str) -> str:
    sides = f"{found['current']} {what.format(found['reference'])} that version {found['version']} was made from"
    lines = [f"{sides}: {found['reason']}".rstrip(": ")]
    for test in found["tests"]:
        mark = "DRIFTED" if test["drifted"] else "same"
        lines.append(f"{test['name']:12} p {test['p_value']:.2g}  shift {test['shift']:+.2f}  {mark}")
    lines += [f"not compared: {reason}" for reason in found["left_out"]]
    if found["stale"]:
        lines.append(
            f"the champion is {found['age_days']:.0f} days old, and {found['labelled']} new assets have labels"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
