"""The stage of a clip: where things may happen, who passes by, and how people come and go."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from components.scenes import poses
from components.scenes.actions import Actor, Track, angle_to, point_from
from components.scenes.backgrounds import Place
from components.scenes.bags import BagTrack, follow

NOMINAL_S = 8.0  # a scenario is played over at least this long; a shorter clip is its middle


@dataclass
class Cast:
    """Everybody and everything that moves in a clip."""

    people: list[Track] = field(default_factory=list)
    bags: list[BagTrack] = field(default_factory=list)


class Director:
    """Casts actors for one clip. `total` is the number of frames played, `at(f)` the frame at fraction f of it."""

    def __init__(self, place: Place, fps: float, total: int, rng: np.random.Generator):
        self.place, self.view, self.fps, self.total, self.rng = place, place.view, fps, total, rng
        self.actors: list[Actor] = []
        self._owners: list[int] = []
        self.events: list[np.ndarray] = []

    def _room(self, point: np.ndarray) -> float:
        """Metres to the nearest furniture or event."""
        taken = [solid.xy for solid in self.place.solids] + self.events
        return min((float(np.hypot(*(point - other))) for other in taken), default=9.0)

    def at(self, low: float, high: float) -> int:
        """A random frame between two fractions of the clip."""
        return round(self.total * self.rng.uniform(low, high))

    def frames(self, low: float, high: float) -> int:
        """A random length between two durations in seconds, in frames."""
        return max(1, round(self.fps * self.rng.uniform(low, high)))

    def chance(self, probability: float) -> bool:
        """True with that probability."""
        return bool(self.rng.random() < probability)

    def pick(self, *options):
        """One of the options."""
        return options[int(self.rng.integers(len(options)))]

    def spot(self, away=(0.08, 0.6), across: float = 0.5, room: float = 1.2) -> np.ndarray:
        """A floor point for an event, at least `room` metres from furniture and other events where that can be had."""
        best, most = None, -1.0
        for _ in range(12):
            point = self.view.floor(self.rng.uniform(-across, across), self.rng.uniform(*away))
            free = self._room(point)
            if free > most:
                best, most = point, free
            if free > room:
                break
        self.events.append(best)
        return best

    def at_wall(self, off: float = 0.75) -> tuple[np.ndarray, float]:
        """A floor point in front of the wall, and the heading towards the wall."""
        best, most = None, -1.0
        for _ in range(8):
            x = self.rng.uniform(-0.7, 0.7) * self.view.half_width(self.view.wall - 1)
            point = np.array([x, self.view.wall_y(x) - off])
            free = self._room(point)
            if free > most:
                best, most = point, free
        self.events.append(best)
        return best, float(np.arctan2(*self.view.normal[::-1]))

    def actor(self, xy, heading: float, carries: bool = False) -> Actor:
        """A new actor on the floor at xy."""
        actor = Actor(self.rng, self.fps, xy, heading, carries)
        self.actors.append(actor)
        return actor

    def own_bag(self, actor: Actor) -> Actor:
        """Gives the actor a bag of their own (in the hand while `carries` is set)."""
        self._owners.append(self.actors.index(actor))
        return actor

    def arriving(self, spot, frame: int, carries: bool = False, speed: float | None = None, side: int = 0) -> Actor:
        """An actor who walks up to `spot` and is there at `frame`, from the side -1 (left) or 1 (right) or any (0)."""
        speed = speed or self.rng.uniform(1.0, 1.6)
        side = side or self.pick(-1, 1)
        distance = speed * frame / self.fps
        for _ in range(10):
            start = point_from(spot, self.rng.uniform(-0.5, 0.5) + (np.pi if side < 0 else 0.0), distance)
            if self.walkable(start):
                break
        else:
            start = self.clamped(start)
        actor = self.actor(start, angle_to(start, spot), carries)
        return actor.go_to(spot, speed, until=frame)

    def leaving(self, actor: Actor, speed: float | None = None, run: bool = False, avoid=None) -> Actor:
        """Lets an actor walk off until the end of the clip; with `avoid`, away from that floor point."""
        left = max(0, self.total - actor.n)
        speed = speed or (self.rng.uniform(2.6, 3.6) if run else self.rng.uniform(1.0, 1.6))
        base = (0.0 if actor.xy[0] > avoid[0] else np.pi) if avoid is not None else self.pick(0.0, np.pi)
        for _ in range(10):
            heading = base + self.rng.uniform(-0.5, 0.5)
            if self.walkable(point_from(actor.xy, heading, speed * left / self.fps)):
                break
        else:
            heading = base
        return actor.go(left, heading, speed, run)

    def walkable(self, point) -> bool:
        """Whether a floor point lies before the wall and not under the camera (beside the picture counts as floor)."""
        edge = self.view.half_width(max(point[1], 1.0)) + 1
        x = float(np.clip(point[0], -edge, edge))
        return self.view.near * 0.8 < point[1] < self.view.wall_y(x) - 0.5

    def clamped(self, point) -> np.ndarray:
        """The point moved along y to where one can walk."""
        edge = self.view.half_width(max(point[1], 1.0)) + 1
        x = float(np.clip(point[0], -edge, edge))
        return np.array([point[0], np.clip(point[1], self.view.near * 0.85, self.view.wall_y(x) - 0.6)])

    def bystanders(self, low: int, high: int) -> None:
        """Adds people who have nothing to do with the scenario: they pass, stand about, or stoop to a shoe."""
        for _ in range(int(self.rng.integers(low, high + 1))):
            kind = self.rng.random()
            if kind < 0.6:
                self.passer_by(bag=self.chance(0.25), run=self.chance(0.08))
            elif kind < 0.85:
                spot = self.spot((0.3, 0.97), 0.95)
                actor = self.actor(spot, self.rng.uniform(0, 6.28))
                actor.stand(self.at(0.3, 1.0), self.pick("idle", "phone", "folded"))
                self.leaving(actor)
            else:
                frame = self.at(0.1, 0.5)
                actor = self.arriving(self.spot((0.3, 0.95), 0.8), frame)
                stoop(actor, self.frames(1.5, 3.5))
                self.leaving(actor)

    def passer_by(self, bag: bool = False, run: bool = False) -> Actor:
        """Someone who crosses the picture, mostly from side to side."""
        for _ in range(6):
            spot = self.view.floor(self.rng.uniform(-0.8, 0.8), self.rng.uniform(0.1, 0.97))
            if all(abs(spot[1] - event[1]) > 0.9 for event in self.events):
                break  # passes before or behind what happens, not through it
        actor = self.arriving(spot, self.at(0.1, 0.9), bag, self.rng.uniform(2.4, 3.2) if run else None)
        walked = float(np.hypot(*(actor.xy - actor.path()[0][0])))
        speed = float(np.clip(walked / max((actor.n - 1) / self.fps, 0.1), 0.7, 3.2))
        if bag:
            self.own_bag(actor)
        return actor.go(max(0, self.total - actor.n), self._onward(actor, speed), speed, run)

    def _onward(self, actor: Actor, speed: float) -> float:
        left = (self.total - actor.n) / self.fps
        for turn in (0.0, 0.2, -0.2, 0.45, -0.45, 0.8, -0.8):
            if self.walkable(point_from(actor.xy, actor.heading + turn, speed * left)):
                return actor.heading + turn
        return 0.0 if np.cos(actor.heading) > 0 else np.pi

    def cast(self, window: slice) -> Cast:
        """Everybody's track, and their bags', cut to the frames of the clip."""
        tracks = [actor.track(self.total) for actor in self.actors]
        bags = [follow(tracks[owner], self.rng) for owner in self._owners]
        cut = [
            Track(t.body, t.xy[window], t.heading[window], t.joints[window], t.activity[window], t.carrying[window])
            for t in tracks
        ]
        return Cast(cut, [BagTrack(b.size, b.tone, b.base[window], b.heading[window], b.state[window]) for b in bags])


def stoop(actor: Actor, n: int) -> Actor:
    """The actor goes down on one knee (a shoe, a low shelf) for n frames."""
    return actor.add(poses.crouch(actor.times(n)), "crouching")
