"""Where frames come from: files, which end and are looked at whole; cameras, which do not end and are never waited for.

A file's samples are those that the training's frames stage takes of it: at `fps` samples a second, for each k the
first frame at or after k / fps. A camera's are taken by the clock.
"""

import hashlib
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np

from components.core.errors import SightlineError, UsageError
from components.edge.device.pace import Pace
from components.edge.device.pictures import decode

PICTURES = frozenset(".jpg .jpeg .png .bmp .webp .tif .tiff".split())
EARLY_MS = 1.0  # clocks round: a frame that is so much too early is in time
WAITING = 2  # frames of a camera that wait to be looked at; older ones make room
OPENING_MS, READING_MS = 10_000, 10_000
BLOCKS, BLOCK = 16, 16_384  # of a file, and bytes of each, that tell it from another: of up to 256 KiB all
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0

log = logging.getLogger("sightline.edge")


@dataclass(frozen=True)
class Look:
    """A frame to look at: its number in the source from 0 on, milliseconds since the source's first, (H, W, 3) uint8
    RGB. Frames of one `sequence` are neighbours; a picture is a sequence of its own, and so is what comes after a
    camera was lost; `intervals`: how many frames it usually is from one to the next this one comes after the one before
    it. Of a file: its `name`, and a `key` that changes when it does."""

    number: int
    milliseconds: float
    sequence: int
    rgb: np.ndarray
    name: str = ""
    key: str = ""
    intervals: float = 1.0


class Source:
    """`ends`: files do; `name`: what records call it; `skipped`: samples that nobody had time for; `quiet`: called now
    and then while a camera has nothing new, from within `looks`."""

    ends, name, skipped = True, "", 0
    quiet: Callable[[], None] = staticmethod(lambda: None)

    def looks(self, stop: threading.Event) -> Iterator[Look | None]:
        """The frames that are sampled, until the source ends or `stop` is set; None where a camera was lost, so that
        no more neighbours of the frames before will come."""
        raise NotImplementedError


class Sampler:
    """True for the frames to look at, by their milliseconds, at `fps` samples a second; None: all."""

    def __init__(self, fps: Fraction | None):
        self._fps, self._next = fps, 0

    def __call__(self, milliseconds: float) -> bool:
        if self._fps is None:
            return True
        passed = (milliseconds + EARLY_MS) * float(self._fps) / 1000
        if passed < self._next:
            return False
        self._next = int(passed) + 1
        return True


class Video(Source):
    """A video file."""

    def __init__(self, path: Path, fps: Fraction | None):
        self.path, self._fps, self.name = path, fps, _shown(path.name)

    def looks(self, stop: threading.Event) -> Iterator[Look]:
        capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise UsageError(f"{self.path}: not a video that can be opened", "name another file")
        sampler, first, last, number, key = Sampler(self._fps), None, 0.0, 0, _file_key(self.path)
        usual = 1000 / (capture.get(cv2.CAP_PROP_FPS) or 25)
        pace = Pace()
        try:
            while not stop.is_set() and capture.grab():
                now = capture.get(cv2.CAP_PROP_POS_MSEC)
                first = now if first is None else first
                now = now - first if number == 0 or now - first > last else last + usual  # some containers stumble
                last = now
                if sampler(now):
                    done, bgr = capture.retrieve()
                    if done:
                        yield Look(number, now, 0, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), self.name, key, pace(now))
                number += 1
        finally:
            capture.release()


class Pictures(Source):
    """A picture, or a folder of them in the order of their names, each by itself."""

    def __init__(self, path: Path):
        self.path, self.name = path, _shown(path.name)
        self._files = [path] if path.is_file() else sorted(one for one in path.iterdir() if is_picture(one))

    def looks(self, stop: threading.Event) -> Iterator[Look]:
        for number, file in enumerate(self._files):
            if stop.is_set():
                return
            if (rgb := decode(file.read_bytes())) is None:
                log.warning("%s: not a picture; passed over", file)
                continue
            yield Look(0, 0.0, number, rgb, _shown(file.name), _file_key(file))


class Live(Source):
    """A camera of this machine by its number, or an address. A thread reads on while frames are looked at, so that
    what is looked at is new. It is opened again when lost."""

    ends = False

    def __init__(self, where: int | str, fps: Fraction | None):
        self._where, self._fps, self._lost = where, fps, 0  # `_lost`: how often it was, so far
        self.name = f"camera-{where}" if isinstance(where, int) else _without_password(where)

    def looks(self, stop: threading.Event) -> Iterator[Look | None]:
        waiting: queue.Queue[Look] = queue.Queue(WAITING)
        told = 0
        reader = threading.Thread(target=self._read, args=(waiting, stop), name="camera", daemon=True)
        reader.start()
        while not stop.is_set():
            lost = self._lost  # before it is seen that nothing waits: all that was read until then has been given
            try:
                look = waiting.get(timeout=0.2)
                told = look.sequence
                yield look
            except queue.Empty:
                self.quiet()
                if lost > told:
                    told = lost
                    yield None
                if not reader.is_alive() and not stop.is_set():  # else nothing would ever be seen, and nobody told
                    raise SightlineError(f"{self.name}: reading it failed, see above", "run it again") from None

    def _read(self, waiting: queue.Queue, stop: threading.Event) -> None:
        began, number, pause = time.monotonic(), 0, FIRST_PAUSE_S
        while not stop.is_set():
            capture = self._open()
            sampler, since, found = Sampler(self._fps), time.monotonic(), False
            pace = Pace(float(1000 / self._fps) if self._fps else None)
            while not stop.is_set() and capture.grab():
                now = time.monotonic()
                if sampler((now - since) * 1000):
                    done, bgr = capture.retrieve()
                    if done:
                        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
                        apart = pace((now - since) * 1000)
                        self._offer(waiting, Look(number, (now - began) * 1000, self._lost, rgb, intervals=apart))
                        number, found = number + 1, True
            capture.release()
            pause = FIRST_PAUSE_S if found else min(2 * pause, LONGEST_PAUSE_S)
            self._lost += 1
            if not stop.is_set():
                log.warning("%s: no picture; opened again in %.0f s", self.name, pause)
                stop.wait(pause * random.uniform(0.5, 1))

    def _open(self) -> cv2.VideoCapture:
        if isinstance(self._where, int):
            return cv2.VideoCapture(self._where)
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, OPENING_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, READING_MS]
        return cv2.VideoCapture(self._where, cv2.CAP_FFMPEG, limits)

    def _offer(self, waiting: queue.Queue, look: Look) -> None:
        while True:
            try:
                waiting.put_nowait(look)
                return
            except queue.Full:
                try:
                    waiting.get_nowait()
                    self.skipped += 1
                except queue.Empty:
                    pass


def is_picture(path: Path) -> bool:
    """True where a file is a picture, by its name."""
    return path.is_file() and path.suffix.lower() in PICTURES


def source(named: str, fps: Fraction | None) -> Source:
    """The source that `--camera` names: a number, an address, a file, a folder of pictures. Raises UsageError."""
    if not named:
        raise UsageError("no camera is named", "name a camera with --camera, or in config.toml: 0, an address, a file")
    if named.isdecimal():
        return Live(int(named), fps)
    if "://" in named:
        return Live(named, fps)
    path = Path(named)
    if path.is_dir() or is_picture(path):
        return Pictures(path)
    if path.is_file():
        return Video(path, fps)
    if named.startswith("/dev/"):
        raise UsageError(f"{named}: not there", "name the camera by its number: 0 is the first")
    raise UsageError(f"--camera {named}: not there", "name a camera (0), an address, or a file")


def _file_key(path: Path) -> str:
    """Its path, its size, and a digest of blocks of its content, all over it. Not its time: FAT, which cards come with,
    keeps two seconds of it, and in local time, so that it is another in summer."""
    size, digest = path.stat().st_size, hashlib.sha256()
    with open(path, "rb") as file:
        for number in range(BLOCKS):
            file.seek(max(0, size - BLOCK) * number // (BLOCKS - 1))
            digest.update(file.read(BLOCK))
    return f"{_shown(path.resolve())} {size} {digest.hexdigest()}"


def _shown(name: str | Path) -> str:
    """A file's name as text that can be stored and sent: what is not UTF-8 in it is spelt out."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _without_password(address: str) -> str:
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
