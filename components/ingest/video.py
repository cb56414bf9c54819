"""The facts of one video, found by decoding all of it: in segments where it has such, which may be done in parallel.

`facts` is `merged` over one `part` after another, so the record is the same whoever looks at the parts and in whatever
order. What decoding from key frames promises is tried out here, on every file: that each segment holds just the frames
that the packets name, that the frames at a cut come out the same from either side, and that frames after key frames
within a segment come out the same when what lies before is not decoded. Where any of it does not hold, the whole file
is decoded from the first frame to the last, and has no segments.
"""

import zlib
from pathlib import Path

import av
import numpy as np

from components.core import media, segments
from components.core.media import MediaError, opened
from components.core.segments import Packets, Segment, Unseekable

BEYOND = 4  # packets decoded behind a cut
TRIED = (0, 1, 2, 7)  # frames compared after a key frame; those between that none refers to are left out
COMPARED = 16  # frames at the beginning of a segment that those may be among
TRIALS_EVERY = 250  # frames, for one trial of a key frame within a segment; one at least
FIGURES = ("brightness", "contrast", "sharpness", "saturation")


def facts(path: str | Path) -> dict:
    """What a record (see `probe.probe_file`) says of a video. Raises MediaError with the reason where it is no use."""
    plan = outline(path)
    return merged(path, plan, [part(path, plan, number) for number in range(parts(plan))])


def outline(path: str | Path, length: int = segments.SEGMENT_FRAMES) -> dict | None:
    """A video's segments as its packets tell, JSON-able; None where it can only be decoded whole. Raises MediaError.

    `segment_pts` and `segment_index` as in the catalog, `count` of frames, and of each segment a digest of its times.
    """
    with opened(path) as video:
        if video.bare:
            return None
        try:
            packets = Packets.of(video.container.demux(video.stream))
            starts, indices = segments.cut(packets, length)
        except (Unseekable, av.FFmpegError):
            return None
        times = packets.times()
        if video.truncated(times, int(np.sum(~packets.shown))):
            return None
    digests = [_digest(chunk) for chunk in np.split(times, indices[1:])]
    return {"segment_pts": starts, "segment_index": indices, "count": len(times), "digests": digests}


def parts(plan: dict | None) -> int:
    """How many parts an outline has."""
    return len(plan["segment_pts"]) if plan else 0


def part(path: str | Path, plan: dict, number: int) -> dict:
    """What decoding segment `number` of the outline shows, JSON-able: {"pts", "shape", "figures", "head", "tail"}.

    `figures` are those of every n-th frame of the video, `head` and `tail` digests by pts of the first frames of this
    segment and of the next. {"unseekable": reason} where the segment is not what the outline says, or is damaged.
    """
    segment = segments.segments(plan["segment_pts"], plan["segment_index"])[number]
    try:
        found = _part(path, segment, media.statistics_step(plan["count"]))
        if _digest(found["pts"]) != plan["digests"][number]:
            raise Unseekable("its frames are not those that the packets name")
    except MediaError as error:
        return {"unseekable": str(error)}
    return found


def merged(path: str | Path, plan: dict | None, found: list[dict]) -> dict:
    """The facts of the video out of its parts; of all of it, decoded here, where they do not fit. Raises MediaError."""
    if plan is None or any("unseekable" in one for one in found) or not _joined(found):
        return _whole(path)
    with opened(path) as video:
        codec, time_base, rate, captured_at = video.facts()
    means = np.mean([figures for one in found for figures in one["figures"]], axis=0)
    height, width = found[0]["shape"]
    info = media.VideoInfo(
        codec, width, height, np.concatenate([one["pts"] for one in found]), time_base, rate,
        *(float(value) for value in means), captured_at=captured_at,
    )  # fmt: skip
    return _record(info, plan["segment_pts"], plan["segment_index"])


def _part(path: str | Path, segment: Segment, step: int) -> dict:
    with opened(path) as video:
        packets, _ = segments.segment_packets(video, segment, BEYOND)
    inside = segments.within(packets, segment)
    behind = packets.shown & (packets.pts >= (segment.end if segment.end is not None else packets.pts.max() + 1))
    behind = np.flatnonzero(behind)
    wanted = np.concatenate([inside, behind[np.argsort(packets.pts[behind])]])
    tried = _trial(packets, inside)
    compared = set(packets.pts[np.concatenate([inside[:COMPARED], tried, behind])].tolist())
    pts, figures, digests, shape = [], [], {}, None
    with opened(path) as video:
        for frame in segments.decode(video, segment.key, packets, wanted):
            if frame.is_corrupt:
                raise Unseekable(f"the frame at {frame.pts} is damaged")
            counted = len(pts) < len(inside)
            index = segment.index + len(pts)
            if frame.pts in compared or (counted and index % step == 0):
                rgb = video.upright(frame)
                shape = shape or rgb.shape[:2]
                digests[frame.pts] = zlib.crc32(rgb)
                if counted and index % step == 0:
                    figures.append((*media.statistics(rgb), media.saturation(rgb)))
            if counted:
                pts.append(frame.pts)
    _try(path, segment, packets, tried, digests)
    head = {str(time): digests[time] for time in packets.pts[inside[:COMPARED]].tolist()}
    tail = {str(time): digests[time] for time in packets.pts[behind].tolist()}
    return {"pts": pts, "shape": shape, "figures": figures, "head": head, "tail": tail}


def _trial(packets: Packets, inside: np.ndarray) -> np.ndarray:
    """Positions of a few frames after each of some key frames, what lies before which is then left out."""
    entries = packets.entries()[1::2]  # every other one: else the stretches would join
    entries = entries[np.isin(entries, inside)]
    count = min(len(entries), max(1, len(inside) // TRIALS_EVERY))
    spread = entries[np.linspace(0, len(entries) - 1, count).round().astype(int)] if count else entries
    ranks = {int(position): rank for rank, position in enumerate(inside)}
    tried = {ranks[int(entry)] + after for entry in spread for after in TRIED}
    return inside[sorted(rank for rank in tried if rank < len(inside))]


def _try(path: str | Path, segment: Segment, packets: Packets, tried: np.ndarray, digests: dict[int, int]) -> None:
    with opened(path) as video:
        for frame in segments.decode(video, segment.key, packets, tried):
            if zlib.crc32(video.upright(frame)) != digests[frame.pts]:
                raise Unseekable(f"the frame at {frame.pts} depends on frames before its key frame")


def _joined(found: list[dict]) -> bool:
    """Whether the first frames of each part are those that the part before found behind its end."""
    for one, other in zip(found, found[1:], strict=False):
        common = one["tail"].keys() & other["head"].keys()
        if not common or any(one["tail"][pts] != other["head"][pts] for pts in common):
            return False
    return True


def _whole(path: str | Path) -> dict:
    return _record(media.probe_video(path), None, None)


def _record(info: media.VideoInfo, segment_pts: list[int] | None, segment_index: list[int] | None) -> dict:
    count = len(info.pts)
    notes = [f"{len(info.damaged)} of {count} frames are damaged, first {info.damaged[0]}"] if info.damaged else []
    notes += [f"{info.retimed} of {count} time stamps did not increase and were put right"] if info.retimed else []
    return {
        "codec": info.codec,
        "width": info.width,
        "height": info.height,
        "time_base": info.time_base.as_integer_ratio(),
        "rate": info.rate and info.rate.as_integer_ratio(),
        "pts": info.pts.tolist(),
        **{name: getattr(info, name) for name in FIGURES},
        "captured_at": info.captured_at,
        "reason": "; ".join(notes) or None,
        "segment_pts": segment_pts,
        "segment_index": segment_index,
    }


def _digest(times: np.ndarray | list[int]) -> str:
    return f"{zlib.crc32(np.asarray(times, dtype='<i8').tobytes()):08x}"
