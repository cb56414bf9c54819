"""features -> the best training parameters, searched by Hyperopt's TPE over SparkTrials."""

import sys

from components.core import paths
from components.core.files import atomic_json
from components.core.recipe import Recipe
from components.core.stage import run_stage
from components.tuning.find import find


def main(recipe: Recipe) -> None:
    names = recipe.training.tuned_names()
    trials = find(recipe, names) if names else []
    best = min(trials, key=lambda t: t["loss"], default={"params": {}, "loss": None, "metrics": {}})
    out = {"best": best["params"], "loss": best["loss"], "metrics": best["metrics"], "trials": trials}
    atomic_json(paths.data(recipe.name, "tuning.json"), out)
    found = ", ".join(f"{name} {value:.3g}" for name, value in best["params"].items())
    print(f"tuning@{recipe.name}: best of {len(trials)} trials: {found or 'nothing to tune'}")


if __name__ == "__main__":
    sys.exit(run_stage("tuning", __doc__, main))
