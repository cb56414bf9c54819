"""The thresholds of a tracker, chosen on the validation split once the detector is trained."""

from pathlib import Path

from components.core.errors import UsageError
from components.core.recipe import Recipe, Tracker
from components.tasks.detection.model import load_detector
from components.tasks.detection.tracking.metrics import tracking_metrics

HIGH = (0.2, 0.3, 0.4, 0.5)  # scores that count as high; thresholds of detectors differ more than those of trackers
ABOVE = (0.0, 0.1, 0.2)  # of these, so much more begins a track


def fitted(recipe: Recipe, given: Tracker, folder: Path) -> dict:
    """The tracker of the detector in `folder`, as JSON can hold it: the one `given`, its `high_score` and `new_score`
    where it is `tuned` those of the highest sum of MOTA and IDF1 on the validation split, of equal ones the lowest.

    Raises UsageError where that split has no tracks.
    """
    if not given.tuned:
        return given.model_dump(mode="json")
    samples = load_detector(folder).followed(recipe, given, "val")
    best, chosen = float("-inf"), given
    for high in HIGH:
        for above in ABOVE:
            changes = {"high_score": high, "new_score": high + above, "low_score": min(given.low_score, high)}
            tracker = given.model_copy(update=changes)
            samples = samples.followed(tracker)
            pairs = samples.measurable(recipe.task)
            if not any((~truth.ignore).any() for truth, _ in pairs.values()):
                raise UsageError(
                    f"{recipe.name}: the validation split has no tracks to choose thresholds by",
                    "see ingest.split, or set training.tracker.tuned to false",
                )
            figures = tracking_metrics(pairs)
            if figures["mota"] + figures["idf1"] > best:
                best, chosen = figures["mota"] + figures["idf1"], tracker
    return chosen.model_dump(mode="json")
