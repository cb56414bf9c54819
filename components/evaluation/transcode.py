"""Copies of videos that browsers play: H.264 4:2:0 in MP4, time starting at 0."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from components.core.errors import SightlineError
from components.core.files import atomic_path
from components.core.media import MediaError, read_frames

# One thread and cpu-independent: the same frames give the same bytes on every machine. No B-frames: then pts equal dts
# and the file needs no edit list, which players treat differently.
OPTIONS = {
    "preset": "veryfast", "crf": "23", "bf": "0", "threads": "1", "flags": "+bitexact",
    "x264-params": "cpu-independent=1",
}  # fmt: skip
REMEDY = "put the file back as it was, or run again from the ingest stage"
SMPTE170M, LIMITED = 6, 1
PLAYABLE_FORMATS = frozenset({"yuv420p", "yuvj420p"})


def is_playable(path: str | Path) -> bool:
    """True where browsers play the file as it is and count its time from its first frame.

    Raises SightlineError where it cannot be opened.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            in_mp4 = "mp4" in container.format.name.split(",")
            context = stream.codec_context
            return in_mp4 and context.name == "h264" and context.pix_fmt in PLAYABLE_FORMATS and not stream.start_time
    except (OSError, IndexError, av.FFmpegError) as error:
        raise SightlineError(f"{path}: cannot be opened any more: {error}", REMEDY) from None


def transcode(source: str | Path, target: str | Path) -> int:
    """Writes `source` as H.264 MP4 to `target`, whole or not at all; returns the number of frames.

    Every frame is kept at its own time (pts - first pts, in the source's time base): nothing is resampled. Odd sizes
    lose their last row or column. Raises SightlineError where the source cannot be decoded.
    """
    count = 0
    try:
        with av.open(str(source)) as container:
            stream = container.streams.video[0]
            base, rate, aspect = Fraction(stream.time_base), stream.average_rate, stream.sample_aspect_ratio
        with (
            atomic_path(target) as temporary,
            av.open(str(temporary), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out,
        ):
            encoder, first = None, 0
            for frame in read_frames(source):
                if encoder is None:
                    first = frame.pts
                    encoder = _encoder(out, frame.rgb.shape, base, rate, aspect)
                height, width = encoder.height, encoder.width
                pixels = np.ascontiguousarray(frame.rgb[:height, :width])
                picture = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
                picture.pts, picture.time_base = frame.pts - first, base
                out.mux(encoder.encode(picture))
                count += 1
            if encoder is None:
                raise MediaError("no frame can be decoded")
            out.mux(encoder.encode(None))
    except (MediaError, OSError, av.FFmpegError) as error:
        raise SightlineError(f"{source}: cannot be copied for the report: {error}", REMEDY) from None
    return count


def _encoder(out, shape: tuple[int, ...], base: Fraction, rate: Fraction | None, aspect: Fraction | None):
    per_second = Fraction(rate or 25)
    # A key frame a second: seeking to a moment decodes little.
    stream = out.add_stream("libx264", rate=per_second, options={**OPTIONS, "g": str(max(1, round(per_second)))})
    stream.height, stream.width, stream.pix_fmt = shape[0] // 2 * 2, shape[1] // 2 * 2, "yuv420p"
    context = stream.codec_context
    stream.time_base = context.time_base = base
    context.thread_count = 1
    context.colorspace, context.color_range = SMPTE170M, LIMITED
    if aspect and aspect > 0:
        context.sample_aspect_ratio = aspect
    return stream
