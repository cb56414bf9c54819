"""Copies for the browser: playable, every frame at its own time, the same bytes."""

from fractions import Fraction

import av
import numpy as np
import pytest

from components.core import media
from components.core.errors import SightlineError
from components.evaluation.transcode import is_playable, transcode
from tests.evaluation.made import NTSC, write_clip


def times(path):
    """Seconds of every frame since the first one, exact."""
    info = media.probe_video(path)
    return [(int(tick) - int(info.pts[0])) * info.time_base for tick in info.pts]


def test_mpeg2_becomes_playable_with_every_frame_at_its_time(tmp_path):
    source = write_clip(tmp_path / "gate.mpg", "mpeg2video", 37)
    assert media.probe_video(source).pts[0] != 0, "program streams do not begin at 0: the copy must"
    assert not is_playable(source)
    copy = tmp_path / "copy.mp4"
    assert transcode(source, copy) == 37
    assert is_playable(copy)
    info, tick = media.probe_video(copy), Fraction(1, 90000)
    assert len(info.pts) == 37 and info.pts[0] == 0 and info.codec == "h264"
    assert all(abs(ours - theirs) <= tick for ours, theirs in zip(times(copy), times(source), strict=True))
    pictures = zip(media.read_frames(copy), media.read_frames(source), strict=True)
    differences = [np.abs(ours.rgb.astype(int) - theirs.rgb.astype(int)).mean() for ours, theirs in pictures]
    assert max(differences) < 6, "the same frames in the same colours"


def test_the_same_bytes_twice(tmp_path):
    source = write_clip(tmp_path / "gate.mpg", "mpeg2video", 20)
    transcode(source, tmp_path / "a.mp4")
    transcode(source, tmp_path / "other" / "b.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "other" / "b.mp4").read_bytes()


def test_uneven_times_stay_uneven(tmp_path):
    """Frames of a camera that skips: no frame is repeated or moved to make the rate even."""
    source, ticks = tmp_path / "skips.mkv", [0, 40, 80, 240, 280, 700, 733, 1500]
    with av.open(str(source), "w") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for tick in ticks:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), tick % 251, np.uint8), format="rgb24")
            frame.pts, frame.time_base = tick, Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    transcode(source, tmp_path / "copy.mp4")
    assert times(tmp_path / "copy.mp4") == [Fraction(tick, 1000) for tick in ticks]


def test_odd_sizes_lose_a_row_and_a_column(tmp_path):
    source = tmp_path / "odd.mkv"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 65, 49, "yuv444p"
        for _ in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((49, 65, 3), 90, np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    transcode(source, tmp_path / "copy.mp4")
    info = media.probe_video(tmp_path / "copy.mp4")
    assert (info.width, info.height, len(info.pts)) == (64, 48, 3) and is_playable(tmp_path / "copy.mp4")


@pytest.mark.parametrize(
    ("name", "codec", "playable"),
    [
        ("a.mp4", "libx264", True),
        ("a.mkv", "libx264", False),
        ("a.mp4", "mpeg4", False),
        ("a.mpg", "mpeg2video", False),
    ],
)
def test_what_browsers_play(tmp_path, name, codec, playable):
    assert is_playable(write_clip(tmp_path / name, codec, 8, NTSC)) is playable


def test_a_damaged_source_is_an_error_and_leaves_no_copy(tmp_path):
    source = write_clip(tmp_path / "gate.mpg", "mpeg2video", 20)
    (tmp_path / "text.mpg").write_text("no video at all")
    (tmp_path / "empty.mpg").touch()
    for name in ("text.mpg", "empty.mpg", "gone.mpg"):
        for act in (lambda path: transcode(path, tmp_path / "copy.mp4"), is_playable):
            with pytest.raises(SightlineError, match=name) as caught:
                act(tmp_path / name)
            assert "ingest" in caught.value.remedy
    assert source.is_file() and not list(tmp_path.glob("*copy*"))
