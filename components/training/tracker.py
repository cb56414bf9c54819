"""The tracker of a trained detector."""

from pathlib import Path

from components.core.recipe import Recipe, Tracker
from components.tasks.detection.model import load_detector
from components.tasks.detection.tracking.thresholds import chosen


def fitted(recipe: Recipe, given: Tracker, folder: Path) -> dict:
    """The tracker of the detector in `folder`, as JSON can hold it: the one `given`, where it is `tuned` with the
    thresholds that do best on the validation split. Raises UsageError where that split has no tracks."""
    if given.tuned:
        given, _ = chosen(recipe, given, load_detector(folder).followed(recipe, given, "val"))
    return given.model_dump(mode="json")
