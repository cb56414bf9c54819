"""A detector as a graph, checked against the trained model on pictures."""

from pathlib import Path

from components.core.errors import SightlineError
from components.core.recipe import Recipe
from components.deployment.graph import Graph, canonical_export
from components.deployment.parity import pictures
from components.deployment.parity_boxes import largest_difference
from components.tasks.detection.export import export_onnx, finder
from components.tasks.detection.model import load_detector


def write_graph(recipe: Recipe, data: Path, target: Path) -> Graph:
    """Writes the graph of the detector in `data`/model to `target`.

    Raises SightlineError where it was trained for other classes or pictures than the recipe asks for, where only one
    of the two follows what is found, and where the graph finds other boxes.
    """
    model = load_detector(data / "model")
    form, size, tracker = model.meta["detector"], recipe.features.size, model.tracker
    now = {"backbone": recipe.features.backbone, "size": list(size), "classes": list(recipe.task.classes)}
    then = {"backbone": form["backbone"], "size": form["size"], "classes": model.meta["classes"]}
    now["tracks"], then["tracks"] = recipe.task.tracks, tracker is not None
    if now != then:
        raise SightlineError(
            f"{data / 'model'}: was trained for {then}, the recipe now asks for {now}",
            "run `dvc repro`, or the stages from training on",
        )
    canonical_export(lambda raw: export_onnx(model, raw), target)
    difference = largest_difference(
        target, finder(model), pictures(data / "frames", size), recipe.deployment.parity, form["score_floor"]
    )
    followed = None if tracker is None else tracker.model_dump(mode="json")
    return Graph(model.meta["threshold"], 1, model.digest, difference, followed)
