"""What is taken for an animal at a glance: boulders, logs on broken branches, stumps, bushes, in an animal's tones."""

from collections.abc import Callable

import numpy as np

from components.pictures.animals import SPECIES
from components.pictures.draw import curve, noise
from components.pictures.figures import Canvas, Figure, limb, solid

SPECIES_TONE = 0.35  # share of them


def draw(rng: np.random.Generator, unit: float, ground: np.ndarray) -> Figure:
    """One of any kind, about `unit` pixels high: some in a species' tones, most in those of stone, bark or leaves.

    `ground`: the colour (3,) RGB 0..255 of where it stands, which stones take something of.
    """
    limbs, tone, texture = KINDS[rng.integers(len(KINDS))](rng)
    if rng.random() < SPECIES_TONE:
        species = SPECIES[rng.integers(len(SPECIES))]
        tone = np.array(species.back) * 0.75 + np.array(species.belly) * 0.25
    elif texture is _stone:
        tone = 0.6 * tone + 0.4 * ground
    tone = np.float32(tone * rng.uniform(0.75, 1.2) * rng.uniform(0.96, 1.04, 3))
    turn = rng.uniform(0.75, 1.0) * rng.choice((-1, 1))
    return solid(rng, limbs, turn, unit, lambda canvas: _coat(rng, tone, texture, canvas))


def _coat(rng, tone: np.ndarray, texture: Callable, canvas: Canvas) -> np.ndarray:
    light = np.float32(0.3) * np.clip(canvas.up - 0.5, -0.6, 0.6)  # it comes from above
    return np.clip(tone * (1 + texture(rng, canvas) + light)[..., None], 0, 255).astype(np.float32)


def _stone(rng, canvas: Canvas) -> np.ndarray:
    fine = noise(canvas.x, canvas.y, max(1.5, 0.06 * canvas.scale), rng, 2)
    return 0.14 * fine + 0.14 * noise(canvas.x, canvas.y, 0.4 * canvas.scale, rng)


def _bark(rng, canvas: Canvas, along: float = 0.2, across: float = 1.0) -> np.ndarray:
    streaks = noise(canvas.x * np.float32(along), canvas.y * np.float32(across), max(1.5, 0.04 * canvas.scale), rng, 2)
    return 0.2 * streaks + 0.1 * noise(canvas.x, canvas.y, 0.3 * canvas.scale, rng)


def _upright_bark(rng, canvas: Canvas) -> np.ndarray:
    return _bark(rng, canvas, 1.0, 0.2)


def _boulder(rng):
    """A boulder, often with a second, lower one leaning on it as a head leans from a trunk."""
    wide, tall = rng.uniform(0.55, 1.1), rng.uniform(0.7, 1.1)
    limbs = []
    if rng.random() < 0.6:
        small, at = rng.uniform(0.35, 0.6), wide * rng.uniform(0.75, 1.05)
        limbs.append((_blob(rng, (at, 0.45 * small * tall), small * wide, 0.5 * small * tall), 0.85))
    limbs.append((_blob(rng, (0, 0.45 * tall), wide, 0.55 * tall), 1.0))
    return limbs, np.array((112, 108, 102.0)), _stone


def _blob(rng, centre, wide: float, tall: float) -> np.ndarray:
    turns, rough = np.linspace(0, 2 * np.pi, 12)[:-1], rng.uniform(0.82, 1.1, 11)
    points = np.stack([wide * rough * np.cos(turns), tall * rough * np.sin(turns)], axis=1) + centre
    points[:, 1] = np.maximum(points[:, 1], -0.02)
    return curve(np.concatenate([points, points[:1]]), 4)


def _log(rng):
    """A fallen trunk: flat on the ground, or held up by the stubs of its branches as by legs."""
    run, thick = rng.uniform(1.1, 2.0), rng.uniform(0.16, 0.3)
    raised = rng.random() < 0.55
    level = rng.uniform(0.42, 0.62) if raised else thick
    slope = rng.normal(0, 0.1)
    middle = np.array([(-run / 2, level - slope), (0, level + rng.normal(0, 0.04)), (run / 2, level + slope)])
    limbs = []
    for _ in range(int(rng.integers(2, 5)) if raised else 0):
        root = rng.uniform(-0.45, 0.45) * run
        points = np.array([(root, level), (root + rng.normal(0, 0.1), level / 2), (root + rng.normal(0, 0.2), 0)])
        limbs.append((limb(points, (0.12, 0.07, 0.05)), rng.uniform(0.65, 0.95)))
    for _ in range(int(rng.integers(0, 3))):
        root, tip = rng.uniform(-0.5, 0.5) * run, rng.uniform(0.05, 0.35)
        points = np.array([(root, level), (root + rng.normal(0, 0.25), level + thick + tip)])
        limbs.append((limb(points, (0.09, 0.04)), rng.uniform(0.75, 1.0)))
    limbs.append((limb(middle, (thick, thick * 0.95, thick * rng.uniform(0.6, 0.9))), 1.0))
    return limbs, np.array((96, 84, 70.0)), _bark


def _stump(rng):
    """A stump with a splintered top and roots."""
    half, tall, lean = rng.uniform(0.22, 0.45), rng.uniform(0.7, 1.2), rng.normal(0, 0.12)
    limbs = []
    for side in (-1, 1, rng.choice((-1, 1))):
        reach = half + rng.uniform(0.15, 0.5)
        points = np.array([(0.5 * side * half, 0.3 * tall), (0.9 * side * half, 0.12), (side * reach, 0.02)])
        limbs.append((limb(points, (0.16, 0.11, 0.04)), rng.uniform(0.75, 0.95)))
    top = np.stack([np.linspace(0.85, -0.85, 9) * half + lean, tall + rng.uniform(-0.12, 0.16, 9)], axis=1)
    sides = [(-1.05 * half, 0.0), (1.05 * half, 0.0), (0.9 * half + lean * 0.5, 0.5 * tall)]
    limbs.append((np.array([*sides, *top, (-0.9 * half + lean * 0.5, 0.5 * tall)]), 1.0))
    return limbs, np.array((98, 82, 66.0)), _upright_bark


def _bush(rng):
    """A bush of dry or green leaves, of an animal's bulk."""
    wide, tall, leaf = rng.uniform(0.45, 0.9), rng.uniform(0.4, 0.6), rng.uniform(0.05, 0.1)
    limbs = [(limb(np.array([(0, 0), (rng.normal(0, 0.3), tall)]), (0.03, 0.02)), 0.5) for _ in range(4)]
    turns = np.linspace(0, 2 * np.pi, 7)[:-1]
    shape = np.stack([1.7 * leaf * np.cos(turns), 0.8 * leaf * np.sin(turns)], axis=1)
    count = 130
    at = rng.normal(0, 0.42, (count, 2)) * (wide, tall) + (0, 1.05 * tall)
    at[:, 1] = np.maximum(at[:, 1], 0.05)
    for place, angle, light in zip(at, rng.uniform(0, np.pi, count), rng.uniform(0.55, 1.0, count), strict=True):
        spin = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        limbs.append((shape @ spin + place, light))
    tone = np.array((104, 112, 58.0)) if rng.random() < 0.5 else np.array((134, 104, 64.0))
    return limbs, tone, _stone


KINDS = (_boulder, _log, _stump, _bush)
