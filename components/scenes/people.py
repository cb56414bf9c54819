"""Articulated people: measures and clothes, joint angles -> joints in metres, circles -> outlines of limbs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Joint angles in radians. Limb angles are measured from straight down, forward positive, in the body's own frame;
# `tilt_*` then turns the whole body about the pelvis (a fall). L/R pairs stand next to each other.
ANGLES = (
    "lean", "side", "twist", "nod", "tilt_f", "tilt_s", "hip_l", "hip_r", "knee_l", "knee_r", "spread_l", "spread_r",
    "arm_l", "arm_r", "out_l", "out_r", "elbow_l", "elbow_r",
)  # fmt: skip
A = {name: i for i, name in enumerate(ANGLES)}
JOINTS = (
    "pelvis", "chest", "neck", "head", "hair", "shoulder_l", "shoulder_r", "elbow_l", "elbow_r", "hand_l", "hand_r",
    "hip_l", "hip_r", "knee_l", "knee_r", "ankle_l", "ankle_r", "toe_l", "toe_r", "pack", "hem",
)  # fmt: skip
J = {name: i for i, name in enumerate(JOINTS)}
_BEARING = [i for name, i in J.items() if not name.startswith(("elbow", "hand", "pack", "hem"))]
_SKINS = np.array([[236, 200, 172], [224, 178, 146], [198, 150, 116], [160, 112, 82], [112, 76, 56]], float)
_HAIRS = np.array([[30, 24, 22], [62, 44, 32], [112, 82, 52], [150, 146, 140], [176, 142, 88]], float)
_CLOTHES = np.array(
    [[34, 36, 44], [58, 64, 80], [40, 56, 104], [120, 122, 126], [178, 176, 168], [214, 210, 202], [136, 38, 42],
     [44, 92, 66], [168, 128, 62], [96, 70, 54], [150, 90, 120], [72, 128, 158], [206, 120, 52]], float,
)  # fmt: skip


@dataclass(frozen=True)
class Body:
    """One person's measures (stature in metres, girth as a factor) and colours (parts -> RGB 0..255)."""

    stature: float
    girth: float
    colours: dict
    long_coat: bool
    backpack: bool

    @staticmethod
    def draw(rng: np.random.Generator) -> Body:
        """A person with random measures and clothes."""
        shirt, trousers = _CLOTHES[rng.integers(len(_CLOTHES))], _CLOTHES[rng.integers(9)]
        skin, hair = _SKINS[rng.integers(len(_SKINS))], _HAIRS[rng.integers(len(_HAIRS))]
        sleeve = shirt if rng.random() < 0.75 else skin
        jitter = rng.uniform(0.85, 1.12)
        colours = {
            "shirt": shirt * jitter, "trousers": trousers * rng.uniform(0.7, 1.0), "skin": skin, "hair": hair,
            "sleeve": sleeve * (jitter if sleeve is shirt else 1.0), "shoe": _CLOTHES[rng.integers(3)] * 0.7,
            "pack": _CLOTHES[rng.integers(len(_CLOTHES))] * 0.8,
        }  # fmt: skip
        return Body(
            stature=float(rng.uniform(1.6, 1.92)),
            girth=float(rng.uniform(0.95, 1.3)),
            colours=colours,
            long_coat=bool(rng.random() < 0.25),
            backpack=bool(rng.random() < 0.2),
        )


# (from joint, to joint, radius at each in statures, colour, shade, depth bias in metres: larger is drawn earlier)
_PARTS = (
    ("shoulder_l", "hip_l", 0.050, 0.052, "shirt", 0.94, 0.04),
    ("shoulder_r", "hip_r", 0.050, 0.052, "shirt", 0.94, 0.04),
    ("chest", "pelvis", 0.074, 0.068, "shirt", 1.0, 0.0),
    ("hip_l", "knee_l", 0.052, 0.036, "trousers", 1.0, 0.02),
    ("hip_r", "knee_r", 0.052, 0.036, "trousers", 0.9, 0.02),
    ("knee_l", "ankle_l", 0.036, 0.024, "trousers", 1.0, 0.02),
    ("knee_r", "ankle_r", 0.036, 0.024, "trousers", 0.9, 0.02),
    ("ankle_l", "toe_l", 0.024, 0.018, "shoe", 1.0, 0.0),
    ("ankle_r", "toe_r", 0.024, 0.018, "shoe", 1.0, 0.0),
    ("shoulder_l", "elbow_l", 0.034, 0.027, "shirt", 0.86, 0.0),
    ("shoulder_r", "elbow_r", 0.034, 0.027, "shirt", 0.8, 0.0),
    ("elbow_l", "hand_l", 0.026, 0.021, "sleeve", 0.88, 0.0),
    ("elbow_r", "hand_r", 0.026, 0.021, "sleeve", 0.82, 0.0),
    ("hand_l", "hand_l", 0.027, 0.027, "skin", 1.0, -0.02),
    ("hand_r", "hand_r", 0.027, 0.027, "skin", 1.0, -0.02),
    ("neck", "head", 0.034, 0.034, "skin", 0.85, 0.02),
    ("head", "head", 0.066, 0.066, "skin", 1.0, 0.0),
    ("hair", "hair", 0.069, 0.069, "hair", 1.0, 0.0),
)
_COAT = (("pelvis", "hem", 0.082, 0.094, "shirt", 0.93, -0.12),)
_PACK = (("pack", "pack", 0.095, 0.095, "pack", 1.0, 0.0),)


def parts(body: Body) -> tuple:
    """The capsules that make up this body, in the form of _PARTS."""
    return _PARTS + (_COAT if body.long_coat else ()) + (_PACK if body.backpack else ())


def joints(body: Body, xy: np.ndarray, heading: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """Forward kinematics: floor points (T, 2), headings (T,), angles (T, len(ANGLES)) -> joints (T, J, 3) in metres.

    The body rests on whatever part of it, arms aside, is lowest, so that walking, sitting and lying all meet the floor.
    """
    a = {name: pose[:, i] for name, i in A.items()}
    n, out = len(pose), np.zeros((len(pose), len(JOINTS), 3))  # forward, left, up; in statures, about the pelvis
    spine = np.stack([np.sin(a["lean"]) * np.cos(a["side"]), np.sin(a["side"]), np.cos(a["lean"])], axis=1)
    out[:, J["chest"]], out[:, J["neck"]] = spine * 0.2, spine * 0.3
    bend = a["lean"] + a["nod"]
    up = np.stack([np.sin(bend), np.sin(a["side"]), np.cos(bend)], axis=1)
    back = np.stack([-np.cos(bend), np.zeros(n), np.sin(bend)], axis=1)
    out[:, J["head"]] = out[:, J["neck"]] + up * 0.1
    out[:, J["hair"]] = out[:, J["head"]] + up * 0.022 + back * 0.022
    out[:, J["pack"]] = spine * 0.17 + np.stack([-np.cos(a["lean"]), np.zeros(n), np.sin(a["lean"])], axis=1) * 0.1
    for sign, s in ((1, "_l"), (-1, "_r")):
        turn = np.stack([-sign * np.sin(a["twist"]), sign * np.cos(a["twist"]), np.zeros(n)], axis=1)
        out[:, J["shoulder" + s]] = spine * 0.275 + turn * 0.1 * body.girth**0.5
        out[:, J["elbow" + s]] = out[:, J["shoulder" + s]] + 0.17 * _limb(a["arm" + s], a["out" + s], sign)
        fore = _limb(a["arm" + s] + a["elbow" + s], 0.4 * a["out" + s], sign)
        out[:, J["hand" + s]] = out[:, J["elbow" + s]] + 0.16 * fore
        out[:, J["hip" + s]] = np.array([0, sign * 0.052, 0])
        out[:, J["knee" + s]] = out[:, J["hip" + s]] + 0.25 * _limb(a["hip" + s], a["spread" + s], sign)
        shank = a["hip" + s] - a["knee" + s]
        out[:, J["ankle" + s]] = out[:, J["knee" + s]] + 0.235 * _limb(shank, a["spread" + s] * 0.5, sign)
        out[:, J["toe" + s]] = out[:, J["ankle" + s]] + 0.1 * _limb(shank + np.pi / 2, 0.15, sign)
    out[:, J["hem"]] = 0.42 * (out[:, J["knee_l"]] + out[:, J["knee_r"]])
    out = _tilt(out, a["tilt_f"], a["tilt_s"]) * body.stature
    trunk = out[:, _BEARING, 2].min(axis=1, keepdims=True) - 0.03 * body.stature
    out[:, :, 2] = np.maximum(out[:, :, 2] - trunk, 0.02)  # an arm under the body gives way
    cos, sin = np.cos(heading)[:, None], np.sin(heading)[:, None]
    x = xy[:, :1] + out[:, :, 0] * cos - out[:, :, 1] * sin
    y = xy[:, 1:] + out[:, :, 0] * sin + out[:, :, 1] * cos
    return np.stack([x, y, out[:, :, 2]], axis=2)


def _limb(angle: np.ndarray, outward, sign: int) -> np.ndarray:
    outward = np.broadcast_to(outward, angle.shape)
    return np.stack([np.sin(angle) * np.cos(outward), sign * np.sin(outward), -np.cos(angle) * np.cos(outward)], axis=1)


def _tilt(points: np.ndarray, forward: np.ndarray, sideways: np.ndarray) -> np.ndarray:
    cf, sf, cs, ss = (f(t)[:, None] for t in (forward, sideways) for f in (np.cos, np.sin))
    f, s, u = points[..., 0], points[..., 1], points[..., 2]
    f, u = f * cf + u * sf, u * cf - f * sf
    s, u = s * cs + u * ss, u * cs - s * ss
    return np.stack([f, s, u], axis=2)


_ARC = np.linspace(-1.0, 1.0, 6)


def capsules(a: np.ndarray, b: np.ndarray, ra: np.ndarray, rb: np.ndarray) -> np.ndarray:
    """Convex outlines (..., 12, 2) of the hulls of circles of radius ra about a and rb about b; a, b: (..., 2)."""
    along = b - a
    length = np.maximum(np.hypot(along[..., 0], along[..., 1]), 1e-6)
    theta = np.arctan2(along[..., 1], along[..., 0])[..., None]
    beta = np.arcsin(np.clip((ra - rb) / length, -1, 1))[..., None]
    ends = []
    for centre, radius, middle, half in ((b, rb, theta, np.pi / 2 - beta), (a, ra, theta + np.pi, np.pi / 2 + beta)):
        angle = middle + half * _ARC
        circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        ends.append(centre[..., None, :] + circle * np.asarray(radius)[..., None, None])
    return np.concatenate(ends, axis=-2)
