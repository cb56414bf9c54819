"""A scene before it is taken: figures put into a site, what of them can be seen, their shadows and their light."""

from dataclasses import dataclass

import cv2
import numpy as np

from components.pictures.figures import Figure
from components.pictures.light import Camera, Weather
from components.pictures.sites import Site


@dataclass(frozen=True)
class Seen:
    """What of a figure can be seen: where in the picture, which part of the figure, and its alpha (h, w) there."""

    patch: tuple[slice, slice]
    part: tuple[slice, slice]
    alpha: np.ndarray


class Scene:
    """What a camera is about to take, all arrays of the picture's size; figures change them in place.

    colours (H, W, 3) float32 RGB without light; light (H, W) float32; distance (H, W) float32 metres.
    """

    def __init__(self, camera: Camera, weather: Weather):
        self.camera, self.site, self.weather = camera, camera.site, weather
        self.colours, self.distance = camera.site.albedo.astype(np.float32), camera.site.distance.copy()
        self.light = camera.light(weather)

    def put(self, figure: Figure, seen: Seen, foot: tuple[float, float], unit: float, metres: float) -> None:
        """Puts what is seen of a figure there, with its shadow. `foot`: the pixel (x, y) where it stands."""
        patch, part, alpha = seen.patch, seen.part, seen.alpha
        self.colours[patch] += (figure.rgb[part] - self.colours[patch]) * alpha[..., None]
        self.distance[patch] += (metres - self.distance[patch]) * alpha
        self._shadow(foot, unit, metres)
        # It stands upright in the light of where it stands, not in that of what it hides.
        x, y = foot
        row, column = (int(np.clip(at, 0, edge - 1)) for at, edge in zip((y, x), self.site.size, strict=True))
        lit = self.light[row, column]
        own = np.float32(lit if self.weather.night else 0.5 * lit + 0.4)
        self.light[patch] += (own - self.light[patch]) * alpha * np.float32(0.9)

    def shine(self, eyes: np.ndarray, unit: float, metres: float) -> None:
        """Lets eyes (N, 2) pixels throw the lamp's light back, where nothing hides them."""
        height, width = self.site.size
        for x, y in eyes:
            if 0 <= x < width and 0 <= y < height and self.site.standing[int(y), int(x)] >= metres:
                at, radius = (int(x * 16), int(y * 16)), int(max(16, 0.3 * unit))
                cv2.circle(self.colours, at, radius, (255,) * 3, -1, cv2.LINE_AA, 4)
                cv2.circle(self.light, at, radius, 1.2, -1, cv2.LINE_AA, 4)

    def expose(self, rng: np.random.Generator) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB. The scene is used up."""
        return self.camera.expose(self.colours, self.light, self.distance, self.weather, rng)

    def _shadow(self, foot, unit: float, metres: float) -> None:
        """Darkens the ground under a figure: more under a clear sky."""
        strength = 0.22 if self.weather.night else 0.18 + 0.3 * (1 - self.weather.cloud)
        wide, flat = 0.75 * unit, max(2.0, 0.3 * unit * self.site.height_m / metres)
        left, top = round(foot[0] - 1.5 * wide), round(foot[1] - 2 * flat)
        shape = (max(4, round(4 * flat)), max(4, round(3 * wide)))
        patch, part = _overlap(self.site.size, shape, left, top)
        if patch is None:
            return
        y, x = np.mgrid[: shape[0], : shape[1]]
        inside = np.exp(-(((x / shape[1] - 0.5) * 3) ** 4) - ((y / shape[0] - 0.5) * 2.6) ** 2).astype(np.float32)
        open_ground = (self.site.standing[patch] >= metres).astype(np.float32)
        self.light[patch] *= 1 - np.float32(strength) * inside[part] * open_ground


def seen(site: Site, figure: Figure, left: int, top: int, metres: float) -> Seen | None:
    """What of a figure can be seen whose upper left pixel lies there, so far away; None where it is outside."""
    patch, part = _overlap(site.size, figure.alpha.shape, left, top)
    if patch is None:
        return None
    return Seen(patch, part, np.where(site.standing[patch] < metres, 0, figure.alpha[part]).astype(np.float32))


def _overlap(size, shape, left: int, top: int):
    """Where a patch of this shape lies in the picture, and which part of it does: two pairs of slices, or None."""
    y0, y1 = max(0, top), min(size[0], top + shape[0])
    x0, x1 = max(0, left), min(size[1], left + shape[1])
    if y1 - y0 < 4 or x1 - x0 < 4:
        return None, None
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
