"""The frames of a file that are looked at, and how far apart they usually are."""

import math
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np

from components.core import media
from components.core.media import IMAGE_SUFFIXES, Frame, MediaError, TimeSampler

MOST_PIXELS = 40_000_000  # of a video's frame, 8K and more: decoders hold a dozen of them


class Footage(NamedTuple):
    """`frames` with times in ticks of `time_base` seconds; `step`: the ticks from one to the next, as a rule (None:
    there is only one, or nobody knows)."""

    time_base: Fraction
    step: Fraction | None
    frames: Iterator[Frame]

    @property
    def rate(self) -> Fraction | None:
        """Frames a second, as a rule."""
        return None if self.step is None else 1 / (self.step * self.time_base)

    def intervals(self, before: int | None, pts: int) -> float:
        """The time from one frame to another in frame intervals; 1 for the first, whose `before` is None."""
        return 1.0 if before is None or self.step is None else float((pts - before) / self.step)


def is_picture(path: Path) -> bool:
    """True where a file is a picture, by its name; else it is taken for a video."""
    return path.suffix.lower() in IMAGE_SUFFIXES


def sampled(path: Path, fps: str | None) -> Footage:
    """The frames at `fps` of a video, or the one frame of a picture. Raises MediaError, then or later."""
    if is_picture(path):
        return Footage(Fraction(1), None, iter([Frame(0, 0, media.read_picture(path))]))
    wanted = Fraction(fps) if fps else None
    with media.opened(path) as video:
        if (pixels := video.stream.width * video.stream.height) > MOST_PIXELS:
            raise MediaError(f"its frames have {pixels} pixels, more than {MOST_PIXELS}")
        _, time_base, declared, _ = video.facts()
        step = None if video.bare else _usual(_times(video), time_base, wanted)
    rates = [rate for rate in (wanted, declared) if rate]  # a slower source gives each frame once
    if step is None and rates:
        step = 1 / (min(rates) * time_base)
    return Footage(time_base, step, media.read_frames(path, TimeSampler(wanted)))


def expected(path: Path, fps: str | None) -> int | None:
    """About how many frames `sampled` will give of a file, as its container has it, whose header alone is read; None
    where that does not say. Raises MediaError where it cannot be opened."""
    if is_picture(path):
        return 1
    with media.opened(path) as video:
        _, time_base, declared, _ = video.facts()
        whole, ticks = video.container.duration, video.stream.duration
        seconds = ticks * time_base if ticks else Fraction(whole, av.time_base) if whole else None
        count = video.stream.frames or (seconds and declared and round(seconds * declared))
        known = [count, math.ceil(seconds * Fraction(fps)) if seconds and fps else None]
        return None if video.bare else min(filter(None, known), default=None)


def _times(video: media.opened) -> list[int]:
    """When a video's frames are shown, found without decoding any; none where packets do not say."""
    times = []
    with suppress(av.FFmpegError):  # what is damaged, decoding tells better
        for packet in video.container.demux(video.stream):
            if packet.size and not packet.is_discard:
                if packet.pts is None:
                    return []
                times.append(packet.pts)
    return sorted(times)


def _usual(times: list[int], time_base: Fraction, wanted: Fraction | None) -> Fraction | None:
    """The median step between those of these times that are looked at: gaps do not change it, as they do the mean."""
    steps = np.diff(np.array(times, np.int64)[media.sample_indices(times, time_base, wanted)])
    steps = steps[steps > 0]
    return Fraction(float(np.median(steps))) if len(steps) else None
