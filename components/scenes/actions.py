"""An actor's timeline: where a person is, which way they face, their pose and what they do, frame by frame."""

from __future__ import annotations

import numpy as np

from components.scenes import poses
from components.scenes.people import A, Body, joints


def angle_to(a, b) -> float:
    """The heading from floor point a to floor point b, in radians."""
    return float(np.arctan2(b[1] - a[1], b[0] - a[0]))


def point_from(a, heading: float, distance: float) -> np.ndarray:
    """The floor point `distance` metres from a in direction `heading`."""
    return np.asarray(a) + distance * np.array([np.cos(heading), np.sin(heading)])


class Actor:
    """One person. Every method appends frames; nothing ever changes those already there."""

    def __init__(self, rng: np.random.Generator, fps: float, xy, heading: float, carries: bool = False):
        self.rng, self.fps, self.body = rng, fps, Body.draw(rng)
        self.xy, self.heading = np.asarray(xy, float), float(heading)
        self.carries = carries  # a bag hangs from the left hand
        self._phase, self._clock, self._manner = rng.uniform(0, 6.28), rng.uniform(0, 20), rng.uniform(0, 6.28)
        self._rows: list[tuple] = []
        self.n = 0

    def times(self, n: int) -> np.ndarray:
        """The next n frames' times in seconds on this actor's own clock, so that two actors never move in step."""
        return self._clock + (self.n + np.arange(n)) / self.fps

    def add(self, pose: np.ndarray, activity: str, path=None, heading=None) -> Actor:
        """Appends pose (n, K); path (n, 2) and heading (n,) or number default to staying put."""
        n = len(pose)
        if n == 0:
            return self
        path = np.broadcast_to(self.xy if path is None else path, (n, 2))
        heading = np.broadcast_to(self.heading if heading is None else heading, (n,))
        if self.carries:
            pose = pose.copy()
            pose[:, A["arm_l"]], pose[:, A["elbow_l"]], pose[:, A["out_l"]] = pose[:, A["arm_l"]] * 0.15, 0.05, 0.14
        self._rows.append((path, heading, pose, activity, self.carries))
        self.xy, self.heading, self.n = np.array(path[-1]), float(heading[-1]), self.n + n
        return self

    def go(self, n: int, heading: float, speed: float, run: bool = False) -> Actor:
        """Walks (or runs) straight on for n frames at `speed` metres per second."""
        steps = np.arange(1, n + 1) * (speed / self.fps)
        return self.along(self.xy + steps[:, None] * np.array([np.cos(heading), np.sin(heading)]), heading, run)

    def along(self, path: np.ndarray, heading, run: bool = False) -> Actor:
        """Walks (or runs) through the floor points path (n, 2), one per frame; the legs keep pace with the ground."""
        if len(path) == 0:
            return self
        steps = np.cumsum(np.hypot(*np.diff(path, axis=0, prepend=self.xy[None]).T))
        swing = 0.75 if run else np.clip(0.29 + 0.11 * steps[-1] / len(path) * self.fps, 0.3, 0.5)
        phase = self._phase + steps * (2 * np.pi / (poses.STRIDE * self.body.stature * swing))
        self._phase = float(phase[-1])
        return self.add(poses.gait(phase, swing, run), "running" if run else "walking", path, heading)

    def path(self) -> tuple[np.ndarray, np.ndarray]:
        """The floor points (n, 2) and headings (n,) so far."""
        return np.concatenate([row[0] for row in self._rows]), np.concatenate([row[1] for row in self._rows])

    def go_to(self, target, speed: float, run: bool = False, until: int | None = None) -> Actor:
        """Walks to a floor point; with `until`, arrives at that frame number (the speed follows from it)."""
        distance = float(np.hypot(*(np.asarray(target) - self.xy)))
        n = max(1, round(distance / speed * self.fps)) if until is None else max(0, until - self.n)
        return self.go(n, angle_to(self.xy, target), distance / max(n, 1) * self.fps, run) if distance > 0.02 else self

    def stand(self, n: int, kind: str = "idle", heading: float | None = None, activity: str = "standing") -> Actor:
        """Stands for n frames (idle, phone, folded or talk)."""
        return self.add(poses.stand(self.times(n), kind, self._manner), activity, None, heading)

    def fall_down(self, total: int, direction: str, seconds: float, restless: float) -> Actor:
        """Falls for `seconds`, then lies until frame `total`."""
        n = min(max(3, round(seconds * self.fps)), max(0, total - self.n))
        ahead = {"forward": 0.0, "back": np.pi, "left": np.pi / 2, "right": -np.pi / 2}[direction] + self.heading
        shift = 0.5 * self.body.stature * ((np.arange(n) + 1) / max(n, 1)) ** 2
        path = self.xy + shift[:, None] * np.array([np.cos(ahead), np.sin(ahead)])
        self.add(poses.fall(n, direction, self.rng), "falling", path)
        rest = max(0, total - self.n)
        return self.add(poses.lie(self.times(rest), direction, self.rng, restless), "lying")

    def track(self, total: int) -> Track:
        """The finished timeline of exactly `total` frames; who has nothing more to do stands."""
        if self.n < total:
            self.stand(total - self.n)
        columns = list(zip(*self._rows, strict=True))
        lengths = [len(path) for path in columns[0]]
        headings = np.unwrap(np.concatenate(columns[1])[:total])
        angles = _smooth(np.concatenate(columns[2])[:total], round(0.16 * self.fps))
        xy = np.concatenate(columns[0])[:total]
        activity = np.repeat(np.array(columns[3]), lengths)[:total]
        carrying = np.repeat(np.array(columns[4]), lengths)[:total]
        heading = _smooth(headings[:, None], round(0.4 * self.fps))[:, 0]
        return Track(self.body, xy, heading, joints(self.body, xy, heading, angles), activity, carrying)


class Track:
    """A person over a whole clip: xy (T, 2), heading (T,), joints (T, J, 3), activity (T,) text, carrying (T,) bool."""

    def __init__(self, body, xy, heading, joints_, activity, carrying):
        self.body, self.xy, self.heading, self.joints = body, xy, heading, joints_
        self.activity, self.carrying = activity, carrying


def _smooth(values: np.ndarray, window: int) -> np.ndarray:
    """A centred running mean over time (T, K): nobody changes pose within one frame."""
    half = max(0, window // 2)
    if half == 0:
        return values
    padded = np.concatenate([np.repeat(values[:1], half, 0), values, np.repeat(values[-1:], half, 0)])
    total = np.cumsum(np.concatenate([np.zeros((1, values.shape[1])), padded]), axis=0)
    width = 2 * half + 1
    return (total[width:] - total[:-width]) / width
