"""Which boxes are good, by the classifier itself: no human label is needed to set the threshold of the map.

A good box holds all that makes the picture one of its class, and little else: shown alone it is called so, hidden it is
not, and it is small. As in the deletion and insertion games of Petsiuk et al., "RISE", 2018, with a price on the area.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from components.core.heat import Region, inside, regions
from components.core.lime import Score

ALONE = 0.5  # of several regions, one that shown alone is not called the class is not an object of its own


@dataclass(frozen=True)
class Candidate:
    """The boxes of one threshold. `kept`: scores of each box shown alone; `all_kept`, `hidden`: of all boxes shown and
    of all hidden; `area`: their union's share of the picture."""

    threshold: float
    boxes: tuple[tuple[float, float, float, float], ...]
    kept: tuple[float, ...]
    all_kept: float
    hidden: float
    area: float

    @property
    def merit(self) -> float:
        """What is gained by showing the boxes over hiding them, times the share of the picture that they leave out."""
        return (self.all_kept - self.hidden) * (1 - self.area)

    def confidences(self, whole: float) -> list[float]:
        """Of each box, 0..1: its score alone, times how much of the `whole` picture's goes when they are hidden.

        What is still called the class without them is explained by more of its kind: then only half of it must go.
        """
        lost = min(1.0, max(0.0, whole - min(self.hidden, ALONE)))
        return [min(1.0, max(0.0, kept)) * lost for kept in self.kept]

    def plain(self) -> dict:
        """As JSON."""
        return asdict(self)


def candidates(
    pictures: np.ndarray, off: np.ndarray, heat: np.ndarray, thresholds: Sequence[float], min_share: float, score: Score
) -> list[Candidate]:
    """A candidate for each threshold at which there are boxes.

    `pictures` (H, W, 3) or (T, H, W, 3), and `off`, the same without what makes them: uint8 RGB. `heat` (H, W).
    """
    found = []
    for threshold in thresholds:
        parts = regions(heat, threshold, min_share)
        if not parts:
            continue
        scores = score(np.stack([_shown(pictures, off, inside([part.box], heat.shape)) for part in parts]))
        kept = [(part, float(one)) for part, one in zip(parts, scores, strict=True)]
        found.append(_candidate(threshold, _objects(kept), pictures, off, heat.shape, score))
    return found


def best_threshold(found: Sequence[Sequence[Candidate]]) -> float:
    """The threshold with the highest mean merit over pictures; the first of equal ones. Raises ValueError of none."""
    merits: dict[float, list[float]] = {}
    for picture in found:
        for one in picture:
            merits.setdefault(one.threshold, []).append(one.merit)
    return max(sorted(merits), key=lambda threshold: np.mean(merits[threshold]))


def _objects(kept: list[tuple[Region, float]]) -> list[tuple[Region, float]]:
    """The regions that are objects by themselves; where none is, the heaviest."""
    return [(part, alone) for part, alone in kept if alone >= ALONE] or kept[:1]


def _candidate(threshold, kept, pictures, off, shape, score: Score) -> Candidate:
    boxes = tuple(part.box for part, _ in kept)
    mask = inside(boxes, shape)
    both = score(np.stack([_shown(pictures, off, mask), _shown(pictures, off, ~mask)]))
    alone = tuple(one for _, one in kept)
    return Candidate(threshold, boxes, alone, float(both[0]), float(both[1]), float(mask.mean()))


def _shown(pictures: np.ndarray, off: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], pictures, off)
