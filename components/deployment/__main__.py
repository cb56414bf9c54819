"""Deployment: model -> bundle (ONNX of the whole model, lineage), published for the service."""

import sys

from components.core import paths, tracking
from components.core.errors import SightlineError
from components.core.files import atomic_directory, file_sha256, read_json
from components.core.recipe import Recipe
from components.core.stage import run_stage
from components.deployment.build import build_bundle
from components.deployment.publish import NotPublished, point_to_champion, publish
from components.tasks.trained import tensors_file


def main(recipe: Recipe) -> None:
    """Writes data/RECIPE/bundle, publishes it under its registry version, and points to the champion's bundle."""
    data = paths.data(recipe.name)
    decision = read_json(data / "decision.json", "run the promotion stage")
    metrics = read_json(data / "evaluation" / "metrics.json", "run the evaluation stage")
    if decision["model_digest"] != file_sha256(tensors_file(data / "model")):
        raise SightlineError(f"{data / 'decision.json'}: decides on another model", "run the promotion stage again")
    figures = {name: float(value) for name, value in metrics.items() if type(value) in (int, float)}
    with atomic_directory(data / "bundle") as folder:
        bundle, difference = build_bundle(recipe, data, folder, figures)
    target = publish(recipe.name, decision["model_version"], data / "bundle")
    megabytes = sum(file.stat().st_size for file in target.iterdir()) / 1e6
    print(f"deployment: {target.relative_to(paths.workspace())}, {megabytes:.1f} MB, digest {bundle.digest[:12]}")
    print(f"  ONNX Runtime differs from the trained model by {difference:.1e} in probability at most")
    try:
        with tracking.explained():
            pointer, _ = point_to_champion(recipe)
        print(f"  to be served: version {pointer.version}" if pointer else "  to be served: none, there is no champion")
    except NotPublished as error:  # this bundle is a challenger's, and the champion was deployed on another machine
        print(f"deployment: the pointer stays as it is: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_stage("deployment", __doc__, main))
