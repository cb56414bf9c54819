"""A classifier as a graph: backbone and head, checked against the trained model on sequences."""

from pathlib import Path

from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.deployment.graph import Graph, canonical_export
from components.deployment.parity import largest_difference, sequences
from components.tasks.classification.export import export_onnx, scorer
from components.tasks.classification.model import load_model
from components.tasks.parts import identity


def write_graph(recipe: Recipe, data: Path, target: Path) -> Graph:
    """Writes the graph of the classifier in `data`/model to `target`.

    Raises SightlineError where it was trained on other features than the recipe asks for.
    """
    model = load_model(data / "model")
    whole = scorer(recipe.features, model)
    weights = whole.featurizer.weights_digest
    now = identity(recipe.features, weights)
    then = {name: model.meta["vectors"].get(name) for name in now}
    if now != then:
        raise SightlineError(
            f"{data / 'model'}: was trained on other features ({then}) than the recipe now asks for ({now})",
            "run `dvc repro`, or the stages from features on",
        )
    window = 2 * model.head.reach + 1
    canonical_export(lambda raw: export_onnx(recipe.features, model, raw), target)
    batches = sequences(data / "frames", recipe.features.size, window)
    return Graph(model.meta["threshold"], window, weights, largest_difference(target, whole, batches))
