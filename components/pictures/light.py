"""What a camera makes of a site: daylight, weather, infra-red at night, its lens and its sensor."""

from copy import copy
from dataclasses import dataclass

import cv2
import numpy as np

from components.pictures.draw import grid, noise, stream
from components.pictures.sites import Site

GREY = np.array((0.35, 0.5, 0.15), np.float32)  # what the sensor without its infra-red filter makes of colours


@dataclass(frozen=True)
class Weather:
    """The light of one picture: sun from 0 (horizon) to 1, cloud, fog and rain each 0..1, shadow phase in turns."""

    sun: float
    cloud: float
    fog: float
    rain: float
    phase: float

    @property
    def night(self) -> bool:
        """True where the camera sees by its own infra-red lamp."""
        return self.sun <= 0


class Camera:
    """A site's camera: its lens, colours and lamp stay the same over all of its pictures."""

    def __init__(self, site: Site, seed: int, number: int):
        rng = stream(seed, number, 100)
        self.site, (height, width) = site, site.size
        self.cast = rng.uniform(0.96, 1.04, 3).astype(np.float32)
        self.contrast, self.blur = rng.uniform(0.92, 1.12), rng.uniform(0.35, 0.8)
        x, y = grid(height, width)
        radius = np.hypot(x / width - 0.5, y / height - 0.5) / np.float32(0.5**0.5)
        self.vignette = 1 - np.float32(rng.uniform(0.12, 0.3)) * radius**2
        aim = np.hypot(x / width - rng.uniform(0.42, 0.58), y / height - rng.uniform(0.45, 0.65))
        self.reach = np.float32(rng.uniform(3.4, 5.5))
        self.spot = np.exp(-((aim / np.float32(rng.uniform(0.42, 0.6))) ** 2))
        # Shadows of crowns above the picture, larger than it so that they can wander.
        x, y = grid(height + 160, width + 160)
        self.shadows = np.clip(0.5 + 1.3 * noise(x, y * 1.8, rng.uniform(40, 110), rng, 3), 0, 1)
        self.grain = np.clip(rng.standard_normal((height + 64, width + 64)), -3, 3).astype(np.float32)

    def at(self, site: Site) -> "Camera":
        """The same camera before another site, whose picture is of the same size."""
        other = copy(self)
        other.site = site
        return other

    def light(self, weather: Weather) -> np.ndarray:
        """How brightly each pixel of the site is lit, (H, W) float32."""
        if weather.night:  # by its lamp
            return (self.spot * np.clip(self.reach / self.site.distance, 0, 1.25) ** 1.5).astype(np.float32)
        height, width = self.site.size
        at_x, at_y = (int(80 + 79 * turn(2 * np.pi * weather.phase)) for turn in (np.cos, np.sin))
        shadow = self.shadows[at_y : at_y + height, at_x : at_x + width]
        direct = np.float32((1 - weather.cloud) * min(1.0, 0.25 + weather.sun))
        return np.float32(0.52) + direct * np.float32(0.62) * shadow

    def expose(self, scene: np.ndarray, light: np.ndarray, metres: np.ndarray, weather: Weather, rng) -> np.ndarray:
        """The picture, (H, W, 3) uint8 RGB, of a scene (H, W, 3) float32 without light, `metres` (H, W) away.

        The sky is set here: `scene` and `light` are changed.
        """
        height, width = self.site.size
        if weather.night:
            grey = cv2.transform(scene, GREY[None]) * (light * np.float32(rng.uniform(0.95, 1.2)))
            grey = grey * self.vignette * np.float32(0.92) + 6
            picture, gain = self._weathered(grey, weather, rng), rng.uniform(5, 9)
        else:
            warm = np.array((1.0, 1.0, 1.0)) + (1 - min(1.0, 3 * weather.sun)) * np.array((0.1, 0.0, -0.12))
            dim = 0.62 + 0.38 * min(1.0, 4 * weather.sun)
            tint = (warm * self.cast * dim).astype(np.float32)
            above = np.array((226, 229, 232)) * weather.cloud + np.array((166, 196, 232)) * (1 - weather.cloud)
            up = slice(0, int(self.site.horizon) + 1)  # the sky is there and nowhere else
            seen = self.site.sky[up] * (metres[up] >= self.site.distance[up])
            scene[up] = _over(scene[up], above.astype(np.float32), seen)
            light[up] = np.where(seen > 0.5, np.float32(1), light[up])
            picture = scene * (light * self.vignette)[..., None] * tint
            if weather.fog > 0.05:
                veil = 1 - np.exp(metres * np.float32(-weather.fog / 18))
                picture = _over(picture, np.float32(dim) * np.array((205, 208, 210), np.float32), veil)
            picture, gain = self._weathered(picture, weather, rng), 2 + 5 * (1 - dim)
        picture = (picture - 110) * np.float32(self.contrast * (1 - 0.2 * weather.cloud)) + 110
        picture = picture * np.float32(rng.uniform(0.93, 1.07))
        picture = cv2.GaussianBlur(picture, (0, 0), self.blur)
        at = rng.integers(0, 64, 2)
        grain = self.grain[at[0] : at[0] + height, at[1] : at[1] + width] * np.float32(gain)
        picture = picture + (grain if picture.ndim == 2 else grain[..., None])
        out = np.clip(picture, 0, 255).astype(np.uint8)
        return cv2.merge([out] * 3) if out.ndim == 2 else out

    def _weathered(self, picture: np.ndarray, weather: Weather, rng: np.random.Generator) -> np.ndarray:
        """Rain or snow as streaks, moths before the lamp, a drop on the lens."""
        picture = np.ascontiguousarray(picture, np.float32)
        height, width = self.site.size
        veil = np.zeros((height, width), np.uint8)
        if weather.rain > 0.1:
            fall = rng.normal(0.2, 0.1)
            for _ in range(int(weather.rain * 70)):
                x, y, run = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 22)
                cv2.line(
                    veil,
                    (int(x), int(y)),
                    (int(x + fall * run), int(y + run)),
                    int(rng.uniform(30, 90)),
                    1,
                    cv2.LINE_AA,
                )
        if weather.night:
            for _ in range(int(rng.poisson(0.5))):  # moths: near, bright, out of focus
                at = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
                axes = (int(rng.uniform(3, 16)), int(rng.uniform(2, 8)))
                cv2.ellipse(veil, at, axes, rng.uniform(0, 180), 0, 360, int(rng.uniform(70, 170)), -1, cv2.LINE_AA)
            veil = cv2.GaussianBlur(veil, (0, 0), 2.2)
        if veil.any():
            picture += veil if picture.ndim == 2 else veil[..., None]
        if rng.random() < 0.3 * weather.rain:
            radius = int(rng.uniform(18, 55))
            x, y = int(rng.uniform(radius, width - radius)), int(rng.uniform(radius, height - radius))
            patch = picture[y - radius : y + radius, x - radius : x + radius]
            soft = cv2.GaussianBlur(patch, (0, 0), radius / 4)
            px, py = grid(*patch.shape[:2])
            inside = np.clip(1.3 - np.hypot(px - radius, py - radius) / radius, 0, 1) ** 0.5
            patch[:] = _over(patch, soft * np.float32(1.05), inside)
        return picture


def _over(below: np.ndarray, above: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.astype(np.float32)
    share = share[..., None] if below.ndim == 3 else share
    return below + (above - below) * share
