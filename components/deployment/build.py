"""Building a bundle: graph, head, manifest, and the check that the graph is the model."""

import shutil
import tempfile
from pathlib import Path

from components.core.bundle import GRAPH, HEAD, Bundle, write_manifest
from components.core.errors import SightlineError
from components.core.files import tree_sha256, value_sha256
from components.core.recipe import Recipe
from components.deployment.graph import canonical
from components.deployment.parity import largest_difference, sequences
from components.tasks.classification.export import export_onnx, scorer
from components.tasks.classification.model import TENSORS, load_model
from components.tasks.parts import identity

TABLES = ("catalog", "annotations", "frames", "features", "model")
SECTIONS = ("task", "frames", "features", "deployment")  # the others are in the tables' and the model's digests


def build_bundle(recipe: Recipe, data: Path, folder: Path, metrics: dict[str, float]) -> tuple[Bundle, float]:
    """Writes the bundle of the model in `data` to `folder`: (the bundle, the largest difference found by the check).

    The same tables and parameters give the same bytes. Raises SightlineError where ONNX Runtime on the graph and the
    trained model differ by more than `deployment.parity` in any probability.
    """
    model = load_model(data / "model")
    height, width = recipe.features.size
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
    with tempfile.TemporaryDirectory() as exported:
        raw = Path(exported) / GRAPH
        export_onnx(recipe.features, model, raw)
        canonical(raw, folder / GRAPH)
    difference = largest_difference(folder / GRAPH, whole, sequences(data / "frames", (height, width), window))
    if difference > recipe.deployment.parity:
        raise SightlineError(
            f"{recipe.name}: ONNX Runtime and the trained model differ by {difference:.2e} in probability, "
            f"more than deployment.parity = {recipe.deployment.parity:.0e}",
            "see which operation is exported inexactly, or raise deployment.parity if so much is tolerable",
        )
    shutil.copyfile(data / "model" / TENSORS, folder / HEAD)
    lineage = {table: tree_sha256(data / table) for table in TABLES}
    lineage["params"] = value_sha256(recipe.model_dump(mode="json", include=set(SECTIONS)))
    lineage["weights"] = weights
    fps = recipe.frames.fps
    bundle = Bundle(
        recipe=recipe.name,
        classes=recipe.task.classes,
        positive=recipe.task.positive,
        threshold=model.meta["threshold"],
        height=height,
        width=width,
        max_side=recipe.frames.max_side,
        fps=None if fps is None else str(fps),
        window_frames=window,
        lineage=lineage,
        metrics=metrics,
    )
    return write_manifest(folder, bundle), difference
