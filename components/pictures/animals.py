"""Animals seen from the side: outlines of a few species in many poses, covered with fur."""

from dataclasses import dataclass

import numpy as np

from components.pictures.draw import curve, noise
from components.pictures.figures import Canvas, Figure, limb, solid


@dataclass(frozen=True)
class Species:
    """Lengths in shoulder heights of the animal, which is `tall` metres; tones RGB 0-255 of back and belly.

    body: length and depth of the trunk; leg: its thickness; neck: length and upward angle (degrees); head: length;
    ear: length; tail: length and thickness. marks: none, spots or bands. common: how often it comes by.
    """

    name: str
    tall: float
    body: tuple[float, float]
    leg: float
    neck: tuple[float, float]
    head: float
    ear: float
    tail: tuple[float, float]
    back: tuple[int, int, int]
    belly: tuple[int, int, int]
    marks: str = "none"
    antlers: bool = False
    common: float = 1.0


SPECIES = (
    Species("deer", 0.85, (1.15, 0.46), 0.075, (0.62, 52), 0.36, 0.2, (0.16, 0.08), (128, 92, 60), (168, 142, 112),
            common=1.4),
    Species("stag", 1.15, (1.2, 0.5), 0.08, (0.6, 55), 0.36, 0.17, (0.14, 0.07), (108, 82, 60), (140, 118, 96),
            antlers=True, common=0.7),
    Species("boar", 0.75, (1.35, 0.72), 0.11, (0.3, 8), 0.52, 0.14, (0.28, 0.04), (62, 52, 46), (76, 66, 58)),
    Species("fox", 0.4, (1.45, 0.46), 0.09, (0.4, 30), 0.46, 0.26, (1.0, 0.2), (172, 100, 48), (206, 188, 166),
            common=1.4),
    Species("hare", 0.3, (1.35, 0.72), 0.12, (0.26, 40), 0.42, 0.52, (0.14, 0.14), (132, 112, 86), (176, 160, 140)),
    Species("badger", 0.32, (2.0, 0.95), 0.17, (0.35, 5), 0.55, 0.12, (0.35, 0.14), (118, 114, 110), (44, 40, 40),
            "bands", common=0.8),
    Species("fawn", 0.5, (1.1, 0.42), 0.075, (0.58, 55), 0.36, 0.22, (0.12, 0.07), (142, 98, 62), (184, 156, 124),
            "spots", common=0.6),
)  # fmt: skip


def chances() -> np.ndarray:
    """How likely each of SPECIES comes by; sums to 1."""
    weights = np.array([species.common for species in SPECIES])
    return weights / weights.sum()


def draw(
    rng: np.random.Generator, species: Species, unit: float, sideways: tuple[float, float] = (0.45, 1.0)
) -> Figure:
    """An animal whose shoulder is `unit` pixels high, in a pose and coloured by chance.

    `sideways`: from least to most, how far it is turned so that its side is seen (1: in full).
    """
    limbs, head, eyes = _pose(rng, species)
    turn = rng.uniform(*sideways) * rng.choice((-1, 1))  # how far it is seen from the side, and which way it looks
    return solid(rng, limbs, turn, unit, lambda canvas: _fur(rng, species, canvas, canvas.pixels(head)), eyes)


def _pose(rng, s: Species):
    """Outlines with their light (far legs are darker), the head's line, the eye; in shoulder heights, y upwards."""
    length, depth = s.body[0] * rng.uniform(0.93, 1.07), s.body[1] * rng.uniform(0.92, 1.1)
    stride = rng.choice((0.06, 0.28, 0.5), p=(0.4, 0.45, 0.15))
    phase = rng.uniform(0, 2 * np.pi)
    grazing = rng.random() < 0.35
    front, back, top = length / 2, -length / 2, 1.0
    hip = top - depth * 0.52
    limbs = []
    for side, light in ((1, 0.66), (0, 0.95)):
        for base, lag in ((front - 0.12, 0.0), (back + 0.14, np.pi * 0.9)):
            swing = stride * np.sin(phase + lag + np.pi * side)
            lift = 0.12 * stride * max(0.0, np.cos(phase + lag + np.pi * side))
            knee = np.array([base + 0.45 * swing + (0.05 if base > 0 else -0.07), hip * 0.48 + lift])
            foot = np.array([base + swing, 0.02 + lift])
            hull = ((base, hip + 0.12), knee, foot, foot + (s.leg * 0.7, 0))
            limbs.append((limb(np.array(hull), (s.leg * 2.1, s.leg, s.leg * 0.8, s.leg * 0.7)), light))
    sag = rng.uniform(-0.03, 0.04)
    rump = rng.uniform(0.02, 0.1)
    trunk = [
        (back - 0.04, top - 0.34 * depth), (back + 0.02, top - 0.12 * depth), (back + 0.2, top - 0.01 + rump * depth),
        (0, top - 0.05 - sag), (front - 0.1, top + 0.01), (front + 0.05, top - 0.14 * depth),
        (front + 0.1, top - 0.45 * depth), (front + 0.02, top - 0.85 * depth), (front - 0.25, top - depth),
        (0, top - depth * 0.98), (back + 0.26, top - depth * 0.86), (back + 0.04, top - 0.74 * depth),
    ]  # fmt: skip
    limbs.append((curve(np.array([*trunk, trunk[0]]), 8), 1.0))
    tilt = np.radians(s.neck[1] + rng.normal(0, 8) - (rng.uniform(70, 100) if grazing else 0))
    root = np.array([front - 0.05, top - 0.18])
    poll = root + s.neck[0] * np.array([np.cos(tilt), np.sin(tilt)])
    poll[1] = max(poll[1], 0.16)
    wide = max(0.3 * depth, 0.11)
    limbs.append((limb(np.stack([root, (root + poll) / 2, poll]), (wide * 1.35, wide, wide * 0.82)), 1.0))
    nod = np.radians(rng.normal(-18, 10) - (35 if grazing else 0))
    nose = poll + s.head * np.array([np.cos(nod), np.sin(nod)])
    nose[1] = max(nose[1], 0.06)
    limbs.append((limb(np.stack([poll, (2 * poll + nose) / 3, nose]), (wide * 0.8, wide * 0.78, wide * 0.34)), 1.0))
    up = nod + np.radians(rng.uniform(85, 130))
    for spread, light in ((0.25, 0.7), (-0.05, 1.0)):
        tip = poll + s.ear * np.array([np.cos(up + spread), np.sin(up + spread)])
        limbs.append((limb(np.stack([poll, (poll + tip) / 2, tip]), (s.ear * 0.2, s.ear * 0.26, s.ear * 0.06)), light))
    if s.antlers:
        for spread in (0.2, -0.35):
            beam = np.array([(0, 0), (-0.12, 0.28), (0.02, 0.55)]) @ _turn(spread) + poll
            limbs.append((limb(beam, (0.035, 0.03, 0.02)), 0.8))
            for at in (0.35, 0.65):
                fork = np.stack([beam[0] * (1 - at) + beam[2] * at, beam[0] * (1 - at) + beam[2] * at + (0.16, 0.12)])
                limbs.append((limb(fork, (0.025, 0.015)), 0.8))
    drop = rng.uniform(-0.5, 0.15)
    start = np.array([back, top - 0.18])
    tail = np.stack(
        [start, start + s.tail[0] * np.array([-0.55, 0.5 * drop]), start + s.tail[0] * np.array([-0.85, drop])]
    )
    limbs.append((limb(tail, (s.tail[1] * 0.6, s.tail[1], s.tail[1] * 0.4)), 0.92))
    eye = poll + 0.3 * (nose - poll) + (0, 0.25 * wide)
    return limbs, np.stack([poll, nose]), eye[None]


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _fur(rng, s: Species, canvas: Canvas, head) -> np.ndarray:
    """Colours without light: back to belly, streaked along the coat, with the species' marks."""
    x, y, scale, up = canvas.x, canvas.y, canvas.scale, canvas.up
    share = np.clip((up - (1 - 0.8 * s.body[1])) / (0.6 * s.body[1]), 0, 1)[..., None]
    tone = rng.uniform(0.8, 1.2) * rng.uniform(0.95, 1.05, 3)
    back, belly = (np.array(part, np.float32) * np.float32(tone) for part in (s.back, s.belly))
    rgb = back * share + belly * (1 - share)
    legs = np.clip((1.02 - s.body[1] - up) / 0.14, 0, 1)[..., None]
    rgb = rgb * (1 - legs) + back * np.float32(0.78) * legs
    coat = noise(x * 0.35, y, max(1.5, 0.035 * scale), rng, 2) * 0.16 + noise(x, y, 0.3 * scale, rng) * 0.1
    coat = coat + np.float32(0.22) * np.clip(up - 0.62, -0.35, 0.5)  # light comes from above
    rgb = rgb * (1 + coat)[..., None]
    if s.marks == "spots":
        spots = noise(x, y, 0.11 * scale, rng) > 0.75
        rgb = np.where((spots & (up > 0.62))[..., None], (222, 206, 184), rgb)
    if s.marks == "bands":  # a badger's white face with a dark stripe
        centre, reach = head.mean(0), max(6.0, 0.3 * scale)
        face = np.hypot(x - centre[0], y - centre[1]) < reach
        stripe = np.abs(y - centre[1]) < 0.22 * reach
        rgb = np.where(face[..., None], np.where(stripe[..., None], (34, 32, 32), (214, 208, 200)), rgb)
    return np.clip(rgb, 0, 255).astype(np.float32)
