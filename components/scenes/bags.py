"""Bags: carried by their owner, standing beside them, or left behind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.scenes.actions import Track
from components.scenes.people import J

ABANDONED_AT = 2.5  # metres between a bag on the floor and its owner from which on it counts as left behind
_KINDS = (  # (length, width, height) in metres
    (0.62, 0.32, 0.34),  # holdall
    (0.48, 0.26, 0.62),  # suitcase
    (0.42, 0.28, 0.5),  # rucksack
)
_TONES = np.array([[36, 36, 42], [122, 34, 38], [38, 62, 110], [60, 84, 58], [128, 92, 56], [186, 120, 44]], float)


@dataclass(frozen=True)
class BagTrack:
    """A bag over a clip: base points (T, 3), headings (T,), state (T,) of carried / attended / abandoned."""

    size: tuple[float, float, float]
    tone: np.ndarray
    base: np.ndarray
    heading: np.ndarray
    state: np.ndarray


def follow(owner: Track, rng: np.random.Generator) -> BagTrack:
    """The bag of `owner`: in the left hand while the owner carries, else on the floor where it was put down.

    It is abandoned from when the owner is ABANDONED_AT away until someone carries it again.
    """
    size = _KINDS[rng.integers(len(_KINDS))]
    hand = owner.joints[:, J["hand_l"]]
    carried = owner.carrying
    base = hand - np.array([0, 0, size[2] + 0.06])
    base[:, 2] = np.maximum(base[:, 2], 0)
    heading = owner.heading.copy()
    state = np.where(carried, "carried", "attended").astype("<U9")
    abandoned = False
    for t in np.flatnonzero(~carried):
        put_down = t == 0 or carried[t - 1]
        if put_down:
            abandoned = False
            floor, turned = np.array([*hand[t, :2], 0.0]), heading[t]
        base[t], heading[t] = floor, turned
        abandoned = abandoned or np.hypot(*(owner.xy[t] - floor[:2])) > ABANDONED_AT
        if abandoned:
            state[t] = "abandoned"
    return BagTrack(size, _TONES[rng.integers(len(_TONES))] * rng.uniform(0.85, 1.15), base, heading, state)
