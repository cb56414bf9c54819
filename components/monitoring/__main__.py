"""Is the new footage still like what the champion learned from? Two-sample tests, asset by asset."""

import argparse
import os
import sys
from dataclasses import asdict
from pathlib import Path

from components.core import lineage, paths, tracking
from components.core.errors import SightlineError
from components.core.files import json_text, value_sha256
from components.core.recipe import Recipe, load_recipe
from components.core.stage import guarded
from components.monitoring.drift import Report, compare
from components.monitoring.footage import figures, mean_scores

EXAMPLE = "example: python -m components.monitoring --recipe suspicious --alpha .01"


def drift(recipe: Recipe, alpha: float, scores: Path | None = None) -> tuple[Report, str]:
    """(the tests, a digest of which assets are new): the footage that the tables have and the champion never saw,
    against that which it was trained and judged on.

    `scores`: a table of the champion's predictions on new footage, compared with those of the evaluation. Raises
    SightlineError where there is no champion, or no lineage of it.
    """
    with tracking.explained():
        champion = tracking.version_by_alias(recipe.registered_name, tracking.CHAMPION)
        if champion is None:
            raise SightlineError(f"{recipe.registered_name}: there is no champion", f"sightline run {recipe.name}")
        seen = {asset["asset_id"] for asset in lineage.kept(champion)[1]}
    data = paths.data(recipe.name)
    present = set(lineage.assets(data)["asset_id"].to_pylist())
    then, now = figures(data, present & seen, present - seen)
    if scores is not None:
        then["score"] = mean_scores(data / "evaluation" / "predictions")
        now["score"] = mean_scores(scores)
    return compare(then, now, alpha), value_sha256(sorted(present - seen))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.monitoring", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe that has a champion")
    parser.add_argument("--alpha", type=float, help="chance of any false alarm in one check (the recipe's)")
    parser.add_argument("--scores", metavar="DIR", help="predictions on new footage, of `sightline predict`")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    arguments = parser.parse_args(argv)
    if arguments.alpha is not None and not 0 < arguments.alpha < 1:
        parser.error("--alpha must be between 0 and 1")

    def act() -> None:
        scores = Path(arguments.scores).resolve() if arguments.scores else None
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        found, footage = drift(recipe, arguments.alpha or recipe.monitoring.alpha, scores)
        body = asdict(found) | {"drifted": found.drifted, "footage": footage}
        print(json_text(body) if arguments.json else _in_words(found), end="")

    return guarded(act, label=f"drift@{arguments.recipe}")


def _in_words(found: Report) -> str:
    lines = [f"{found.current} new assets against {found.reference} that the champion saw: {found.reason}".rstrip(": ")]
    for test in found.tests:
        mark = "DRIFTED" if test.drifted else "same"
        lines.append(f"{test.name:12} p {test.p_value:.2g}  shift {test.shift:+.2f}  {mark}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
