"""Decoding and encoding of video and pictures. Arrays are (height, width, 3) uint8, RGB, unless said otherwise.

Time is an integer pts with a rational time base. What a file says of itself is not believed: frames are counted by
decoding them, so a truncated or damaged file is known before anything is built on it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.format import Flags
from av.video.reformatter import VideoReformatter

VIDEO_SUFFIXES = frozenset(".mp4 .m4v .mov .mpg .mpeg .avi .mkv .webm .ts .wmv .flv".split())
IMAGE_SUFFIXES = frozenset(".jpg .jpeg .png .bmp .webp .tif .tiff .gif".split())
STATISTICS_FRAMES = 16
ENGINE = {"av": av.__version__, "opencv": cv2.__version__}  # another decoder may give other pixels: part of cache keys

cv2.setNumThreads(1)


class MediaError(Exception):
    """A file that cannot be decoded as it should; the message is the reason, without the file's name."""


@dataclass(frozen=True)
class VideoInfo:
    """What decoding a whole video showed. `pts[i]` is the time of frame i (0-based, in presentation order).

    `damaged`: indices of frames that FFmpeg decoded in part and patched up. `retimed`: how many time stamps did not
    increase and were put a tick after the one before. `captured_at`: the file's own word.
    """

    codec: str
    width: int
    height: int
    pts: np.ndarray  # (frames,) int64
    time_base: Fraction
    rate: Fraction | None
    brightness: float
    contrast: float
    sharpness: float
    saturation: float
    damaged: tuple[int, ...] = ()
    retimed: int = 0
    captured_at: str | None = None


@dataclass(frozen=True)
class Frame:
    """One decoded frame: its 0-based index in the source, pts, and (H, W, 3) uint8 RGB pixels, upright."""

    index: int
    pts: int
    rgb: np.ndarray


def probe_video(path: str | Path) -> VideoInfo:
    """Decodes the whole of `path` once. Raises MediaError with the reason where any part of it cannot be decoded."""
    times: list[int] = []
    damaged: list[int] = []
    figures: list[tuple[float, float, float, float]] = []
    shape = (0, 0)
    packets = count_packets(path)
    step = statistics_step(packets)
    with opened(path) as video:
        try:
            for index, frame in enumerate(video.frames()):
                times.append(frame.pts)
                if frame.is_corrupt:
                    damaged.append(index)
                if index % step == 0:
                    rgb = video.upright(frame)
                    shape = shape if figures else rgb.shape[:2]
                    figures.append((*statistics(rgb), saturation(rgb)))
        except MediaError:
            if packets < video.stream.frames and (reason := video.truncated(np.array(times), video.hidden)):
                raise MediaError(reason) from None
            raise
        hidden, retimed = video.hidden, video.retimed
        if not times:
            raise MediaError("no frame can be decoded")
        pts = np.asarray(times, dtype=np.int64)
        if reason := video.truncated(pts, hidden):
            raise MediaError(reason)
        codec, time_base, rate, captured_at = video.facts()
    means = [float(value) for value in np.mean(figures, axis=0)]
    height, width = shape
    return VideoInfo(codec, width, height, pts, time_base, rate, *means, tuple(damaged), retimed, captured_at)


def statistics_step(packets: int) -> int:
    """Every which frame a video's statistics are taken of: they are spread over all of it."""
    return max(1, packets // STATISTICS_FRAMES)


def count_packets(path: str | Path) -> int:
    """How many packets of the video stream can be read, found without decoding any. Raises MediaError."""
    count = 0
    with opened(path) as video, contextlib.suppress(av.FFmpegError):  # what is damaged, decoding tells better
        for packet in video.container.demux(video.stream):
            count += packet.size > 0
    return count


def read_frames(path: str | Path, wanted: Callable[[int, int, Fraction], bool] | None = None) -> Iterator[Frame]:
    """Frames of `path` in presentation order for which `wanted(index, pts, time_base)`; all where it is None.

    Decodes sequentially, from the first to the last. Raises MediaError.
    """
    with opened(path) as video:
        time_base = Fraction(video.stream.time_base)
        for index, frame in enumerate(video.frames()):
            if wanted is None or wanted(index, frame.pts, time_base):
                yield Frame(index, frame.pts, video.upright(frame))


class opened:
    """Context: a file's best video stream. FFmpeg's errors become MediaErrors with the reason.

    `hidden` counts the packets that an edit list hides: decoded for what follows, never shown. `retimed` counts the
    frames whose time stamp did not increase. `bare`: the container keeps no times.
    """

    def __init__(self, path: str | Path):
        self.path, self.hidden, self.retimed = Path(path), 0, 0
        self._converter = VideoReformatter()  # one for all frames: setting it up takes longer than converting a frame

    def __enter__(self):
        try:
            if self.path.stat().st_size == 0:
                raise MediaError("the file is empty")
            self.container = av.open(str(self.path), metadata_errors="replace")
        except (av.FFmpegError, ValueError, OSError) as error:
            raise MediaError(f"not a video that FFmpeg can open ({_reason(error)})") from None
        self.stream = self.container.streams.best("video")
        if self.stream is None:
            self.container.close()
            raise MediaError("no video stream in the file")
        self.bare = bool(self.container.format.flags & Flags.no_timestamps.value)
        # The cores are Spark's to give; and of a damaged file, several threads make other frames than one.
        self.stream.codec_context.thread_count = 1
        return self

    def reopen(self) -> None:
        """Opens the file anew, at its beginning."""
        self.container.close()
        self.__enter__()

    def __exit__(self, kind, error, trace):
        self.container.close()
        if isinstance(error, av.FFmpegError):
            raise MediaError(f"cannot be decoded ({_reason(error)})") from None
        return False

    def facts(self) -> tuple[str, Fraction, Fraction | None, str | None]:
        """(codec, time base, declared frame rate, the file's own word for when it was recorded)."""
        stream = self.stream
        rate = Fraction(stream.average_rate) if stream.average_rate else None
        recorded = self.container.metadata.get("creation_time")
        return stream.codec_context.name, Fraction(stream.time_base), rate, recorded

    def frames(self) -> Iterator[av.VideoFrame]:
        """All frames in presentation order; where the container keeps no times (a bare stream), the rate makes them."""
        count, last = 0, None
        try:
            for packet in self.container.demux(self.stream):
                self.hidden += packet.is_discard
                for frame in packet.decode():
                    if self.bare and self.stream.average_rate:  # FFmpeg's guess stumbles at the first B-frames
                        frame.pts = round(count / (self.stream.average_rate * self.stream.time_base))
                    if frame.pts is None:
                        raise MediaError(f"frame {count} has no time stamp")
                    if last is not None and frame.pts <= last:
                        # Programme streams stumble by a frame where several share a packet; a clock set back is worse.
                        if (last - frame.pts) * self.stream.time_base >= 1:
                            raise MediaError(f"time stamps go back at frame {count}: several recordings in one file?")
                        frame.pts, self.retimed = last + 1, self.retimed + 1
                    last = frame.pts
                    count += 1
                    yield frame
        except av.FFmpegError as error:
            raise MediaError(f"damaged after frame {count} ({_reason(error)})") from None

    def upright(self, frame: av.VideoFrame) -> np.ndarray:
        """A frame's RGB pixels as a player shows them: phones store a portrait clip lying on its side and say so."""
        rgb = self._converter.reformat(frame, format="rgb24", threads=1).to_ndarray()
        turns = round(frame.rotation / 90) % 4
        return np.ascontiguousarray(np.rot90(rgb, turns))  # FFmpeg pads the rows of odd widths

    def truncated(self, pts: np.ndarray, hidden: int) -> str | None:
        """Why frames at these times are not all that the file should hold, or None where nothing speaks against it."""
        declared = self.stream.frames
        if declared and len(pts) + hidden < declared:
            return f"truncated: the container declares {declared} frames, {len(pts)} can be decoded"
        if not len(pts):
            return None
        _, time_base, rate, _ = self.facts()
        last, expected = int(pts[-1]) * time_base, self._declared_end()
        longest = max(int(np.diff(pts).max(initial=0)) * time_base, 1 / rate if rate else 0)
        if expected is not None and longest and last + 2 * longest < expected:
            ends = f"{float(expected):.2f} s, the last frame is at {float(last):.2f} s"
            return f"truncated: it should end at {ends}"
        return None

    def _declared_end(self) -> Fraction | None:
        """Matroska's declared end in seconds, where the video is all there is: it counts no frames, so a cut hides."""
        container = self.container
        if "matroska" not in container.format.name or len(container.streams) > 1 or not container.duration:
            return None
        return Fraction((container.start_time or 0) + container.duration, av.time_base)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class TimeSampler:
    """Chooses frames at `fps` samples per second: for each k, the first frame at or after start + k / fps.

    Times are exact fractions, so sampling never drifts: 30000/1001 stays 30000/1001. A source slower than `fps`
    gives each frame once. Many clocks round (Matroska: to milliseconds), so a frame up to one tick early is in time;
    else every third frame of a 29.97 clip would be missed at 29.97. A clock of under 10 ticks per frame counts frames
    and rounds nothing. Call with (index, pts, time_base) in presentation order; True where the frame is chosen.
    """

    def __init__(self, fps: Fraction | None):
        self.fps, self._start, self._last, self._next = fps, None, None, 0
        self._time_base, self._scale = None, (1, 1)

    @classmethod
    def resumed(cls, fps: Fraction | None, start: int, before: Sequence[int], time_base: Fraction) -> "TimeSampler":
        """The sampler as it stands after frames of which `before` are the last two (one, or none, at the beginning).

        The video's first frame was at `start`. Time only grows, so the samples passed are known from the last frame
        alone, and its slack from the one before it.
        """
        sampler = cls(fps)
        if before:
            sampler._start, sampler._last = start, before[0]
            sampler(0, before[-1], time_base)
        return sampler

    def __call__(self, index: int, pts: int, time_base: Fraction) -> bool:
        if self.fps is None:
            return True
        if self._start is None:
            self._start = self._last = pts
        slack = 1 if pts - self._last >= 10 else 0
        self._last = pts
        if time_base != self._time_base:
            self._time_base, self._scale = time_base, (time_base * self.fps).as_integer_ratio()
        over, under = self._scale  # fractions reduce themselves at every step, which whole numbers need not
        elapsed = (pts - self._start + slack) * over // under  # in samples
        if elapsed < self._next:
            return False
        self._next = elapsed + 1
        return True


def sample_indices(pts: Iterable[int], time_base: Fraction, fps: Fraction | None) -> list[int]:
    """Indices of the frames that `TimeSampler` chooses out of these time stamps."""
    sampler = TimeSampler(fps)
    return [index for index, tick in enumerate(pts) if sampler(index, int(tick), time_base)]


def read_picture(path: str | Path) -> np.ndarray:
    """The picture in a file, (H, W, 3) uint8 RGB, EXIF orientation applied. Raises MediaError."""
    content = Path(path).read_bytes()
    if not content:
        raise MediaError("the file is empty")
    return decode_picture(content)


def decode_picture(content: bytes) -> np.ndarray:
    """An encoded picture's pixels, (H, W, 3) uint8 RGB, EXIF orientation applied. Raises MediaError."""
    try:
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise MediaError(f"cannot be decoded as a picture ({error.err})") from None
    if bgr is None:
        raise MediaError("cannot be decoded as a picture")
    return cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of (H, W, 3) uint8 RGB pixels; the same pixels give the same bytes."""
    done, content = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise MediaError(f"a picture of shape {rgb.shape} cannot be written as JPEG")
    return content.tobytes()


def fit(rgb: np.ndarray, max_side: int | None) -> np.ndarray:
    """The picture scaled down, aspect ratio kept, so that its longer side is at most `max_side` pixels."""
    height, width = rgb.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return rgb
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)


def resize(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture scaled to (height, width, 3); the aspect ratio is not kept, as in common transfer learning."""
    if rgb.shape[:2] == (height, width):
        return rgb
    smaller = height * width < rgb.shape[0] * rgb.shape[1]
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


def statistics(rgb: np.ndarray) -> tuple[float, float, float]:
    """Brightness (mean grey, 0-255), contrast (its standard deviation) and sharpness (variance of the Laplacian)."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    edges = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1]
    return float(mean[0, 0]), float(deviation[0, 0]), float(edges[0, 0] ** 2)


def saturation(rgb: np.ndarray) -> float:
    """Mean saturation, 0-255, of the picture in HSV: near 0 for infra-red pictures taken by night."""
    return float(cv2.mean(cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV))[1])


def perceptual_hash(rgb: np.ndarray) -> int:
    """64-bit DCT hash of a picture as a signed integer: the 8x8 lowest frequencies of 32x32 grey against their median.

    Near-duplicates differ in few bits (C. Zauner, "Implementation and benchmarking of perceptual image hash
    functions", 2010).
    """
    grey = cv2.resize(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(grey.astype(np.float32))[:8, :8].ravel()
    middle = np.partition(low[1:], 31)[31]  # the median of 63, in half the time
    return int(np.packbits(low > middle).view(">i8")[0])
