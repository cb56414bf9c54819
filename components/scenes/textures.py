"""Procedural floors and walls: functions of metres along and away (or along and up), in the tone of the place."""

from __future__ import annotations

import cv2
import numpy as np

_SIDE = 512


def noise(x: np.ndarray, y: np.ndarray, scale: float, rng: np.random.Generator, octaves: int = 1) -> np.ndarray:
    """Smooth periodic noise of about -1..1, with features of `scale` metres; x, y: float32 of equal shape."""
    out, weight = np.zeros_like(x), 1.0
    for octave in range(octaves):
        tile = rng.standard_normal((_SIDE, _SIDE)).astype(np.float32) * 0.6
        tile[-1], tile[:, -1] = tile[0], tile[:, 0]  # no seam where it repeats
        u, v = ((axis * np.float32(2**octave / scale)) % (_SIDE - 1) for axis in (x, y))
        out += np.float32(weight) * cv2.remap(tile, u, v, cv2.INTER_LINEAR)
        weight *= 0.55
    return out


def _cells(x, y, width, height, rng, spread, joint, offset=0.0):
    """Tone factor of a grid of slabs: each its own tone, darker joints, rows shifted by `offset` of a slab."""
    row = np.floor(y / height)
    column = np.floor(x / width + offset * row)
    table = rng.normal(1, spread, (64, 64)).astype(np.float32)
    tone = table[row.astype(np.int64) % 64, column.astype(np.int64) % 64]
    inside_x, inside_y = (x / width + offset * row - column) * width, (y / height - row) * height
    edge = (np.minimum(inside_x, width - inside_x) < joint) | (np.minimum(inside_y, height - inside_y) < joint)
    return np.where(edge, tone * np.float32(0.72), tone)


def _tinted(tone: np.ndarray, factor: np.ndarray) -> np.ndarray:
    return factor[..., None].astype(np.float32) * tone


def _tiles(x, y, tone, rng):
    return _tinted(tone, _cells(x, y, 0.6, 0.6, rng, 0.05, 0.015) + 0.03 * noise(x, y, 0.8, rng, 3))


def _slabs(x, y, tone, rng):
    return _tinted(tone, _cells(x, y, 1.2, 0.6, rng, 0.07, 0.02, 0.5) + 0.05 * noise(x, y, 0.5, rng, 3))


def _cobble(x, y, tone, rng):
    return _tinted(tone, _cells(x, y, 0.3, 0.22, rng, 0.14, 0.025, 0.5) + 0.06 * noise(x, y, 0.3, rng, 2))


def _checker(x, y, tone, rng):
    odd = (np.floor(x / 0.75) + np.floor(y / 0.75)) % 2
    return _tinted(tone, 0.84 + 0.26 * odd + 0.03 * noise(x, y, 0.6, rng, 3))


def _wood(x, y, tone, rng):
    return _tinted(tone, _cells(x, y, 1.6, 0.16, rng, 0.1, 0.006, 0.37) + 0.06 * noise(x * 0.15, y, 0.05, rng, 2))


def _asphalt(x, y, tone, rng):
    out = _tinted(tone, 1 + 0.07 * noise(x, y, 0.08, rng, 2) + 0.06 * noise(x, y, 2.5, rng, 2))
    line = (np.abs(y - 7.2) < 0.08) & ((x % 2.4) < 1.4)
    out[line] = out[line] * 0.4 + 125
    return out


def _concrete(x, y, tone, rng):
    return _tinted(tone, _cells(x, y, 3.0, 3.0, rng, 0.03, 0.02) + 0.07 * noise(x, y, 1.5, rng, 4))


def _lino(x, y, tone, rng):
    band = np.where((np.abs(y - 7.5) < 0.12) | (np.abs(y - 4.8) < 0.12), 0.68, 1.0)
    return _tinted(tone, band + 0.03 * noise(x, y, 0.1, rng, 2) + 0.03 * noise(x, y, 3.0, rng, 2))


def _carpet(x, y, tone, rng):
    pattern = 0.09 * np.sin(x * 5.2) * np.sin(y * 5.2)
    return _tinted(tone, 1 + pattern + 0.07 * noise(x, y, 0.05, rng, 2))


def _granite(x, y, tone, rng):
    return _tinted(tone, _cells(x, y, 0.9, 0.9, rng, 0.03, 0.01) + 0.1 * noise(x, y, 0.06, rng, 2))


def _marble(x, y, tone, rng):
    veins = np.abs(np.sin(2.1 * x + 1.3 * y + 2.2 * noise(x, y, 0.9, rng, 4))) ** 0.35
    return _tinted(tone, 0.74 + 0.24 * veins + _cells(x, y, 1.0, 1.0, rng, 0.03, 0.012) * 0.1)


def _plain(x, z, tone, rng):
    out = _tinted(tone, 1 + 0.03 * noise(x, z, 1.5, rng, 3))
    out[z < 0.12] *= 0.6
    for left in rng.uniform(-6, 6, 4):
        _rectangle(out, x, z, left, left + rng.uniform(0.6, 1.2), 1.1, rng.uniform(1.8, 2.3), rng.uniform(60, 220, 3))
    return out


def _doors(x, z, tone, rng):
    out = _tinted(tone, 1 + 0.03 * noise(x, z, 1.0, rng, 3))
    out[z < 1.0] *= np.float32(0.82)
    for left in np.arange(-12, 12, 2.7) + rng.uniform(0, 1):
        _rectangle(out, x, z, left - 0.07, left + 1.02, 0, 2.15, (92, 86, 78))
        _rectangle(out, x, z, left, left + 0.95, 0, 2.08, (134, 104, 78))
    return out


def _facade(x, z, tone, rng):
    out = _tinted(tone, 1 + 0.06 * noise(x, z, 0.5, rng, 3))
    for left in np.arange(-14, 14, 3.1) + rng.uniform(0, 1.5):
        _rectangle(out, x, z, left, left + 1.9, 0.5, 2.3, (58, 68, 80))
        _rectangle(out, x, z, left + 0.1, left + 0.9, 0.6, 2.2, (92, 104, 116))
    out[(z > 2.5) & (z < 2.9)] *= np.float32(0.7)
    return out


def _brick(x, z, tone, rng):
    return _tinted(tone, _cells(x, z, 0.34, 0.12, rng, 0.09, 0.012, 0.5) + 0.06 * noise(x, z, 1.2, rng, 3))


def _glass(x, z, tone, rng):
    out = _tinted(tone, 0.8 + 0.1 * z + 0.16 * noise(x, z, 1.8, rng, 2))
    frame = (x % 1.6 < 0.09) | (np.abs(z - 2.3) < 0.06) | (z < 0.1)
    out[frame] = (70, 72, 76)
    return out


def _shelves(x, z, tone, rng):
    out = _tinted(tone, 1 + 0.02 * noise(x, z, 1.0, rng, 2))
    goods = rng.uniform(40, 215, (97, 3)).astype(np.float32)
    wide = rng.uniform(0.12, 0.3, 5)
    for level in range(5):
        low = 0.15 + 0.42 * level
        item = np.floor(x / wide[level]).astype(np.int64) + 31 * level
        fullness = 0.2 + 0.14 * rng.random(97).astype(np.float32)
        shown = (z > low) & (z < low + fullness[item % 97]) & (x % 2.6 > 0.12)
        out[shown] = goods[item % 97][shown] * 0.85
        out[(z > low + 0.36) & (z < low + 0.42)] = (84, 80, 76)
    out[(z < 2.25) & (x % 2.6 <= 0.12)] = (96, 92, 88)
    return out


def _rectangle(out, x, z, left, right, low, high, colour):
    out[(x > left) & (x < right) & (z > low) & (z < high)] = colour


FLOORS = {
    "tiles": _tiles, "slabs": _slabs, "cobble": _cobble, "checker": _checker, "wood": _wood, "asphalt": _asphalt,
    "concrete": _concrete, "lino": _lino, "carpet": _carpet, "granite": _granite, "marble": _marble,
}  # fmt: skip
WALLS = {"plain": _plain, "doors": _doors, "facade": _facade, "brick": _brick, "glass": _glass, "shelves": _shelves}


def shade(picture: np.ndarray, polygon: np.ndarray, keep: float) -> None:
    """Darkens the soft inside of a polygon (N, 2 pixels) of an RGB picture, in place, to `keep` of its brightness."""
    mask = np.zeros(picture.shape[:2], np.float32)
    cv2.fillConvexPoly(mask, np.rint(polygon).astype(np.int32), 1.0)
    mask = cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None]
    picture[:] = (picture * (1 - (1 - keep) * mask)).astype(np.uint8)
