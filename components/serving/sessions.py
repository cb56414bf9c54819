"""Who is being followed where: a session is one source of frames, and what is known of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from components.serving.detector import Found
from components.serving.payload import Ready
from components.serving.pictures import Refusal

MOST = 64  # sessions at a time
IDLE_S = 300.0  # after which a session that gets no frame is over
SPARED_S = 10.0  # a session that had a frame so lately never makes room for another
FIRST_ID = 0  # number of the first frame of those that the service counts
BASE = "/v1"


class Session:
    """One source: its tracker and model, size, last frame, and the answers of its last request. `base`: the path below
    which it is asked for."""

    def __init__(self, name: str, base: str = BASE):
        self.name, self.base, self.lock, self.holders, self.used = name, base, asyncio.Lock(), 0, 0.0
        self.begin()

    def begin(self) -> None:
        """Forgets everything: the next frame is the first."""
        self.model = self.tracker = self.size = self.last = None
        self.begun, self.frames, self.highest = False, 0, 0
        self.answered: dict[int, tuple[bytes, list[dict]]] = {}  # by frame: the picture's digest, the tracks

    def unanswered(self, frames: list[tuple[int, Ready]]) -> list[tuple[int, Ready]]:
        """Of numbered frames those that are new. Nothing changes.

        Raises Refusal (409) for frames out of order, for another picture under the number of one that was answered,
        and for another size.
        """
        new, last = [], self.last
        for number, frame in frames:
            if not new and number in self.answered:
                if self.answered[number][0] != frame.digest:
                    raise self._refusal(f"frame {number} was another picture")
                continue
            if last is not None and number <= last:
                raise self._refusal(f"frame {number} comes after frame {last}")
            size = self.size or frames[0][1].size
            if frame.size != size:
                (high, wide), (height, width) = size, frame.size
                raise self._refusal(f"frame {number} has {width} x {height} pixels, those before {wide} x {high}")
            new.append((number, frame))
            last = number
        return new

    def numbered(self, frames: list[Ready]) -> list[tuple[int, Ready]]:
        """Frames with their numbers; those that have none are the next ones."""
        after = FIRST_ID if self.last is None else self.last + 1
        return [(after + place if one.frame_id is None else one.frame_id, one) for place, one in enumerate(frames)]

    def follow(self, model, asked: list[tuple[int, Ready]], found: list[Found]) -> None:
        """Takes in those of the frames that are new, in each of which `model` found what it did (B is 1); `answered`
        has the tracks of all then.

        Embeddings of two models have nothing to do with one another: where another model than before looked, a new
        tracker begins, and its identities count on.
        """
        self.answered = {number: self.answered[number] for number, _ in asked if number in self.answered}
        frames = [(number, frame) for number, frame in asked if number not in self.answered]
        self.begun = model is not self.model
        if self.begun:
            self.model, self.tracker = model, model.begin(self.highest + 1)
        for (number, frame), one in zip(frames, found, strict=True):
            dt = 1.0 if self.last is None else float(number - self.last)
            tracks = model.follow(self.tracker, one, frame.size, dt)
            self.highest = max([self.highest, *(track["track_id"] for track in tracks)])
            self.answered[number] = (frame.digest, tracks)
            self.size, self.last, self.frames = frame.size, number, self.frames + 1

    def _refusal(self, error: str) -> Refusal:
        return Refusal(
            409, f"session {self.name}: {error}",
            f"send frames in order, or DELETE {self.base}/track/{self.name} to begin anew",
        )  # fmt: skip


class Sessions:
    """Sessions by name. Of one event loop.

    The longest unused one makes room for a new one, unless it had a frame within the last SPARED_S seconds.
    """

    def __init__(
        self, base: str = BASE, most: int = MOST, idle_s: float = IDLE_S, spared_s: float = SPARED_S,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.base = base
        self._most, self._idle_s, self._spared_s, self._clock = most, idle_s, spared_s, clock
        self._by_name: dict[str, Session] = {}  # the longest unused first

    def __len__(self) -> int:
        return len(self._by_name)

    @asynccontextmanager
    async def held(self, name: str) -> AsyncIterator[Session]:
        """The session of this name, begun if there is none; others who want it wait, in the order in which they came.

        One that has had no frame on leaving is forgotten. Raises Refusal (503) where there is no room.
        """
        self._expire()
        session = self._by_name.pop(name, None) or self._new(name)
        self._by_name[name] = session  # now it is the last one used
        session.holders += 1
        try:
            async with session.lock:
                yield session
        finally:
            session.holders -= 1
            session.used = self._clock()
            if session.last is None and not session.holders:
                del self._by_name[name]

    async def end(self, name: str) -> int | None:
        """Ends a session; returns how many frames it had, None where there is none of this name."""
        self._expire()
        if name not in self._by_name:
            return None
        async with self.held(name) as session:
            frames = session.frames
            session.begin()
        return frames

    def _expire(self) -> None:
        old = self._clock() - self._idle_s
        for session in [one for one in self._by_name.values() if not one.holders and one.used < old]:
            del self._by_name[session.name]

    def _new(self, name: str) -> Session:
        if len(self._by_name) >= self._most:
            now = self._clock()
            spare = [one for one in self._by_name.values() if not one.holders and now - one.used >= self._spared_s]
            if not spare:
                raise Refusal(
                    503, f"{self._most} sessions are being followed",
                    f"end one: DELETE {self.base}/track/SESSION, or come back", "no_room",
                )  # fmt: skip
            del self._by_name[spare[0].name]
        return Session(name, self.base)
