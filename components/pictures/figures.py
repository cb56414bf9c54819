"""Figures that stand in a scene: outlines made of limbs, covered with a coat, soft at the edge."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from components.pictures.draw import curve, fixed, grid, noise

NO_EYES = np.zeros((0, 2))
EDGE = 0.35  # units left free around the limbs


@dataclass(frozen=True)
class Figure:
    """A thing by itself: alpha (h, w) float32 0..1, rgb (h, w, 3) float32 0..255 without light, eyes (N, 2) pixels.

    `foot`: pixel (x, y) of the ground under its middle.
    """

    alpha: np.ndarray
    rgb: np.ndarray
    eyes: np.ndarray
    foot: tuple[float, float]

    def trimmed(self) -> "Figure":
        """The figure without the empty rows and columns around it."""
        left, top, right, bottom = bounds(self.alpha > 0.02)
        part = (slice(top, bottom), slice(left, right))
        return Figure(
            self.alpha[part], self.rgb[part], self.eyes - (left, top), (self.foot[0] - left, self.foot[1] - top)
        )


@dataclass(frozen=True)
class Canvas:
    """What a figure is drawn on: pixel coordinates x, y (h, w) float32, `scale` pixels to the unit.

    `low` (x, y): the lower left corner in units, y upwards from the ground; `turn`: how far the figure is seen from the
    side, negative where it looks to the left.
    """

    x: np.ndarray
    y: np.ndarray
    scale: float
    low: np.ndarray
    turn: float

    @property
    def up(self) -> np.ndarray:
        """Units above the ground, (h, w) float64."""
        return (np.float64(len(self.y)) - self.y) / np.float32(self.scale) + np.float32(self.low[1])

    def pixels(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) in units as pixels."""
        out = (np.asarray(points) * (self.turn, 1) - self.low) * self.scale
        out[..., 1] = len(self.y) - out[..., 1]
        return out


def solid(
    rng: np.random.Generator,
    limbs: Sequence[tuple[np.ndarray, float]],
    turn: float,
    unit: float,
    coat: Callable[[Canvas], np.ndarray],
    eyes: np.ndarray = NO_EYES,
) -> Figure:
    """The figure of `limbs`, each an outline (N, 2) in units with its light, the last in front; `unit` in pixels.

    `coat`: the colours (h, w, 3) of a canvas, 0..255 without light.
    """
    twice = 2 if unit < 70 else 1  # small ones are drawn larger and averaged down
    scale = unit * twice
    around = np.concatenate([part for part, _ in limbs])
    low = (around * (turn, 1)).min(0) - EDGE
    high = (around * (turn, 1)).max(0) + EDGE
    width, height = (np.ceil((high - low) * scale / twice).astype(int) + 1) * twice
    canvas = Canvas(*grid(height, width), scale, low, turn)
    alpha, shade = np.zeros((height, width), np.uint8), np.full((height, width), 255, np.uint8)
    for outline, light in limbs:
        points = [fixed(canvas.pixels(outline))]
        cv2.fillPoly(alpha, points, 255, cv2.LINE_AA, 4)
        cv2.fillPoly(shade, points, int(255 * light), cv2.LINE_8, 4)
    # The outline is ragged by a hair's length, as fur is.
    hair = np.float32(max(0.6, 0.011 * scale))
    jitter = [noise(canvas.x, canvas.y, max(2.0, 0.05 * scale), rng, 2) * hair for _ in range(2)]
    alpha, shade = (
        cv2.remap(layer, canvas.x + jitter[0], canvas.y + jitter[1], cv2.INTER_LINEAR) for layer in (alpha, shade)
    )
    rgb = coat(canvas) * (shade.astype(np.float32) / 255)[..., None]
    eyes = canvas.pixels(eyes)
    if twice == 2:
        size = (width // 2, height // 2)
        alpha, rgb = (cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in (alpha, rgb))
        eyes = eyes / 2
    foot = (-low[0] * unit, (height - (0 - low[1]) * scale) / twice)
    return Figure(alpha.astype(np.float32) / 255, rgb, eyes, foot)


def limb(points: np.ndarray, radii: tuple[float, ...]) -> np.ndarray:
    """The outline of a tapering limb along points (N, 2), round at its far end."""
    middle = curve(points, 6)
    r = np.interp(np.linspace(0, 1, len(middle)), np.linspace(0, 1, len(radii)), radii)[:, None]
    step = np.gradient(middle, axis=0)
    step /= np.maximum(np.hypot(*step.T), 1e-6)[:, None]
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1)
    tip = middle[-1] + step[-1] * r[-1]
    return np.concatenate([middle + normal * r, [tip], (middle - normal * r)[::-1]])


def bounds(mask: np.ndarray) -> tuple[int, int, int, int]:
    """The tight box of what is true in a mask (H, W): pixels (left, top, right, bottom), the last two outside of it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
