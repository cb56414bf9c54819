"""A fight: two or three people who strike, shove, grapple and recoil, in beats of about half a second."""

from __future__ import annotations

import numpy as np

from components.scenes import poses
from components.scenes.actions import Actor, angle_to, point_from
from components.scenes.director import Director

_REACH = 1.0  # metres between two fighters on guard
_MOVES = ("punch_r", "punch_l", "hook", "kick", "shove", "grapple", "punch_r", "hook")


def brawl(d: Director, variant: str) -> None:
    """Two people meet, may argue, fight and part; in "knockdown" one stays down, in "group" a third joins."""
    spot, start = d.spot((0.15, 0.6), 0.4, 1.6), d.at(0.1, 0.32)
    axis = d.rng.uniform(-0.6, 0.6)
    pair = [
        d.arriving(point_from(spot, axis + np.pi, 0.5), start, side=-1),
        d.arriving(point_from(spot, axis, 0.5), start, side=1),
    ]
    if d.chance(0.5):
        for actor, heading in zip(pair, (axis, axis + np.pi), strict=True):
            actor.stand(round(d.fps * 0.6), "talk", heading, "talking")
    until = d.at(0.6, 0.75) if variant == "knockdown" else d.at(0.78, 1.0)
    beats = _beats(d, pair[0].n, until)
    exchange(d, pair, spot, axis, beats)
    if variant == "group":
        _third(d, spot, axis, beats)
    if variant == "knockdown":
        pair[1].fall_down(d.total, "back", d.rng.uniform(0.55, 0.8), d.rng.uniform(0, 0.5))
        pair[0].stand(d.frames(0.3, 1.0))
        d.leaving(pair[0], run=d.chance(0.7), avoid=pair[1].xy)
        return
    for actor in pair:
        d.leaving(actor, run=d.chance(0.4), avoid=spot)


def _beats(d: Director, start: int, until: int) -> list[int]:
    """Lengths in frames that fill start..until."""
    beats = []
    while start < until:
        n, left = d.frames(0.34, 0.62), until - start
        beats.append(n if left - n > 0.3 * d.fps else left)  # no move is squeezed into a frame or two
        start += beats[-1]
    return beats


def exchange(d: Director, pair: list[Actor], spot: np.ndarray, axis: float, beats: list[int]) -> None:
    """Appends the beats of a fight to both actors, who circle around `spot`."""
    centre, gap = np.asarray(spot, float), 1.0
    for n in beats:
        attacker, move = int(d.rng.integers(2)), d.pick(*_MOVES)
        t = (np.arange(n) + 1) / n
        effort = np.sin(np.pi * t) ** 0.7
        next_axis = axis + d.rng.normal(0, 0.25)
        next_axis = float(np.clip(next_axis, -0.9, 0.9))  # mostly side on, so that the blows can be seen
        next_centre = spot + np.clip(centre - spot + d.rng.normal(0, 0.16, 2), -0.8, 0.8)
        next_gap = {"grapple": 0.66, "shove": 1.25}.get(move, _REACH) * d.rng.uniform(0.9, 1.1)
        reach = 0.22 if move in ("punch_r", "punch_l", "hook", "kick") else 0.1
        gaps = gap + (next_gap - gap) * t - reach * effort
        axes = axis + (next_axis - axis) * t
        centres = centre + (next_centre - centre) * t[:, None]
        for i, actor in enumerate(pair):
            heading = axes if i == 0 else axes + np.pi
            path = centres - 0.5 * gaps[:, None] * np.stack([np.cos(heading), np.sin(heading)], axis=1)
            guard = poses.guard(n, actor.times(n) * 2 * np.pi * 1.7)
            act = move if i == attacker or move == "grapple" else "recoil"
            if act == "recoil" and d.chance(0.25):
                act = d.pick("punch_l", "punch_r", "shove")  # strikes back at the same time
            late = effort if i == attacker else np.sin(np.pi * t**1.5) ** 0.8
            actor.add(poses.blend(guard, poses.strike(n, act), late), "fighting", path, heading)
        centre, axis, gap = next_centre, next_axis, next_gap


def _third(d: Director, spot: np.ndarray, axis: float, beats: list[int]) -> None:
    """A third fighter, who joins after a few beats from behind and strikes at both."""
    joins = min(len(beats) - 1, int(d.rng.integers(1, 4)))
    start = d.actors[0].n - sum(beats[joins:])
    third = d.arriving(d.clamped(point_from(spot, axis + np.pi / 2, 0.95)), max(1, start), speed=1.8)
    for n in beats[joins:]:
        t = (np.arange(n) + 1) / n
        guard = poses.guard(n, third.times(n) * 2 * np.pi * 1.7)
        move = poses.strike(n, d.pick("punch_r", "punch_l", "kick", "shove", "recoil"))
        heading = angle_to(third.xy, spot) + d.rng.normal(0, 0.25)
        third.add(poses.blend(guard, move, np.sin(np.pi * t) ** 0.7), "fighting", None, heading)
    d.leaving(third, run=d.chance(0.5), avoid=spot)
