"""Files of drawn frames that any viewer shows: JPEG for a picture, H.264 in MP4 for a video."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from components.core.files import atomic_bytes, atomic_path
from components.core.media import encode_jpeg

QUALITY = 90
RATE = Fraction(25)  # frames a second that the encoder plans for where nobody knows; it changes no frame's time
# One thread and cpu-independent: the same frames give the same bytes on every machine. Without B-frames pts equal dts,
# and the file needs no edit list, which players treat differently.
OPTIONS = {
    "preset": "veryfast", "crf": "23", "bf": "0", "threads": "1", "flags": "+bitexact",
    "x264-params": "cpu-independent=1",
}  # fmt: skip
SMPTE170M, LIMITED = 6, 1
Show = Callable[[np.ndarray, int], None]


@contextmanager
def picture_file(path: Path) -> Iterator[Show]:
    """Yields `show(rgb, pts)`, to be called once; the JPEG appears whole on leaving, or not at all."""
    frames: list[np.ndarray] = []
    yield lambda rgb, pts: frames.append(rgb)
    atomic_bytes(path, encode_jpeg(frames[0], QUALITY))


@contextmanager
def video_file(
    path: Path, time_base: Fraction, rate: Fraction | None, preset: str = OPTIONS["preset"]
) -> Iterator[Show]:
    """Yields `show(rgb, pts)`, to be called with (H, W, 3) uint8 RGB frames in order of time; the MP4 appears whole on
    leaving, or not at all.

    Every frame is shown at pts - the first pts, in ticks of `time_base`. The first one's size is that of the video,
    odd sides less a row or column. `preset`: how much time x264 may take; the less, the larger the file.
    """
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", options={"movflags": "+faststart", "fflags": "+bitexact"}) as out,
    ):
        encoder, first = None, 0

        def show(rgb: np.ndarray, pts: int) -> None:
            nonlocal encoder, first
            if encoder is None:
                encoder, first = _encoder(out, rgb.shape, time_base, rate or RATE, preset), pts
            if rgb.shape[:2] != (encoder.height, encoder.width):
                rgb = cv2.resize(rgb, (encoder.width, encoder.height), interpolation=cv2.INTER_AREA)
            # As SMPTE 170M has it, limited range; a fifth of the time that FFmpeg's conversion takes.
            frame = av.VideoFrame.from_ndarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420), format="yuv420p")
            frame.pts, frame.time_base = pts - first, time_base
            out.mux(encoder.encode(frame))

        yield show
        out.mux(encoder.encode(None))


def _encoder(out, shape: tuple[int, ...], time_base: Fraction, rate: Fraction, preset: str):
    # A key frame a second: seeking decodes little.
    options = {**OPTIONS, "preset": preset, "g": str(max(1, round(rate)))}
    stream = out.add_stream("libx264", rate=rate, options=options)
    stream.height, stream.width = (max(2, side // 2 * 2) for side in shape[:2])
    stream.pix_fmt = "yuv420p"
    context = stream.codec_context
    stream.time_base = context.time_base = time_base
    context.thread_count = 1
    context.colorspace, context.color_range = SMPTE170M, LIMITED
    return stream
