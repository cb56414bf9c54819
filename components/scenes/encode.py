"""Writing clips as real H.264 and MPEG-2 files whose bytes depend on the clip alone."""

from __future__ import annotations

from pathlib import Path

import av

from components.core.files import atomic_path
from components.scenes.render import render_clip
from components.scenes.spec import ClipSpec

# cpu-independent: x264 may otherwise choose other rounding on another processor.
_OPTIONS = {
    "h264": ("libx264", {"preset": "veryfast", "crf": "24", "g": "50", "x264-params": "cpu-independent=1"}),
    "mpeg2video": ("mpeg2video", {"g": "12"}),
}
_FORMATS = {"h264": "mp4", "mpeg2video": "vob"}  # vob: an MPEG-2 program stream, what .mpg files of cameras are


def write_clip(clip: ClipSpec, directory: str | Path) -> Path:
    """Renders a clip into `directory` as <clip_id>.mp4 or .mpg, whole or not at all; returns the file's path."""
    path = Path(directory) / clip.file_name
    encoder, options = _OPTIONS[clip.codec]
    if clip.codec == "mpeg2video":
        # A constant quantizer, finer where the picture is small: rate control would starve some frames to so few bytes
        # that two share a pack of the program stream, which is dated once, and come out with the same pts.
        quantizer = "4" if clip.width * clip.height > 60_000 else "2"
        options = {**options, "qmin": quantizer, "qmax": quantizer}
    with (
        atomic_path(path) as temporary,
        av.open(str(temporary), "w", format=_FORMATS[clip.codec], options={"fflags": "+bitexact"}) as container,
    ):
        stream = container.add_stream(encoder, rate=clip.fps, options={"flags": "+bitexact", "threads": "1", **options})
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        stream.codec_context.thread_count = 1
        for picture, truth in render_clip(clip):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = truth.frame_index, 1 / clip.fps
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
