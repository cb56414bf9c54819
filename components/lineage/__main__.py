"""Where a model came from, and which models saw a file."""

import argparse
import os
import sys
from pathlib import Path

from components.core import paths, tracking
from components.core.errors import UsageError
from components.core.files import json_text
from components.core.recipe import load_recipe
from components.core.stage import guarded
from components.lineage import answer
from components.lineage.words import in_words

EXAMPLE = "example: python -m components.lineage --recipe suspicious --source footage/clip.mp4"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m components.lineage", description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--recipe", required=True, metavar="NAME", help="a recipe of params.yaml")
    parser.add_argument("--version", type=int, metavar="N", help="a version of the registry (default: the champion)")
    parser.add_argument("--prediction", metavar="URI", help="the source file of a prediction, as the table has it")
    parser.add_argument("--frame", type=int, metavar="N", help="with --prediction: the frame, counted from 0")
    parser.add_argument("--scores", metavar="PATH", help="with --prediction: the table (default: the evaluation's)")
    parser.add_argument("--source", metavar="FILE", help="a file, an asset's id or its uri: which models saw it")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    arguments = parser.parse_args(argv)

    def act() -> None:
        scores = Path(arguments.scores).resolve() if arguments.scores else None
        source = arguments.source
        if source is not None and Path(source).is_file():
            source = str(Path(source).resolve())
        os.chdir(paths.workspace())
        recipe = load_recipe(arguments.recipe)
        if sum(given is not None for given in (arguments.version, arguments.prediction, source)) > 1:
            raise UsageError("--version, --prediction and --source ask different questions", "take one")
        with tracking.explained():
            if source is not None:
                found = answer.of_source(recipe, source)
            elif arguments.prediction is not None:
                found = answer.of_prediction(recipe, arguments.prediction, arguments.frame, scores)
            else:
                found = answer.of_version(recipe, arguments.version)
        print(json_text(found) if arguments.json else in_words(found), end="")

    return guarded(act, label=f"lineage@{arguments.recipe}")


if __name__ == "__main__":
    sys.exit(main())
