"""What a detector called and what was followed, drawn into a picture, for people to look at. Pure."""

import numpy as np

from components.core.draw import COLOURS, Corners, identity_colour, outlined


def drawn(rgb: np.ndarray, boxes: list[dict], size: tuple[int, int], classes: tuple[str, ...]) -> np.ndarray:
    """A copy of the canvas `rgb` with boxes, each in its class's colour with class and score; the best on top.

    `boxes`: class, score, x, y, w, h in pixels of the source, whose (height, width) `size` is.
    """
    marks = []
    for box in sorted(boxes, key=lambda box: box["score"]):
        colour = COLOURS[(classes.index(box["class"]) - 1) % len(COLOURS)]  # the first is the background
        marks.append((_corners(box, rgb.shape, size), f"{box['class']} {box['score']:.2f}", colour))
    return outlined(rgb, marks)


def drawn_tracks(rgb: np.ndarray, tracks: list[dict], size: tuple[int, int]) -> np.ndarray:
    """A copy of the canvas `rgb` with tracks, each in its identity's colour with class and number; the oldest on top.

    `tracks`: track_id, class, x, y, w, h in pixels of the source, whose (height, width) `size` is.
    """
    return outlined(
        rgb,
        [
            (_corners(one, rgb.shape, size), f"{one['class']} #{one['track_id']}", identity_colour(one["track_id"]))
            for one in sorted(tracks, key=lambda one: -one["track_id"])
        ],
    )


def _corners(box: dict, shape: tuple[int, ...], size: tuple[int, int]) -> Corners:
    """Where a box of a source of this (height, width) is on its canvas of this shape."""
    down, across = shape[0] / size[0], shape[1] / size[1]
    left, top = round(box["x"] * across), round(box["y"] * down)
    right = max(left, round((box["x"] + box["w"]) * across) - 1)
    return left, top, right, max(top, round((box["y"] + box["h"]) * down) - 1)
