"""Building a bundle: graph, tensors, manifest, and the check that the graph is the model."""

import shutil
from pathlib import Path

from components.core.bundle import GRAPH, Bundle, write_manifest
from components.core.errors import SightlineError
from components.core.files import tree_sha256, value_sha256
from components.core.recipe import Recipe
from components.deployment import classifier, detector
from components.tasks.trained import tensors_file

TABLES = ("catalog", "annotations", "frames", "features", "model")
SECTIONS = ("task", "frames", "features", "deployment")  # the others are in the tables' and the model's digests


def build_bundle(recipe: Recipe, data: Path, folder: Path, metrics: dict[str, float]) -> tuple[Bundle, float]:
    """Writes the bundle of the model in `data` to `folder`: (the bundle, the largest difference found by the check).

    The same tables and parameters give the same bytes. Raises SightlineError where ONNX Runtime on the graph and the
    trained model differ by more than `deployment.parity` in any probability, or find other boxes or looks.
    """
    kind = detector if recipe.finds_boxes else classifier
    graph = kind.write_graph(recipe, data, folder / GRAPH)
    if graph.difference > recipe.deployment.parity:
        raise SightlineError(
            f"{recipe.name}: ONNX Runtime and the trained model differ by {graph.difference:.2e} in probability, "
            f"more than deployment.parity = {recipe.deployment.parity:.0e}",
            "see which operation is exported inexactly, or raise deployment.parity if so much is tolerable",
        )
    tensors = tensors_file(data / "model")
    shutil.copyfile(tensors, folder / tensors.name)
    lineage = {table: tree_sha256(data / table) for table in TABLES}
    lineage["params"] = value_sha256(recipe.model_dump(mode="json", include=set(SECTIONS)))
    lineage["weights"] = graph.weights
    height, width = recipe.features.size
    fps = recipe.frames.fps
    bundle = Bundle(
        recipe=recipe.name,
        kind=recipe.task.kind,
        classes=recipe.task.classes,
        positive=recipe.task.positive,
        threshold=graph.threshold,
        height=height,
        width=width,
        max_side=recipe.frames.max_side,
        fps=None if fps is None else str(fps),
        window_frames=graph.window,
        lineage=lineage,
        metrics=metrics,
        tracker=graph.tracker,
    )
    return write_manifest(folder, bundle), graph.difference
