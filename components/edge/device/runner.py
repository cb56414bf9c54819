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
from components.edge.device.model import load
from components.edge.device.release import Release
from components.edge.device.store import Full, Store
from components.edge.device.uplink import TOKEN, Link, Sender

FULL_PAUSE_S = 0.5
TOGETHER = 64  # records that are stored at once at most
NOTHING = -1  # the number before a file's first frame
NO_PIXELS = np.empty((0, 0, 3), np.uint8)
DIGITS = 6  # of a score: more would be noise, and bytes of a narrow link

Given = tuple[np.ndarray, tuple[int, int]]  # a frame as the model takes it, and the (height, width) it had

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
        held, count, began = [], 0, time.monotonic()
        for look, answer in self._answered():
            held.append((look, self._body(look, answer)))
            one = self._once and not self._source.ends
            if one or len(held) == TOGETHER or time.monotonic() - began >= self._config.queue.every_s:
                count += self._stored(held)
                held, began = [], time.monotonic()
            if one:
                break
        return count + self._stored(held)

    @property
    def _name(self) -> str:
        return self._config.camera.name or self._source.name

    def _answered(self) -> Iterator[tuple[Look, dict]]:
        """Each frame that has no record yet, without its pixels, and what the model says of it."""
        for key, looks in groupby(self._source.looks(self._stop), key=lambda look: (look.key, look.sequence)):
            done = self._store.position(key[0]) if key[0] else NOTHING
            waiting: deque[Look] = deque()
            for answer in self._model.answers(self._frames(looks, done, waiting)):
                if key[0] and self._stop.is_set():
                    return  # what is left would be judged without the frames after it: next time it is, with them
                look = waiting.popleft()
                if look.number > done:
                    yield look, answer

    def _frames(self, looks: Iterator[Look], done: int, waiting: deque[Look]) -> Iterator[Given]:
        """What the model is given, and `waiting` then holds: all that is new, and what comes before and counts."""
        before: deque[Look] = deque(maxlen=self._model.context)
        for look in looks:
            if look.number <= done:
                before.append(look)
                continue
            while before:
                yield self._given(before.popleft(), waiting)
            yield self._given(look, waiting)

    def _given(self, look: Look, waiting: deque[Look]) -> Given:
        waiting.append(replace(look, rgb=NO_PIXELS))
        return self._model.prepare(look.rgb), look.rgb.shape[:2]

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
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"), "camera": self._name, "frame": look.number,
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
