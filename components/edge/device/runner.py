"""The loop of a device: frames -> scores -> queue, while another thread sends what waits."""

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np

from components.core.errors import SightlineError
from components.edge.device.cameras import Look, source
from components.edge.device.config import Config
from components.edge.device.model import Given, load
from components.edge.device.release import Release
from components.edge.device.store import Full, Store
from components.edge.device.uplink import TOKEN, Link, Sender

FULL_PAUSE_S = 0.5
TOGETHER = 64  # records that are stored at once at most
NOTHING = -1  # the number before a file's first frame
NO_PIXELS = np.empty((0, 0, 3), np.uint8)
DIGITS = 6  # of a score: more would be noise, and bytes of a narrow link

log = logging.getLogger("sightline.edge")


class Runner:
    """One device at work, from its configuration.

    A file is looked at to its end, each frame once: after a kill or a power cut it goes on behind the last frame whose
    record is stored. A camera does not end.
    """

    def __init__(self, release: Release, config: Config, state: Path, number: int, once: bool):
        """`number`: of the signed release, 0 for one that was installed by hand. Raises SightlineError."""
        self._config, self._once, self._stop = config, once, threading.Event()
        self._source = source(config.camera.source, config.rate(release.bundle.fps))
        self._token = _token(config.uplink.token_file)
        precision = release.precision(config.model.precision)
        self._release, self._number, self._tag = release, number, release.tag(precision)
        self._model = load(release, precision, config.model.threads)
        queue = config.queue
        self._store = Store(state, int(queue.limit_mb * (1 << 20)), queue.when_full == "drop-oldest")
        self._held: list[tuple[Look, bytes]] = []  # records that are not stored yet
        self._stored_at, self._count = time.monotonic(), 0
        self._source.quiet = self._store_if_due

    def stop(self, *_) -> None:
        """Ends the loop after the frame under way; a signal handler."""
        self._stop.set()

    def run(self) -> int:
        """Looks until the source ends or `stop` is called; returns how many frames were recorded."""
        sender = self._sender()
        if sender and not self._once:
            sender.start()
        log.info("%s looks at %s as %s", self._tag, self._name, self._store.device)
        try:
            count = self._look()
            if sender and self._source.ends and not self._stop.is_set():
                sender.stop()
                self._sender().drain(not self._once, self._stop)
            elif sender and self._once:
                sender.drain(False, self._stop)
            log.info("%d frames recorded, %d records wait", count, self._store.waiting)
        finally:
            self._stop.set()
            if sender:
                sender.stop()
            self._store.close()
        return count

    def _look(self) -> int:
        """Records frame after frame, many at once."""
        for look, answer in self._answered():
            self._held.append((look, self._body(look, answer)))
            if self._once and not self._source.ends:
                break
            self._store_if_due()
        self._store_held()
        return self._count

    def _store_if_due(self) -> None:
        """Also where nothing new comes: a camera that was lost, or is slow, keeps no record from the disk."""
        late = time.monotonic() - self._stored_at >= self._config.queue.every_s
        if len(self._held) == TOGETHER or late and self._held:
            self._store_held()

    def _store_held(self) -> None:
        """Stores the records that are held; none where it was stopped before there was room."""
        held, self._held = self._held, []
        self._count += self._stored(held)
        self._stored_at = time.monotonic()

    @property
    def _name(self) -> str:
        return self._config.camera.name or self._source.name

    def _answered(self) -> Iterator[tuple[Look, dict]]:
        """Each frame that has no record yet, without its pixels, and what the model says of it."""
        looked = self._source.looks(self._stop)
        for key, looks in groupby(looked, key=lambda look: look and (look.key, look.sequence)):
            if key is None:  # no neighbours will come: what waited for them has been answered without
                continue
            done = self._store.position(key[0]) if key[0] else NOTHING
            # Identities of a camera count anew after it was lost, or this was; those of a file do not.
            since = {} if key[0] or not self._release.bundle.tracks else {"followed_since": _now()}
            waiting: deque[Look] = deque()
            for answer in self._model.answers(self._frames(looks, done, waiting)):
                if key[0] and self._stop.is_set():
                    return  # what is left would be judged without the frames after it: next time it is, with them
                look = waiting.popleft()
                if look.number > done:
                    yield look, answer | since

    def _frames(self, looks: Iterator[Look], done: int, waiting: deque[Look]) -> Iterator[Given]:
        """What the model is given, and `waiting` then holds: all that is new, and what comes before and counts."""
        before: deque[Look] = deque(maxlen=self._model.context)
        for look in looks:
            if look.number <= done and self._model.context is not None:
                before.append(look)
                continue
            while before:
                yield self._given(before.popleft(), waiting)
            yield self._given(look, waiting)

    def _given(self, look: Look, waiting: deque[Look]) -> Given:
        waiting.append(replace(look, rgb=NO_PIXELS))
        return Given(self._model.prepare(look.rgb), look.rgb.shape[:2], look.intervals)

    def _stored(self, held: list[tuple[Look, bytes]]) -> int:
        """Stores records; returns how many: none where it was stopped before there was room."""
        positions = {look.key: look.number for look, _ in held if look.key}
        tried = False
        while held:
            try:
                self._store.add([body for _, body in held], positions)
                break
            except Full as full:
                if not tried:
                    log.warning("the queue is full (%s): nothing more is looked at until there is room", full)
                elif self._once:
                    raise SightlineError(f"the queue is full: {full}", "give it more room, or an uplink") from None
            tried = True
            if self._once and (sender := self._sender()):
                sender.drain(False, self._stop)
            elif self._stop.wait(FULL_PAUSE_S):
                return 0
        return len(held)

    def _body(self, look: Look, answer: dict) -> bytes:
        body = {
            "at": _now(), "camera": self._name, "frame": look.number,
            "milliseconds": round(look.milliseconds, 3), "model": self._tag, **_rounded(answer),
        }  # fmt: skip
        if look.name:
            body["file"] = look.name
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()

    def _sender(self) -> Sender | None:
        if not self._config.uplink.url:
            return None
        return Sender(self._store, Link(self._config.uplink, self._about, self._token), self._config.uplink)

    def _about(self) -> dict:
        store = self._store
        return {
            "device": store.device, "model": self._tag, "release": self._number, "camera": self._name,
            "waiting": store.waiting, "dropped": store.dropped, "skipped": self._source.skipped,
        }  # fmt: skip


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _rounded(value):
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def _token(file: str) -> str:
    if not file:
        return os.environ.get(TOKEN, "")
    try:
        return Path(file).read_text().strip()
    except OSError as error:
        raise SightlineError(f"{file}: the token cannot be read: {error}", "see [uplink] token_file") from None
