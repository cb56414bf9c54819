"""What both generators draw with: seeded streams, smooth noise, curves through points."""

from functools import cache

import cv2
import numpy as np

_SIDE = 256


def stream(*keys: int) -> np.random.Generator:
    """An independent PCG64 stream per key tuple, so that drawing more for one purpose never shifts another."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(keys)))


def noise(x: np.ndarray, y: np.ndarray, scale: float, rng: np.random.Generator, octaves: int = 1) -> np.ndarray:
    """Smooth periodic noise of about -1..1 with features of `scale`; x, y: float32 of equal shape."""
    out, weight = np.zeros_like(x), 1.0
    for octave in range(octaves):
        tile = (rng.standard_normal((_SIDE, _SIDE)) * 0.6).astype(np.float32)
        u, v = (axis * np.float32(2**octave / scale) for axis in (x, y))
        out += np.float32(weight) * cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        weight *= 0.55
    return out


def grid(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates x and y, each (height, width) float32."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


def curve(points: np.ndarray, steps: int = 10) -> np.ndarray:
    """A smooth line through points (N, 2), (M, 2): Catmull-Rom with its end points doubled."""
    points = np.asarray(points, float)
    if len(points) < 3:
        return points
    p = np.concatenate([points[:1], points, points[-1:]])
    t = _steps(steps)
    a, b, c, d = (p[i : len(p) - 3 + i, None] for i in range(4))
    parts = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([parts.reshape(-1, 2), points[-1:]])


@cache
def _steps(steps: int) -> np.ndarray:
    return np.linspace(0, 1, steps, endpoint=False)[None, :, None]


def fixed(points: np.ndarray) -> np.ndarray:
    """Points in pixels as OpenCV's fixed-point coordinates with 4 fractional bits (`shift=4`)."""
    return np.rint(np.asarray(points) * 16).astype(np.int32)
