"""The parameters of a tracker, chosen by how it does on footage whose tracks are known. Pure."""

from components.core.errors import UsageError
from components.core.recipe import Recipe, Tracker
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.tracking.metrics import tracking_metrics

# What is tried, one after another, each with the best so far of the others: first the scores that count as high and, of
# these, how much more begins a track; then how far apart what belongs together may look and lie. All of it a few times
# over, since what is best of one depends on the others.
SCORES = [(high, high + above) for high in (0.15, 0.2, 0.3, 0.4, 0.5) for above in (0.0, 0.1, 0.2, 0.3)]
OTHERS = {
    "appearance_distance": (0.4, 0.6, 0.8, 1.0), "iou_distance": (0.5, 0.7, 0.8), "min_hits": (1, 2),
    "lost_frames": (10.0, 20.0, 30.0),
}  # fmt: skip
ROUNDS = 3


def chosen(recipe: Recipe, given: Tracker, samples: FoundSamples) -> tuple[Tracker, dict[str, float]]:
    """(the tracker, its `tracking_metrics`) that does best on samples with sequences, by `quality`: the one `given` or,
    where it is `tuned`, with other values of SCORES and OTHERS. Of equal ones the first that was tried is kept.

    Raises UsageError where the samples have no tracks.
    """
    if not any((~truth.ignore).any() for truth, _ in samples.measurable(recipe.task).values()):
        raise UsageError(
            f"{recipe.name}: the validation split has no tracks to choose a tracker by",
            "see ingest.split, or set training.tracker.tuned to false",
        )

    def measured(tracker: Tracker) -> tuple[Tracker, dict[str, float]]:
        return tracker, tracking_metrics(samples.followed(tracker).measurable(recipe.task))

    best = measured(given)
    for _ in range(ROUNDS if given.tuned else 0):
        before = best[0]
        for changes in _changes():
            trackers = [_changed(best[0], change) for change in changes]
            tried = [measured(tracker) for tracker in trackers if tracker != best[0]]
            best = max([best, *tried], key=lambda one: quality(one[1]))
        if best[0] == before:
            break
    return best


def quality(figures: dict[str, float]) -> float:
    """What trackers are compared by: the mean of MOTA and IDF1."""
    return (figures["mota"] + figures["idf1"]) / 2


def _changes() -> list[list[dict]]:
    """What is tried in each round."""
    return [
        [{"high_score": high, "new_score": round(new, 2)} for high, new in SCORES],
        *([{name: value} for value in values] for name, values in OTHERS.items()),
    ]


def _changed(tracker: Tracker, change: dict) -> Tracker:
    high = change.get("high_score", tracker.high_score)
    return tracker.model_copy(update=change | {"low_score": min(tracker.low_score, high)})
