"""Cameras over a floor: pinhole projection, and the part of the floor that a camera sees.

Coordinates: metres, x to the right, y away from the camera along the floor, z up; the camera stands at (0, 0, height)
and looks along +y, tilted down. Pictures: u to the right, v down, in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

NTSC = Fraction(30000, 1001)


@dataclass(frozen=True)
class Camera:
    """A camera model. `focal` is in picture heights; `yaw` turns the place (its wall and floor pattern), in degrees."""

    name: str
    width: int
    height: int
    fps: Fraction
    above: float
    tilt: float
    focal: float
    yaw: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0
    brightness: float = 0.0
    saturation: float = 1.0
    noise: float = 4.0
    blur: float = 0.5


_PAL = Fraction(25)
CAMERAS = {
    camera.name: camera
    for camera in (
        Camera("entrance", 384, 288, _PAL, 3.4, 23, 1.15, 8, (1.0, 1.0, 0.97), noise=4),
        Camera("stairs", 320, 240, _PAL, 4.2, 28, 1.25, -12, (0.95, 1.0, 1.06), 0.85, 4, 0.7, noise=6),
        Camera("counter", 384, 288, NTSC, 2.9, 19, 1.05, 3, (1.05, 1.0, 0.9), 1.05, noise=3),
        Camera("mast", 352, 288, _PAL, 5.0, 30, 1.45, -5, (0.97, 1.03, 0.97), 0.9, noise=5),
        Camera("doorway", 320, 240, NTSC, 3.0, 21, 1.15, 15, (1.0, 0.98, 1.04), 0.75, 10, 0.5, noise=7, blur=0.7),
        Camera("atrium", 384, 288, _PAL, 3.9, 26, 1.3, -18, (1.03, 1.0, 1.0), 0.65, 16, 0.8, noise=5, blur=0.6),
        Camera("roof", 384, 288, _PAL, 4.5, 29, 1.35, 12, (1.06, 1.0, 0.92), 0.85, 2, 0.8, noise=6),
        Camera("kiosk", 320, 240, NTSC, 3.2, 22, 1.1, -9, (0.94, 1.02, 1.02), 0.95, -6, 0.9, noise=7),
        Camera("passage", 352, 240, NTSC, 3.6, 25, 1.2, 20, (1.0, 1.0, 1.0), 0.75, 6, 0.3, noise=5, blur=0.7),
    )
}
TEST_CAMERAS = frozenset({"roof", "kiosk", "passage"})
NIGHT = "-night"


def camera(name: str) -> Camera:
    """The camera of this name; NAME-night is the same one after dark: infra-red, without colour, dim and noisy."""
    day = CAMERAS[name.removesuffix(NIGHT)]
    if not name.endswith(NIGHT):
        return day
    dim = replace(day, tint=(1.0, 1.0, 1.0), saturation=0.0, contrast=0.22 * day.contrast, brightness=-75.0)
    return replace(dim, name=name, noise=2.2 * day.noise, blur=2.0 * day.blur)


class View:
    """A camera at a picture size, in front of a wall: projects points and answers where people may stand."""

    def __init__(self, camera: Camera, width: int, height: int):
        self.camera, self.width, self.height = camera, width, height
        self.focal = camera.focal * height
        self.sin, self.cos = np.sin(np.radians(camera.tilt)), np.cos(np.radians(camera.tilt))
        yaw = np.radians(camera.yaw)
        self.normal = np.array([np.sin(yaw), np.cos(yaw)])  # floor direction towards the wall
        self.wall = 9.3 * camera.focal  # a person at the wall is about a sixth of the picture tall
        self.near = self.floor_y(0.93 * height)

    def project(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (..., 3) in metres -> pixels (..., 2) and depths (...) along the optical axis, in metres."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        depth = np.maximum(y * self.cos + (self.camera.above - z) * self.sin, 0.3)
        down = (self.camera.above - z) * self.cos - y * self.sin
        u = self.width / 2 + self.focal * x / depth
        v = self.height / 2 + self.focal * down / depth
        return np.stack([u, v], axis=-1), depth

    def floor_y(self, v: float) -> float:
        """The distance y at which the floor appears in picture row v (below the horizon)."""
        slope = (v - self.height / 2) / self.focal
        return self.camera.above * (self.cos - slope * self.sin) / (self.sin + slope * self.cos)

    def half_width(self, y):
        """Half of the width of floor that is in the picture at distance y, in metres."""
        return self.width / 2 / self.focal * (y * self.cos + self.camera.above * self.sin)

    def wall_y(self, x):
        """The distance y of the wall at lateral position x."""
        return (self.wall - x * self.normal[0]) / self.normal[1]

    def floor(self, across: float, away: float) -> np.ndarray:
        """The floor point (2,) at `across` (-1 left edge .. 1 right edge) and `away` (0 nearest .. 1 at the wall)."""
        y = self.near + away * (self.wall - 0.6 - self.near)
        x = across * self.half_width(y)
        y = self.near + away * (self.wall_y(x) - 0.6 - self.near)
        return np.array([x, y])

    def rays(self, oversample: int) -> np.ndarray:
        """Ray directions (H * oversample, W * oversample, 3) through the centres of the sub-pixels, float32."""
        u = (np.arange(self.width * oversample, dtype=np.float32) + 0.5) / oversample - self.width / 2
        v = (np.arange(self.height * oversample, dtype=np.float32) + 0.5) / oversample - self.height / 2
        u, v = np.meshgrid(u / self.focal, v / self.focal)
        return np.stack([u, self.cos - v * self.sin, -self.sin - v * self.cos], axis=-1).astype(np.float32)
