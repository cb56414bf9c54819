"""Photographs of one place: sections of its painting, nearer or farther, mirrored, in many kinds of light."""

from dataclasses import replace

import cv2
import numpy as np

from components.pictures.light import Weather
from components.pictures.sites import Site

LONG, SHORT = 480, 360  # pixels of a picture's sides
NEAREST, LEAST_ABOVE = 0.62, 0.08  # smallest section, in shares of the largest; share of the picture above the horizon
BRIGHTEST, GAIN = 225, (1.0, 1.45)  # what the exposure aims at for nearly the brightest pixels, and its limits
NIGHT = 0.14  # share of pictures by an infra-red lamp


def section(site: Site, rng: np.random.Generator, portrait: bool) -> Site:
    """A part of the site as a site of its own, LONG x SHORT pixels, upright where `portrait`.

    Its camera height is scaled with it, so that `foot` and distances still belong together.
    """
    size = (LONG, SHORT) if portrait else (SHORT, LONG)
    largest = min(edge / side for edge, side in zip(site.size, size, strict=True))
    share = largest * rng.uniform(NEAREST, 1.0)  # pixels of the painting to one of the picture
    height, width = (int(side * share) for side in size)
    top = int(rng.uniform(0, max(0.0, min(site.size[0] - height, site.horizon - LEAST_ABOVE * height))))
    left = int(rng.uniform(0, site.size[1] - width))
    step = int(rng.choice((-1, 1)))
    cut = (slice(top, top + height), slice(left, left + width))

    def scaled(layer: np.ndarray, how: int) -> np.ndarray:
        return np.ascontiguousarray(cv2.resize(layer[cut][:, ::step], size[::-1], interpolation=how))

    smooth = cv2.INTER_AREA if share > 1 else cv2.INTER_CUBIC
    return replace(
        site,
        albedo=scaled(site.albedo, smooth),
        distance=scaled(site.distance, cv2.INTER_NEAREST),
        standing=scaled(site.standing, cv2.INTER_NEAREST),  # it is infinite in places
        sky=scaled(site.sky, cv2.INTER_LINEAR),
        horizon=(site.horizon - top) / share,
        height_m=site.height_m / share,
    )


def weather(rng: np.random.Generator) -> Weather:
    """The light of one picture, mostly that of a day with little fog."""
    sun = rng.uniform(0.25, 1.0) * (-1 if rng.random() < NIGHT else 1)
    fog, rain = rng.uniform(0, 0.65) ** 6, max(0.0, rng.uniform(-3.0, 0.8))
    return Weather(float(sun), float(rng.uniform(0, 0.8)), float(fog), float(rain), float(rng.uniform(0, 1)))


def developed(rgb: np.ndarray) -> np.ndarray:
    """The picture, (H, W, 3) uint8 RGB, as bright as automatic exposure makes it."""
    gain = np.clip(BRIGHTEST / max(1.0, np.percentile(rgb[::4, ::4], 97)), *GAIN)
    return cv2.convertScaleAbs(rgb, alpha=float(gain))
