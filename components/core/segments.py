"""Long videos in parts, and few frames of a video, without decoding what nobody wants; pixels as if all were decoded.

Decoding may begin at an entry: a key frame after which, in the stream's order, comes nothing that is shown before it
but the leading frames right behind it (an open group of pictures), and before which comes nothing shown after it.
Leading frames need the key frames on both sides: they belong to the entry before. All this is read off the packets,
which costs next to nothing; whether a file's key frames keep the promise is tried out when it is ingested
(components/ingest/video.py). Segments depend on the file alone, never on the machine, so results do not either.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from components.core.media import Frame, MediaError, TimeSampler, opened

SEGMENT_FRAMES = 3000  # two minutes at 25 frames/s: work enough for a worker, little enough to lose


class Unseekable(MediaError):
    """A video that can only be decoded from its first frame to its last; the message is the reason."""


@dataclass(frozen=True)
class Packets:
    """Packets of a video in the order of the stream. `shown` is False for those that an edit list hides."""

    pts: np.ndarray  # (packets,) int64
    key: np.ndarray  # (packets,) bool
    shown: np.ndarray  # (packets,) bool

    @classmethod
    def of(cls, packets: Iterable[av.Packet]) -> "Packets":
        """Raises Unseekable where a packet has no time or no content."""
        rows, ended = [], False
        for packet in packets:
            if ended:
                raise Unseekable("a packet is empty")
            ended = packet.size == 0  # the demuxer's last, or a frame that was dropped when it was recorded
            if not ended:
                if packet.pts is None:
                    raise Unseekable(f"packet {len(rows)} has no time stamp")
                rows.append((packet.pts, packet.is_keyframe, not packet.is_discard))
        pts, key, shown = zip(*rows, strict=True) if rows else ((), (), ())
        return cls(np.array(pts, np.int64), np.array(key, bool), np.array(shown, bool))

    def times(self) -> np.ndarray:
        """Times of the frames shown, in order. Raises Unseekable where two are the same."""
        times = np.sort(self.pts[self.shown])
        if np.any(np.diff(times) == 0):
            raise Unseekable("two frames have the same time stamp")
        return times

    def entries(self) -> np.ndarray:
        """Positions of the packets at which decoding may begin. Raises Unseekable where the first is none."""
        latest = np.maximum.accumulate(self.pts) if len(self.pts) else self.pts
        earliest = np.minimum.accumulate(self.pts[::-1])[::-1] if len(self.pts) else self.pts
        found = []
        for at in np.flatnonzero(self.key):
            begin, end = self.pts[at], at + 1
            while end < len(self.pts) and self.pts[end] < begin:
                end += 1
            if (at == 0 or latest[at - 1] < begin) and (end == len(self.pts) or earliest[end] > begin):
                found.append(at)
        if not found or found[0] != 0:
            raise Unseekable("it does not begin with a key frame")
        return np.array(found)

    def stretches(self, wanted: np.ndarray) -> list[tuple[int, int]]:
        """What to decode for the packets at the positions `wanted`: ranges [from an entry, end), apart, in order."""
        entries = self.entries()
        merged: list[tuple[int, int]] = []
        first = np.searchsorted(entries, wanted, side="right") - 1
        first -= self.pts[wanted] < self.pts[entries[first]]  # a leading frame
        for begin, end in sorted(zip(entries[np.maximum(first, 0)].tolist(), (wanted + 1).tolist(), strict=True)):
            if merged and begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(end, merged[-1][1])
            else:
                merged.append((begin, end))
        return merged


@dataclass(frozen=True)
class Segment:
    """Frames of a video with pts in [start, end), the first being frame `index`; `end` None: to the last.

    `origin` is the pts of the video's first frame, `before` that of the key frame at which the segment before begins;
    None where that is the beginning of the file, whose first frame need not be a key frame (an edit list may hide it).
    """

    index: int
    start: int
    end: int | None
    origin: int
    before: int | None

    @property
    def key(self) -> int | None:
        """Where its decoding begins: its first frame, or None for the beginning of the file."""
        return self.start if self.index else None


def cut(packets: Packets, length: int = SEGMENT_FRAMES) -> tuple[list[int], list[int]]:
    """(pts, index) of the first frames of a video's segments: at entries, each `length` frames or more from the last.

    Raises Unseekable.
    """
    times = packets.times()
    if not len(times):
        raise Unseekable("no frame is shown")
    starts, indices = [int(times[0])], [0]
    entries = packets.entries()
    for pts in packets.pts[entries[packets.shown[entries]]].tolist():
        index = int(np.searchsorted(times, pts))
        if index >= indices[-1] + length:
            starts.append(pts)
            indices.append(index)
    return starts, indices


def segments(starts: Sequence[int], indices: Sequence[int]) -> list[Segment]:
    """The segments that a catalog row's `segment_pts` and `segment_index` describe."""
    ends, befores = [*starts[1:], None], [None, None, *starts[1:-1]]
    return [
        Segment(index, start, end, starts[0], before)
        for index, start, end, before in zip(indices, starts, ends, befores[: len(starts)], strict=True)
    ]


def read_segment(path: str | Path, segment: Segment, fps: Fraction | None) -> Iterator[Frame]:
    """The frames of a segment that `TimeSampler(fps)` would choose out of the whole video, in order.

    Decodes only what they need. Raises MediaError; Unseekable where the file is not as it was when it was ingested.
    """
    with opened(path) as video:
        packets, before = segment_packets(video, segment)
        time_base = Fraction(video.stream.time_base)
    inside = within(packets, segment)
    sampler = TimeSampler.resumed(fps, segment.origin, before, time_base)
    times = packets.pts[inside].tolist()
    chosen = [rank for rank, pts in enumerate(times) if sampler(segment.index + rank, pts, time_base)]
    numbers = {times[rank]: segment.index + rank for rank in chosen}
    last = None
    try:
        for frame in _decoded(path, segment, packets, inside[chosen], numbers):
            yield frame
            last = frame.pts
    except MediaError:
        # What was tried out at ingest does not hold for every key frame: the same frames, all of the segment decoded.
        for frame in _decoded(path, segment, packets, inside, numbers):
            if last is None or frame.pts > last:
                yield frame


def _decoded(
    path: str | Path, segment: Segment, packets: Packets, positions: np.ndarray, numbers: dict[int, int]
) -> Iterator[Frame]:
    with opened(path) as video:
        for frame in decode(video, segment.key, packets, positions):
            if (index := numbers.get(frame.pts)) is not None:
                yield Frame(index, frame.pts, video.upright(frame))


def within(packets: Packets, segment: Segment) -> np.ndarray:
    """Positions of the packets of the segment's frames, in order of their pts."""
    inside = packets.shown & (packets.pts >= segment.start)
    if segment.end is not None:
        inside &= packets.pts < segment.end
    positions = np.flatnonzero(inside)
    return positions[np.argsort(packets.pts[positions])]


def segment_packets(video: opened, segment: Segment, beyond: int = 0) -> tuple[Packets, list[int]]:
    """The segment's packets from its key frame on, with `beyond` more; and the pts of the two frames before it.

    They end with the leading frames of the next segment's key frame, which need that one too. Raises Unseekable.
    """
    earlier: list[int] = []

    def rows() -> Iterator[av.Packet]:
        inside, over = segment.key is None, 0
        for packet in packets_from(video, segment.before):
            early = packet.pts is not None and packet.pts < segment.start
            inside = inside or (packet.is_keyframe and packet.pts == segment.start)
            if early and not packet.is_discard:
                earlier.append(packet.pts)
            if inside:
                late = segment.end is not None and packet.pts is not None and packet.pts >= segment.end
                over += late
                if over > 1 + beyond:
                    return
                yield packet

    found = Packets.of(rows())
    if not len(found.pts):
        raise Unseekable(f"no key frame at {segment.start}")
    return found, sorted(earlier)[-2:]


def packets_from(video: opened, start: int | None) -> Iterator[av.Packet]:
    """The stream's packets from the key frame at `start` on (None: all). Raises Unseekable where there is none."""
    if start is not None:
        if (found := _sought(video, start)) is None:
            video.reopen()  # this container cannot find it: read from the beginning, which is still no decoding
            found = _skipped(video, start)
        if found is None:
            raise Unseekable(f"no key frame at {start}")
        yield found
    yield from video.container.demux(video.stream)


def _sought(video: opened, start: int) -> av.Packet | None:
    """Seeks to the key frame at `start` and returns its packet; None where the container did not come before it."""
    try:
        # Containers that seek by decoding time or by guessing: aim a second early.
        video.container.seek(start - round(1 / video.stream.time_base), stream=video.stream)
    except (av.FFmpegError, OSError):
        return None
    return _skipped(video, start)


def _skipped(video: opened, start: int) -> av.Packet | None:
    for packet in video.container.demux(video.stream):
        if packet.is_keyframe and packet.pts is not None and packet.pts >= start:
            return packet if packet.pts == start else None
    return None


def decode(video: opened, start: int | None, packets: Packets, wanted: np.ndarray) -> Iterator[av.VideoFrame]:
    """The frames of the packets at the positions `wanted` (in order of pts), counted from the key frame at `start`.

    Between stretches the decoder is drained and begins anew; within one, frames that none refers to are left out
    where they are not wanted. Raises Unseekable where other frames come out than these packets hold.
    """
    if not len(wanted):
        return
    coder = video.stream.codec_context
    due = iter(packets.pts[wanted].tolist())
    asked, known = set(packets.pts[wanted].tolist()), set(packets.pts.tolist())
    at = set(wanted.tolist())
    ranges = iter(packets.stretches(wanted))
    begin, end = next(ranges, (0, 0))

    def taken(frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            if frame.pts not in known:
                raise Unseekable(f"an unexpected frame at {frame.pts}")
            if frame.pts in asked:
                if (expected := next(due, None)) != frame.pts:
                    raise Unseekable(f"the frame at {frame.pts} came instead of the one at {expected}")
                yield frame

    for position, packet in enumerate(packets_from(video, start)):
        if position >= end:
            yield from taken(coder.decode(None))
            coder.flush_buffers()
            begin, end = next(ranges, (0, 0))
            if not end:
                break
        if position < begin:
            continue
        if packet.pts != packets.pts[position]:
            raise Unseekable(f"packet {position} is not the one it was")
        coder.skip_frame = "DEFAULT" if position in at else "NONREF"
        yield from taken(coder.decode(packet))
    if (missing := next(due, None)) is not None:
        raise Unseekable(f"the frame at {missing} is missing")
