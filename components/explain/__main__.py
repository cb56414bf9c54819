"""classifier + frames -> which parts of a frame its score hangs on (LIME on Spark), and boxes around them."""

import sys
from pathlib import Path

from components.core import paths, tables
from components.core.errors import SightlineError
from components.core.files import atomic_directory, atomic_json
from components.core.recipe import Recipe
from components.core.spark import map_items, spark_session
from components.core.stage import run_stage
from components.core.workcache import sealed
from components.explain import judge, outputs, select, work
from components.explain.items import items, jpeg
from components.tasks.classification.model import load_model


def main(recipe: Recipe) -> None:
    """Writes data/RECIPE/explained. Raises SightlineError where the model calls no frame of the class explained."""
    model = load_model(paths.data(recipe.name, "model"))
    chosen = select.selection(recipe, model)
    frames = chosen.frames
    if not frames:
        raise SightlineError(
            f"{recipe.name}: the model calls no frame {recipe.task.positive}, so there is nothing to explain",
            "see the model's evaluation; more or cleaner pictures of that class will help",
        )
    asked = items(recipe, model, frames)
    todo = [item for item in asked if sealed(Path(item["target"])) is None]
    if todo:
        with spark_session("explain") as spark:
            map_items(spark, todo, work.explain_frame, f"explain@{recipe.name}", "frames")
    found = [work.read_explained(Path(item["target"])) for item in asked]
    # Of the first round: what is left when the best was taken says less about where a map is to be cut.
    trained = [one[0]["candidates"] for frame, one in zip(frames, found, strict=True) if frame.split == "train"]
    if not any(trained):
        raise SightlineError(
            f"{recipe.name}: no frame of the training split has a region that raises the score",
            "see explain.samples and explain.superpixels, and whether the model is better than chance",
        )
    threshold = judge.best_threshold(trained)
    places = dict(zip((one.frame_id for one in frames), asked, strict=True))

    def stored(frame: select.Chosen) -> bytes:
        return jpeg(places[frame.frame_id])

    catalog = {row["asset_id"]: row for row in tables.read_table(paths.data(recipe.name, "catalog")).to_pylist()}
    shown = []
    for frame, one in zip(frames, found, strict=True):
        row = catalog[frame.asset_id]
        size = row["width"], row["height"]
        shown.append(outputs.explained(frame, row["name"], size, one, threshold))
    with atomic_directory(paths.data(recipe.name, "explained")) as folder:
        outputs.write(folder, recipe.name, shown, chosen.empty, recipe.task.classes, threshold, stored)
        atomic_json(folder / "summary.json", outputs.summary(shown, threshold, chosen))
    boxed = sum(len(one.boxes) for one in shown)
    print(f"explain@{recipe.name}: {len(shown)} frames, {len(todo)} of them new; {boxed} boxes from {threshold:g} on")
    if chosen.disputed:
        said = f"{chosen.disputed} frames labelled {recipe.task.positive} are not called so and were left out"
        print(f"  {said}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_stage("explain", __doc__, main))
