"""The six scenarios: who does what, when. Each function casts its actors through the Director."""

from __future__ import annotations

import numpy as np

from components.scenes import poses
from components.scenes.actions import Actor, angle_to, point_from
from components.scenes.director import NOMINAL_S, Cast, Director, stoop
from components.scenes.fighting import brawl
from components.scenes.spec import ClipSpec

FACING_CAMERA = -np.pi / 2


def play(clip: ClipSpec, place) -> Cast:
    """Plays the clip's scenario in `place` and returns the cast over the clip's frames; draws nothing."""
    fps = float(clip.fps)
    total = max(clip.frames, round(NOMINAL_S * fps))
    director = Director(place, fps, total, clip.rng(1))
    _PLAYS[clip.scenario](director, clip.variant)
    start = round(0.45 * (total - clip.frames))
    return director.cast(slice(start, start + clip.frames))


def _walk(d: Director, variant: str) -> None:
    for _ in range(int(d.rng.integers(1, 4))):
        d.passer_by(bag=d.chance(0.3))
    if variant == "hurry":
        d.passer_by(run=True)
    elif variant == "tie":
        actor = d.arriving(d.spot(), d.at(0.15, 0.35))
        stoop(actor, d.frames(1.8, 3.5))
        d.leaving(actor)
    else:
        first = d.passer_by()
        _companion(d, first)
    d.bystanders(1, 3)


def _companion(d: Director, other: Actor) -> None:
    """Someone who walks beside an actor all the time."""
    path, heading = other.path()
    aside = point_from((0, 0), angle_to(path[0], path[-1]) + d.pick(-1, 1) * np.pi / 2, 0.6)
    d.actor(path[0] + aside, heading[0]).along(path + aside, heading)


def _browse(d: Director, variant: str) -> None:
    spot, wall = d.at_wall()
    actor = d.arriving(spot, d.at(0.05, 0.3), carries=variant == "bag")
    if variant == "bag":
        d.own_bag(actor)
        _put_down(d, actor)
    until = d.at(0.65, 0.85)
    while actor.n < until:
        n = min(d.frames(1.2, 2.5), until - actor.n)
        if variant == "low" and d.chance(0.5):
            actor.add(poses.crouch(actor.times(n)), "crouching", heading=wall)
        else:
            shift = d.rng.uniform(0, 6)
            actor.add(poses.browse(actor.times(n), shift), "browsing", heading=wall)
        if variant != "bag" and d.chance(0.6):
            actor.go_to(actor.xy + np.array([d.rng.uniform(-1.2, 1.2), 0]), 0.8)
    if variant == "bag":
        _take_up(d, actor)
    d.leaving(actor)
    if d.chance(0.5):
        spot, wall = d.at_wall()
        other = d.actor(spot, wall)
        other.add(poses.browse(other.times(d.at(0.4, 1.0)), d.rng.uniform(0, 6)), "browsing")
        d.leaving(other)
    d.bystanders(1, 3)


def _rest(d: Director, variant: str) -> None:
    side = d.pick("forward", "back", "left", "right")
    if variant == "fall":
        frame = d.at(0.22, 0.42)
        actor = d.arriving(d.spot((0.25, 0.75), 0.45), frame, speed=d.rng.uniform(0.8, 1.4))
        if d.chance(0.5):
            actor.stand(d.frames(0.3, 1.0))
        rises = d.chance(0.3)
        actor.fall_down(d.at(0.72, 0.85) if rises else d.total, side, d.rng.uniform(0.6, 1.0), d.rng.uniform(0, 0.6))
        if rises:
            _rise(d, actor)
        elif d.chance(0.4):
            _help(d, actor)
    elif variant == "slump":
        actor, kind = _sit_down(d, d.at(0.0, 0.12), on_floor=True)
        until = d.at(0.22, 0.38)
        actor.add(poses.sit(actor.times(max(1, until - actor.n)), kind), "sitting")
        _slump(d, actor, kind)
    else:
        actor, kind = _sit_down(d, d.at(0.05, 0.3), on_floor=d.chance(0.4))
        until = d.total if d.chance(0.6) else d.at(0.7, 0.85)
        actor.add(poses.sit(actor.times(max(1, until - actor.n)), kind), "sitting")
        d.leaving(actor)
    d.bystanders(1, 4)


def _sit_down(d: Director, frame: int, on_floor: bool) -> tuple[Actor, str]:
    """An actor who sits from about `frame` on: on a bench, if there is one and it is wanted, else on the floor."""
    if d.place.seats and not on_floor:
        spot, heading = d.place.seats[int(d.rng.integers(len(d.place.seats)))]
        kind = "seat"
    else:
        spot, kind = d.spot((0.2, 0.75), 0.6), d.pick("floor", "long")
        heading = FACING_CAMERA + d.rng.uniform(-1.4, 1.4)
    actor = d.arriving(spot, max(1, frame))
    sitting = poses.sit(actor.times(d.frames(0.6, 0.9)), kind)
    weight = poses.ramp(len(sitting), len(sitting))
    actor.add(poses.blend(poses.pose(len(sitting)), sitting, weight), "sitting", heading=heading)
    return actor, kind


def _slump(d: Director, actor: Actor, kind: str) -> None:
    n, side = d.frames(0.9, 1.6), d.pick("left", "right")
    lying = poses.lie(actor.times(max(n, d.total - actor.n)), side, d.rng, d.rng.uniform(0, 0.4))
    weight = poses.ramp(n, n) ** 1.6
    actor.add(poses.blend(poses.sit(actor.times(n), kind), lying[:n], weight), "falling")
    actor.add(lying[n:], "lying")


def _rise(d: Director, actor: Actor) -> None:
    n = d.frames(0.8, 1.2)
    actor.add(poses.crouch(actor.times(n)), "rising")
    d.leaving(actor)


def _help(d: Director, fallen: Actor) -> None:
    """Someone comes and kneels beside the fallen one."""
    spot = point_from(fallen.xy, d.rng.uniform(2.6, 3.7), 0.9)
    helper = d.arriving(d.clamped(spot), d.at(0.6, 0.75), speed=1.8)
    n = max(1, d.total - helper.n)
    helper.add(poses.crouch(helper.times(n)), "crouching", heading=angle_to(helper.xy, fallen.xy))


def _put_down(d: Director, actor: Actor) -> None:
    n = d.frames(0.45, 0.7)
    actor.add(poses.bend(n, poses.ramp(n, n)), "bending")
    actor.carries = False
    actor.add(poses.bend(n, 1 - poses.ramp(n, n)), "bending")


def _take_up(d: Director, actor: Actor) -> None:
    n = d.frames(0.45, 0.7)
    actor.add(poses.bend(n, poses.ramp(n, n)), "bending")
    actor.carries = True
    actor.add(poses.bend(n, 1 - poses.ramp(n, n)), "bending")


def _bag(d: Director, variant: str) -> None:
    spot = d.spot((0.08, 0.55), 0.5)
    owner = d.own_bag(d.arriving(spot, d.at(0.04, 0.14), carries=True))
    owner.stand(d.frames(0.1, 0.3))
    _put_down(d, owner)
    owner.stand(d.frames(0.1, 0.4), d.pick("idle", "phone"))
    if variant == "left":
        d.leaving(owner, d.rng.uniform(1.5, 2.0), run=False)
    elif variant == "returned":
        out = point_from(spot, d.pick(0.0, np.pi) + d.rng.uniform(-0.4, 0.4), d.rng.uniform(3.2, 3.8))
        owner.go_to(d.clamped(out), 1.9).stand(d.frames(0.1, 0.3)).go_to(spot, 2.0)
        _take_up(d, owner)
        d.leaving(owner)
    else:
        if d.chance(0.5):
            friend = d.arriving(point_from(spot, d.pick(0.3, 2.8), 0.9), max(owner.n, d.at(0.3, 0.4)))
            friend.stand(d.at(0.3, 0.5), "talk", angle_to(friend.xy, spot), "talking")
            d.leaving(friend)
        else:
            owner.go_to(point_from(spot, d.pick(0.0, np.pi), d.rng.uniform(0.5, 1.5)), 1.0)
        owner.stand(max(1, d.at(0.6, 1.0) - owner.n), d.pick("idle", "phone", "folded", "talk"))
        if owner.n < 0.85 * d.total:
            owner.go_to(spot, 1.0)
            _take_up(d, owner)
            d.leaving(owner)
    d.bystanders(1, 3)


def _meet(d: Director, variant: str) -> None:
    spot, frame = d.spot((0.1, 0.7), 0.5), d.at(0.12, 0.35)
    kind = d.pick("hug", "hug", "shake")
    axis, gap = d.rng.uniform(-0.7, 0.7), 0.2 if kind == "hug" else 0.42
    left = d.arriving(point_from(spot, axis + np.pi, gap), frame, side=-1, carries=d.chance(0.2))
    right = d.arriving(point_from(spot, axis, gap), frame, side=1)
    if left.carries:
        d.own_bag(left)
    for actor, heading in ((left, axis), (right, axis + np.pi)):
        n = d.frames(1.0, 1.0) if kind == "shake" else d.frames(1.8, 1.8)
        actor.add(poses.greet(actor.times(n), kind), "greeting", heading=heading)
    if kind == "hug":
        left.go_to(point_from(spot, axis + np.pi, 0.45), 0.8)
        right.go_to(point_from(spot, axis, 0.45), 0.8)
    until = d.at(0.95, 1.0) if variant == "meet" else d.at(0.5, 0.65)
    for actor, heading in ((left, axis), (right, axis + np.pi)):
        actor.stand(max(1, until - actor.n), "talk", heading, "talking")
    if variant == "together":
        side = d.pick(0.0, np.pi) + d.rng.uniform(-0.3, 0.3)
        speed = d.rng.uniform(1.0, 1.4)
        for actor in (left, right):
            actor.go(max(0, d.total - actor.n), side, speed)
    else:
        d.leaving(left, avoid=spot)
        d.leaving(right, avoid=spot)
    d.bystanders(1, 3)


def _fight(d: Director, variant: str) -> None:
    brawl(d, variant)
    d.bystanders(0, 3)


_PLAYS = {"walk": _walk, "browse": _browse, "rest": _rest, "bag": _bag, "meet": _meet, "fight": _fight}
