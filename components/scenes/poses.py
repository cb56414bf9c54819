"""Poses over time: each function gives joint angles (n, len(ANGLES)) for n frames of one activity."""

from __future__ import annotations

import numpy as np

from components.scenes.people import ANGLES, A

STRIDE = 1.9  # metres covered per gait cycle, per radian of hip swing


def pose(n: int, **angles) -> np.ndarray:
    """A pose held for n frames; each named angle is a number or an array (n,). Arms hang a little off the body."""
    out = np.zeros((n, len(ANGLES)))
    out[:, [A["out_l"], A["out_r"]]] = 0.09
    out[:, [A["elbow_l"], A["elbow_r"]]] = 0.15
    out[:, [A["spread_l"], A["spread_r"]]] = 0.05
    for name, value in angles.items():
        out[:, A[name]] = value
    return out


def blend(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """a where weight (n,) is 0, b where it is 1."""
    return a + (b - a) * np.asarray(weight)[:, None]


def ramp(n: int, rise: int) -> np.ndarray:
    """0 to 1 over the first `rise` frames with a soft start and end, then 1; (n,)."""
    t = np.clip((np.arange(n) + 1) / max(rise, 1), 0, 1)
    return t * t * (3 - 2 * t)


def gait(phase: np.ndarray, swing: float, run: bool = False) -> np.ndarray:
    """Walking or running at the given phase (n,) in radians; `swing` is the amplitude of the hips."""
    s, c = np.sin(phase), np.cos(phase)
    lift = 1.5 if run else 0.85
    arm, elbow = (0.9, 1.5) if run else (0.75 * swing, 0.3)
    return pose(
        len(phase),
        hip_l=swing * s + (0.15 if run else 0.03), hip_r=-swing * s + (0.15 if run else 0.03),
        knee_l=0.12 + lift * np.clip(c, 0, 1) ** 1.5, knee_r=0.12 + lift * np.clip(-c, 0, 1) ** 1.5,
        arm_l=-arm * s, arm_r=arm * s, elbow_l=elbow - 0.2 * s, elbow_r=elbow + 0.2 * s,
        lean=0.22 if run else 0.05, twist=0.12 * s, side=0.02 * c,
    )  # fmt: skip


def stand(t: np.ndarray, kind: str = "idle", shift: float = 0.0) -> np.ndarray:
    """Standing at times t (n,) in seconds: idle, phone, folded (arms), or talk (with gestures)."""
    n, w = len(t), t * 2 * np.pi + shift
    sway = {"side": 0.03 * np.sin(0.23 * w), "lean": 0.03 + 0.02 * np.sin(0.31 * w), "twist": 0.08 * np.sin(0.17 * w)}
    if kind == "phone":
        return pose(n, arm_r=0.5, elbow_r=2.3 + 0.05 * np.sin(w), nod=0.1, **sway)
    if kind == "folded":
        return pose(n, arm_l=0.35, arm_r=0.35, elbow_l=1.5, elbow_r=1.5, out_l=-0.1, out_r=-0.1, **sway)
    if kind == "talk":
        gesture = np.clip(np.sin(0.33 * w), 0, 1)
        arm, elbow = gesture * (0.7 + 0.35 * np.sin(1.4 * w)), gesture * (1.1 + 0.4 * np.sin(1.1 * w))
        return pose(n, arm_r=arm, elbow_r=0.2 + elbow, arm_l=0.1, nod=0.1 * np.sin(0.8 * w), **sway)
    return pose(n, **sway)


def browse(t: np.ndarray, shift: float = 0.0) -> np.ndarray:
    """In front of a shelf: reaches up, holds something and looks at it, in turn."""
    n, w = len(t), t * 2 * np.pi
    reach = np.clip(np.sin(0.3 * w + shift) * 2, 0, 1)
    hold = pose(n, arm_l=0.5, arm_r=0.5, elbow_l=1.3, elbow_r=1.3 + 0.1 * np.sin(w), nod=0.4, lean=0.08)
    up = pose(n, arm_r=1.7 + 0.15 * np.sin(0.9 * w), elbow_r=0.2, arm_l=0.2, lean=0.12, nod=-0.1, twist=0.25)
    return blend(hold, up, reach)


def greet(t: np.ndarray, kind: str) -> np.ndarray:
    """A handshake or a hug."""
    n, w = len(t), t * 2 * np.pi
    if kind == "hug":
        pat = 0.15 * np.sin(1.2 * w)
        return pose(n, arm_l=1.25, arm_r=1.15 + pat, elbow_l=0.35, elbow_r=0.5, out_l=-0.1, out_r=-0.15, lean=0.14)
    return pose(n, arm_r=0.75 + 0.12 * np.sin(1.6 * w), elbow_r=0.55, lean=0.1, nod=0.05)


def crouch(t: np.ndarray) -> np.ndarray:
    """On one knee with the hands at a shoe or a low shelf."""
    fiddle = 0.12 * np.sin(t * 2 * np.pi * 1.3)
    return pose(
        len(t), hip_l=1.7, knee_l=1.9, hip_r=0.35, knee_r=1.95, lean=0.75, nod=0.3,
        arm_l=0.55 + fiddle, arm_r=0.55 - fiddle, elbow_l=0.25, elbow_r=0.25,
    )  # fmt: skip


def sit(t: np.ndarray, kind: str) -> np.ndarray:
    """Sitting: on a seat 0.4 m high ("seat"), on the floor with knees drawn up ("floor") or stretched ("long")."""
    n, breath = len(t), 0.03 * np.sin(t * 2 * np.pi * 0.3)
    if kind == "seat":
        return pose(n, hip_l=1.5, hip_r=1.45, knee_l=1.5, knee_r=1.4, arm_l=0.4, arm_r=0.4, elbow_l=0.7, elbow_r=0.7,
                    lean=0.02 + breath)  # fmt: skip
    if kind == "long":
        return pose(n, hip_l=1.52, hip_r=1.6, knee_l=0.05, knee_r=0.25, arm_l=-0.3, arm_r=0.4, lean=-0.2 + breath)
    return pose(n, hip_l=2.3, hip_r=2.2, knee_l=1.5, knee_r=1.45, arm_l=0.9, arm_r=0.9, elbow_l=0.5, elbow_r=0.5,
                lean=0.12 + breath)  # fmt: skip


def bend(n: int, depth: np.ndarray) -> np.ndarray:
    """Bending down to put something on the floor or take it up; depth (n,) from 0 to 1."""
    low = pose(n, lean=1.15, hip_l=0.7, hip_r=0.5, knee_l=1.0, knee_r=0.9, arm_l=0.2, arm_r=0.15, elbow_l=0.1, nod=0.2)
    return blend(pose(n), low, depth)


def guard(n: int, shift: np.ndarray) -> np.ndarray:
    """A fighter's stance, fists up, hopping with `shift` (n,) in radians."""
    hop = 0.12 * np.sin(shift)
    return pose(
        n, lean=0.22, hip_l=0.4 + hop, hip_r=-0.25 - hop, knee_l=0.45, knee_r=0.5 - hop, arm_l=0.9, arm_r=0.7,
        elbow_l=1.7, elbow_r=1.9, out_l=0.2, out_r=0.2, twist=-0.3,
    )  # fmt: skip


def strike(n: int, kind: str) -> np.ndarray:
    """The far end of a fighter's move: punch_l, punch_r, hook, kick, shove, grapple, or the victim's recoil."""
    moves = {
        "punch_r": {"arm_r": 1.65, "elbow_r": 0.0, "twist": 0.6, "lean": 0.35, "hip_l": 0.7, "hip_r": -0.5,
                    "knee_l": 0.5, "arm_l": 0.6, "elbow_l": 1.8},
        "punch_l": {"arm_l": 1.6, "elbow_l": 0.0, "twist": -0.6, "lean": 0.35, "hip_l": 0.6, "hip_r": -0.5,
                    "knee_l": 0.4, "arm_r": 0.5, "elbow_r": 2.0},
        "hook": {"arm_r": 2.2, "elbow_r": 0.4, "out_r": 0.6, "twist": 0.8, "lean": 0.45, "side": 0.2, "hip_l": 0.5,
                 "hip_r": -0.6, "knee_l": 0.4, "arm_l": 0.7, "elbow_l": 1.4},
        "kick": {"hip_r": 1.35, "knee_r": 0.1, "lean": -0.35, "hip_l": -0.1, "knee_l": 0.2, "arm_l": 0.7,
                 "elbow_l": 1.2, "arm_r": -0.5, "out_l": 0.5, "out_r": 0.6},
        "shove": {"arm_l": 1.5, "arm_r": 1.5, "elbow_l": 0.05, "elbow_r": 0.05, "lean": 0.5, "hip_l": 0.8,
                  "knee_l": 0.6, "hip_r": -0.6},
        "grapple": {"arm_l": 1.35, "arm_r": 1.5, "elbow_l": 0.5, "elbow_r": 0.4, "lean": 0.75, "hip_l": 0.5,
                    "hip_r": -0.7, "knee_l": 0.6, "knee_r": 0.3, "side": 0.25},
        "recoil": {"lean": -0.45, "nod": -0.35, "arm_l": 0.8, "arm_r": 1.1, "out_l": 0.7, "out_r": 0.8, "elbow_l": 0.6,
                   "elbow_r": 0.5, "hip_l": 0.5, "hip_r": -0.4, "knee_l": 0.4, "knee_r": 0.5, "side": 0.2},
    }  # fmt: skip
    return pose(n, **moves[kind])


def fall(n: int, direction: str, rng: np.random.Generator) -> np.ndarray:
    """Falling over n frames, faster and faster, the arms thrown out: direction forward, back, left or right."""
    t = (np.arange(n) + 1) / n
    turn = 1.53 * t**2.2
    tilt = {"forward": ("tilt_f", 1), "back": ("tilt_f", -1), "left": ("tilt_s", 1), "right": ("tilt_s", -1)}[direction]
    buckle, arms = np.sin(np.pi * np.clip(t * 0.9, 0, 1)), rng.uniform(0.8, 1.8, 2)
    return pose(
        n, **{tilt[0]: tilt[1] * turn}, knee_l=0.9 * buckle, knee_r=1.2 * buckle, hip_l=0.5 * buckle,
        hip_r=0.6 * buckle, arm_l=arms[0] * t, arm_r=arms[1] * t, out_l=0.9 * buckle, out_r=0.8 * buckle, lean=0.1,
    )  # fmt: skip


def lie(t: np.ndarray, direction: str, rng: np.random.Generator, restless: float) -> np.ndarray:
    """Lying after a fall in that direction; `restless` (0..1) moves the limbs."""
    n, w = len(t), t * 2 * np.pi
    tilt = {"forward": ("tilt_f", 1), "back": ("tilt_f", -1), "left": ("tilt_s", 1), "right": ("tilt_s", -1)}[direction]
    curl, arms, wave = rng.uniform(0, 0.9), rng.uniform(0.1, 1.6, 2), restless * np.sin(0.5 * w + rng.uniform(0, 6))
    out = rng.uniform(0.2, 1.4, 2)
    if direction in ("forward", "back"):
        arms, curl = arms * 0.2, curl * (0.25 if direction == "forward" else 0.8)  # limbs stay on the floor
    else:
        arms, out = arms + 0.5, np.array([0.0, 0.0])
    return pose(
        n, **{tilt[0]: tilt[1] * 1.53}, knee_l=0.2 + 1.2 * curl + 0.3 * wave, knee_r=0.5 * curl,
        hip_l=curl + 0.2 * wave, hip_r=0.6 * curl, arm_l=arms[0] + 0.5 * wave, arm_r=arms[1], out_l=out[0],
        out_r=out[1], lean=0.05 + 0.1 * wave,
    )  # fmt: skip
