"""Promotion: challenger against champion -> decision and registry aliases (MLflow)."""

import sys

from components.core import paths, tracking
from components.core.files import atomic_json
from components.core.recipe import Recipe
from components.core.stage import run_stage
from components.promotion import registry
from components.promotion.promote import decision_file, promote


def main(recipe: Recipe) -> None:
    """Writes data/RECIPE/decision.json and sets the registry's aliases. A refusal is a decision, not a failure."""
    name = recipe.registered_name
    with tracking.explained(), registry.locked(name):
        version, decision = promote(recipe, paths.data(recipe.name))
        champion = tracking.version_by_alias(name, tracking.CHAMPION)
    atomic_json(paths.data(recipe.name, "decision.json"), decision_file(version, decision))
    verdict = "promoted to champion" if decision.promoted else "refused, the champion stays as it is"
    print(f"promotion: {name} version {version.version}: {verdict}")
    print("".join(f"  - {reason}\n" for reason in decision.reasons), end="")
    if decision.promoted and champion.version != version.version:
        print(f"  the alias was moved to version {champion.version} after this promotion and is left there")


if __name__ == "__main__":
    sys.exit(run_stage("promotion", __doc__, main))
