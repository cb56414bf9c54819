"""Where animals and look-alikes stand in a view: how large, beside whom, what of them is seen, the boxes around it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from components.pictures import animals, lookalikes
from components.pictures.figures import Figure, bounds
from components.pictures.scene import Seen, seen
from components.pictures.sites import FOCAL, Site
from components.pictures.views import SHORT

SHOULDER = (0.16, 0.5)  # how high an animal's is, in shares of the picture's shorter side: its head is higher
CROWD = (1.0, 0.72, 0.58)  # of the tallest, by how many animals there are
LONGEST = 0.72  # of an animal, in shares of the picture's width
SIDEWAYS = (0.75, 1.0)
RISE = (0.4, 1.1)  # an animal's shoulder over how far below the horizon it stands
SEEN_SHARE, SHARED = 0.8, (0.05, 0.3)  # of a figure that must be seen; of the smaller one's patch that both may take
TRIES = 60  # to find room for a figure


@dataclass(frozen=True)
class Placed:
    """A figure where it stands: `foot` pixel (x, y), `unit` pixels to its shoulder, `metres` away."""

    figure: Figure
    seen: Seen
    foot: tuple[float, float]
    unit: float
    metres: float
    animal: bool

    @property
    def corner(self) -> tuple[int, int]:
        """The pixel (x, y) of the picture where the figure's own upper left pixel lies."""
        (rows, columns), (own_rows, own_columns) = self.seen.patch, self.seen.part
        return columns.start - own_columns.start, rows.start - own_rows.start


def herd(rng: np.random.Generator, view: Site, coats: tuple[bool, ...]) -> list[Placed]:
    """An animal for each of `coats` (whether it is toned like the place), all smaller where they found no room."""
    most = SHOULDER[1] * CROWD[max(0, len(coats) - 1)]
    while True:
        placed: list[Placed] = []
        for toned in coats:
            species = animals.SPECIES[rng.choice(len(animals.SPECIES), p=animals.chances())]
            one = _place(rng, view, placed, most, species, toned)
            placed += [one] if one else []
        if len(placed) == len(coats):
            return placed
        most *= 0.85


def lookalike(rng: np.random.Generator, view: Site, others: list[Placed]) -> Placed | None:
    """What is taken for an animal, beside the others; None where there is no room."""
    return _place(rng, view, others, SHOULDER[1], None, False)


def far_first(placed: Sequence[Placed]) -> list[Placed]:
    """The figures in the order in which they are put into a scene."""
    return sorted(placed, key=lambda one: -one.metres)


def masks(size: tuple[int, int], placed: Sequence[Placed]) -> list[np.ndarray]:
    """Where each animal can be seen, (H, W) bool, the farthest first: nearer figures and what grows there hide it."""
    nearer, out = np.zeros(size, bool), []
    for one in reversed(placed):
        own = np.zeros(size, bool)
        own[one.seen.patch] = one.seen.alpha > 0.5
        if one.animal:
            out.append(own & ~nearer)
        nearer |= own
    return out[::-1]


def boxes(size: tuple[int, int], placed: Sequence[Placed]) -> list[tuple[int, int, int, int]]:
    """The tight box of each of `masks`: pixels (left, top, right, bottom), the last two just outside of it."""
    return [bounds(mask) for mask in masks(size, placed)]


def _place(
    rng, view: Site, others: list[Placed], most: float, species: animals.Species | None, toned: bool
) -> Placed | None:
    """An animal, or a look-alike where `species` is None, beside the others, of which enough can be seen.

    Its shoulder is at most `most` of the picture's shorter side high. None where there is no room.
    """
    height, width = view.size
    if species:
        most = min(most, LONGEST * width / SHORT / (species.body[0] + 0.6 * (species.neck[0] + species.head)))
    unit = SHORT * float(rng.uniform(min(SHOULDER[0], most), most))
    figure = animals.draw(rng, species, unit, SIDEWAYS) if species else lookalikes.draw(rng, unit, _ground(view))
    figure = figure.trimmed()
    for attempt in range(TRIES):  # each time a little less is asked for
        lowest = rng.uniform(0.9, 0.99) * height
        y = min(view.horizon + unit / rng.uniform(*RISE), lowest)
        if attempt >= TRIES // 2:  # there is no room at the distance that suits it best
            y = rng.uniform(y, lowest)
        metres = FOCAL * view.height_m / (y - view.horizon)
        foot = float(rng.uniform(0.08, 0.92) * width), float(y)
        left, top = round(foot[0] - figure.foot[0]), round(foot[1] - figure.foot[1])
        there = seen(view, figure, left, top, metres * 0.95**attempt)
        if there is None or there.alpha.sum() < SEEN_SHARE * figure.alpha.sum():
            continue
        one = Placed(figure, there, foot, unit, metres, species is not None)
        if sum(_shared(there, other.seen) for other in others) > SHARED[0] + (SHARED[1] - SHARED[0]) * attempt / TRIES:
            continue
        if _clear(view.size, [*others, one]):
            return replace(one, figure=_eyed(_toned(rng, figure, there, view) if toned else figure, unit))
    return None


def _clear(size: tuple[int, int], placed: Sequence[Placed]) -> bool:
    """Whether the figures hide none of the animals for the most part."""
    placed = far_first(placed)
    whole = ((one.seen.alpha > 0.5).sum() for one in placed if one.animal)
    return all(mask.sum() >= SEEN_SHARE * pixels for mask, pixels in zip(masks(size, placed), whole, strict=True))


def _ground(view: Site) -> np.ndarray:
    return view.albedo[int(view.horizon) + 1 :: 7, ::7].reshape(-1, 3).mean(0)


def _shared(one: Seen, other: Seen) -> float:
    """How much of the smaller one's patch both take."""
    edges = list(zip(one.patch, other.patch, strict=True))
    both = np.prod([max(0, min(a.stop, b.stop) - max(a.start, b.start)) for a, b in edges])
    return float(both / min(one.alpha.size, other.alpha.size))


def _toned(rng, figure: Figure, there: Seen, view: Site) -> Figure:
    """The figure in the mean colour of what it stands before; its marks and its fur stay, fainter."""
    behind = np.average(view.albedo[there.patch].reshape(-1, 3), axis=0, weights=there.alpha.ravel() + 1e-6)
    coat = np.average(figure.rgb.reshape(-1, 3), axis=0, weights=figure.alpha.ravel() + 1e-6)
    tone = 0.65 * behind + 0.35 * coat * behind.mean() / coat.mean()  # no fur is as green as grass
    even = np.float32(rng.uniform(0.15, 0.4))
    rgb = figure.rgb * np.float32(tone / coat) * (1 - even) + np.float32(tone) * even
    return replace(figure, rgb=np.clip(rgb, 0, 255).astype(np.float32))


def _eyed(figure: Figure, unit: float) -> Figure:
    """The figure with the dark eyes that it has by day."""
    rgb = figure.rgb.copy()
    for x, y in figure.eyes:
        cv2.circle(rgb, (int(x * 16), int(y * 16)), int(0.56 * unit), (22, 18, 16), -1, cv2.LINE_AA, 4)
    return replace(figure, rgb=rgb)
