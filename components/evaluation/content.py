"""What a report is made of, and the words for it: videos or pictures, with a positive class or without."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from components.core.bundle import EVEN
from components.core.recipe import Recipe
from components.evaluation.boxes import box_matches
from components.evaluation.clips import Clip, chosen_clips
from components.evaluation.curves import Pair, class_rows, confused_pairs, confusion_counts
from components.evaluation.moments import PAIRS, Moment
from components.evaluation.scores import Scored, labelled
from components.tasks.classification.metrics import defined
from components.tasks.detection.metrics import Matches


@dataclass(frozen=True)
class Content:
    """What the report shows. `jpegs`: the encoded frame of each moment; `model`: its version (12 hex digits);
    `sequences`: `rows` of `tracks.Followed`."""

    recipe: Recipe
    assets: list[Scored]
    metrics: dict
    moments: list[Moment]
    jpegs: list[bytes]
    model: str
    sequences: list[dict] = field(default_factory=list)

    @cached_property
    def pictures(self) -> bool:
        """True where there are no videos: nothing to play, no time."""
        return all(asset.kind == "picture" for asset in self.assets)

    @cached_property
    def files(self) -> str:
        """What the assets are."""
        kinds = {asset.kind for asset in self.assets}
        return {"picture": "pictures", "video": "videos"}[kinds.pop()] if len(kinds) == 1 else "files"

    @property
    def unit(self) -> str:
        """What one scored thing is."""
        return "picture" if self.pictures else "frame"

    @property
    def threshold(self) -> float | None:
        """From where on the positive class is called; None where the likeliest class is."""
        two = len(self.recipe.task.classes) == 2
        return self.metrics["threshold"] if two and self.recipe.task.positive is not None else None

    @property
    def box_threshold(self) -> float:
        """From which score on a detector's boxes are called."""
        return self.metrics.get("threshold", EVEN)

    @cached_property
    def two_sided(self) -> bool:
        """True where the labelled frames are of both sides, so that they can be ranked; else boxes are what counts."""
        return defined(labelled(self.assets)[0], self.recipe.task.positive_index)

    @property
    def many(self) -> bool:
        """True where there are figures over classes: of more than two, or where none of them is the positive one."""
        return self.two_sided and (len(self.recipe.task.classes) > 2 or self.recipe.task.positive is None)

    @cached_property
    def matches(self) -> Matches | None:
        """Which of a detector's boxes are right; None where no true box is known."""
        return box_matches(self.assets)

    @cached_property
    def clips(self) -> list[Clip]:
        """The sequences to look at, of a recipe that tracks."""
        return chosen_clips(self.assets, self.sequences)

    @cached_property
    def counts(self) -> np.ndarray:
        """The confusion matrix, (C, C)."""
        return confusion_counts(self.assets, self.recipe.task)

    @cached_property
    def pairs(self) -> list[Pair]:
        """The commonest confusions; none of two classes, whose matrix says it all."""
        return confused_pairs(self.counts, PAIRS) if len(self.recipe.task.classes) > 2 else []

    @cached_property
    def classes(self) -> list[dict]:
        """`curves.class_rows`."""
        return class_rows(self.assets, self.recipe.task, self.threshold)

    def called(self, pair: Pair) -> str:
        """A confusion in words."""
        return f"{self.recipe.task.classes[pair.actual]} called {self.recipe.task.classes[pair.called]}"


def share(part: int, whole: int) -> float:
    """part / whole, 0 of nothing."""
    return part / whole if whole else 0.0


def clock(seconds: float) -> str:
    """Seconds as a player shows them: 7.4 -> 0:07.4, 3725.0 -> 1:02:05.0."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"
