"""The thresholds of a tracker, chosen by how it does on footage whose tracks are known. Pure."""

from components.core.errors import UsageError
from components.core.recipe import Recipe, Tracker
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.tracking.metrics import tracking_metrics

HIGH = (0.2, 0.3, 0.4, 0.5)  # scores that count as high; thresholds of detectors differ more than those of trackers
ABOVE = (0.0, 0.1, 0.2)  # of these, so much more begins a track


def chosen(recipe: Recipe, given: Tracker, samples: FoundSamples) -> tuple[Tracker, dict[str, float]]:
    """(the tracker, its `tracking_metrics`) of the highest sum of MOTA and IDF1 on samples with sequences, of equal
    ones the lowest thresholds: the one `given` or, where it is `tuned`, with another `high_score` and `new_score`.

    Raises UsageError where the samples have no tracks.
    """
    best: tuple[Tracker, dict[str, float]] | None = None
    for tracker in _candidates(given) if given.tuned else [given]:
        pairs = samples.followed(tracker).measurable(recipe.task)
        if not any((~truth.ignore).any() for truth, _ in pairs.values()):
            raise UsageError(
                f"{recipe.name}: the validation split has no tracks to choose thresholds by",
                "see ingest.split, or set training.tracker.tuned to false",
            )
        figures = tracking_metrics(pairs)
        if best is None or quality(figures) > quality(best[1]):
            best = tracker, figures
    return best


def quality(figures: dict[str, float]) -> float:
    """What trackers are compared by: the mean of MOTA and IDF1."""
    return (figures["mota"] + figures["idf1"]) / 2


def _candidates(given: Tracker) -> list[Tracker]:
    return [
        given.model_copy(
            update={"high_score": high, "new_score": high + above, "low_score": min(given.low_score, high)}
        )
        for high in HIGH
        for above in ABOVE
    ]
