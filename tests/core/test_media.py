"""Decoding, exact times, and what is said of files that cannot be decoded."""

import wave
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core import media
from components.core.media import MediaError, TimeSampler, sample_indices
from tests.footage import NTSC, patched, picture, write_clip, write_picture

VARYING = np.cumsum(1 + np.arange(40) % 7).tolist()
CLIPS = {
    "b-frames.mp4": {"rate": NTSC, "bf": "3", "g": "12"},
    "fragments.mp4": {"rate": NTSC, "g": "10", "container": {"movflags": "frag_keyframe+empty_moov"}},
    "odd.mp4": {"size": (65, 49), "rate": Fraction(25)},
    "varying.mp4": {"frames": 40, "pts": VARYING, "time_base": Fraction(1, 90)},
    "varying.mkv": {"frames": 40, "pts": VARYING, "time_base": Fraction(1, 90)},
    "programme.mpg": {"codec": "mpeg2video", "rate": NTSC, "bf": "2"},
    "transport.ts": {"rate": Fraction(25), "bf": "2"},
    "old.avi": {"codec": "mpeg4", "rate": NTSC},
    "milliseconds.mkv": {"rate": NTSC},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    return {name: write_clip(folder / name, **options) for name, options in CLIPS.items()}


def decoded(path):
    """(pts, RGB) of every frame, by PyAV alone."""
    with av.open(str(path)) as container:
        return [(frame.pts, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


@pytest.mark.parametrize("name", CLIPS)
@pytest.mark.parametrize("fps", [None, Fraction(5), NTSC, Fraction(100)])
def test_sampled_frames_are_those_of_a_sequential_decode(clips, name, fps):
    everything = decoded(clips[name])
    with av.open(str(clips[name])) as container:
        time_base = container.streams.video[0].time_base
    chosen = list(media.read_frames(clips[name], TimeSampler(fps)))
    assert [frame.index for frame in chosen] == sample_indices([pts for pts, _ in everything], time_base, fps)
    assert chosen[0].index == 0
    for frame in chosen:
        pts, rgb = everything[frame.index]
        assert frame.pts == pts
        assert np.array_equal(frame.rgb, rgb)


@pytest.mark.parametrize("name", CLIPS)
def test_probe_counts_by_decoding(clips, name):
    info = media.probe_video(clips[name])
    assert info.pts.tolist() == [pts for pts, _ in decoded(clips[name])]
    assert len(info.pts) == CLIPS[name].get("frames", 30)
    assert (info.width, info.height) == CLIPS[name].get("size", (64, 48))
    assert info.damaged == ()
    assert 20 < info.brightness < 235 and info.contrast > 5 and info.sharpness > 0


@pytest.mark.parametrize("name", ["odd.mp4", "transport.ts"])
def test_times_of_a_constant_rate_are_exact(clips, name):
    info = media.probe_video(clips[name])
    seconds = [int(pts - info.pts[0]) * info.time_base for pts in info.pts]
    assert seconds == [Fraction(index, 25) for index in range(30)]


def test_a_bare_stream_takes_its_times_from_its_rate(tmp_path):
    path = write_clip(tmp_path / "bare.m1v", codec="mpeg1video", rate=Fraction(25), bf="2")
    info = media.probe_video(path)
    assert [int(pts) * info.time_base for pts in info.pts] == [Fraction(index, 25) for index in range(30)]


times = st.lists(st.integers(1, 400), min_size=1, max_size=80).map(lambda gaps: np.cumsum(gaps).tolist())
rates = st.builds(Fraction, st.integers(1, 120), st.integers(1, 1001))


time_bases = st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 600), Fraction(1001, 30000)])


@given(times, time_bases, rates)
def test_each_sample_is_the_first_frame_in_time(pts, time_base, fps):
    """Against the definition, sample by sample: the earliest frame at or after k / fps (a fine clock: to the tick)."""
    gaps = [0, *np.diff(pts)]
    at = [(tick - pts[0] + (1 if gap >= 10 else 0)) * time_base * fps for tick, gap in zip(pts, gaps, strict=True)]
    wanted, index = set(), 0
    for k in range(int(at[-1]) + 1):
        while at[index] < k:
            index += 1
        wanted.add(index)
    assert sample_indices(pts, time_base, fps) == sorted(wanted)


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(60000, 1001), Fraction(24000, 1001)])
@pytest.mark.parametrize("fps", [Fraction(1), Fraction(5), Fraction(30000, 2002)])
def test_an_hour_does_not_drift(rate, fps):
    time_base, step = Fraction(1, rate.numerator), rate.denominator
    pts = range(0, 3600 * rate.numerator, step)
    chosen = sample_indices(pts, time_base, fps)
    assert abs(len(chosen) - 3600 * fps) <= 1
    for k, index in enumerate(chosen):
        late = pts[index] * time_base - k / fps
        assert -time_base <= late < 1 / rate


@pytest.mark.parametrize("ticks", [600, 1000, 90000])
@pytest.mark.parametrize("rate", [NTSC, Fraction(24000, 1001), Fraction(25)])
@pytest.mark.parametrize("start", [0, Fraction(2, 3)])
def test_a_clock_that_rounds_loses_no_frame_at_its_own_rate(ticks, rate, start):
    pts = [round((start + index / rate) * ticks) for index in range(3000)]
    assert sample_indices(pts, Fraction(1, ticks), rate) == list(range(3000))


@pytest.mark.parametrize("fps", [Fraction(31), Fraction(1000), None])
def test_a_slower_source_gives_each_frame_once(fps):
    assert sample_indices(range(0, 30030, 1001), Fraction(1, 30000), fps) == list(range(30))


def test_time_stamps_that_stumble_are_put_right(tmp_path):
    """In a programme stream several small frames share a packet and its time; one comes twice, and no frame is lost."""
    path = write_clip(tmp_path / "small.mpg", frames=400, codec="mpeg2video", rate=Fraction(25), size=(200, 152))
    raw = [pts for pts, _ in decoded(path)]
    assert any(b <= a for a, b in zip(raw, raw[1:], strict=False)), "this clip no longer shows the case"
    info = media.probe_video(path)
    assert info.retimed > 0 and len(info.pts) == 400 and np.all(np.diff(info.pts) > 0)
    assert [frame.pts for frame in media.read_frames(path)] == info.pts.tolist()
    assert all(abs(pts - info.pts[0] - 3600 * index) <= 3600 for index, pts in enumerate(info.pts))


@pytest.mark.parametrize(("suffix", "codec"), [(".mpg", "mpeg2video"), (".ts", "libx264")])
def test_two_recordings_in_one_file_have_no_common_time(tmp_path, suffix, codec):
    parts = [write_clip(tmp_path / f"{name}{suffix}", 60, codec, rate=Fraction(25)).read_bytes() for name in "ab"]
    (tmp_path / f"both{suffix}").write_bytes(b"".join(parts))
    assert "time stamps go back at frame 60" in refusal(tmp_path / f"both{suffix}")


def refusal(path) -> str:
    with pytest.raises(MediaError) as error:
        media.probe_video(path)
    return str(error.value)


@pytest.mark.parametrize("part", [0.95, 0.6])
def test_a_truncated_mp4_is_known(tmp_path, part):
    options = {"container": {"movflags": "faststart"}, "size": (160, 120), "bf": "2", "g": "5"}
    whole = write_clip(tmp_path / "whole.mp4", **options).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: int(part * len(whole))])
    assert "truncated: the container declares 30 frames" in refusal(tmp_path / "cut.mp4")


def test_an_mp4_without_its_index_is_known(tmp_path):
    whole = write_clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "FFmpeg" in refusal(tmp_path / "cut.mp4")


@pytest.mark.parametrize("part", [0.95, 0.5, 0.3])
def test_a_truncated_matroska_is_known(tmp_path, part):
    whole = write_clip(tmp_path / "whole.mkv", size=(160, 120), g="5").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: int(part * len(whole))])
    assert refusal(tmp_path / "cut.mkv").startswith("truncated: it should end at 1.00 s")


def test_what_is_no_video_is_refused_with_the_reason(tmp_path):
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("not a film\n" * 50)
    with wave.open(str(tmp_path / "sound.avi"), "wb") as sound:
        sound.setparams((1, 2, 8000, 800, "NONE", ""))
        sound.writeframes(bytes(1600))
    assert refusal(tmp_path / "empty.mp4") == "the file is empty"
    assert "FFmpeg" in refusal(tmp_path / "text.mp4")
    assert refusal(tmp_path / "sound.avi") == "no video stream in the file"
    assert "FFmpeg" in refusal(tmp_path / "missing.mp4")
    assert "FFmpeg" in refusal(tmp_path)


def test_frames_that_an_edit_list_hides_are_not_missing(clips, tmp_path):
    """A clip trimmed on a phone keeps all packets; ten frames that are never shown do not make it truncated."""
    whole = write_clip(tmp_path / "whole.mp4", g="30", bf="0")
    trimmed = patched(whole, tmp_path / "trimmed.mp4", b"elst", 12, [10 * 1001])
    assert len(media.probe_video(trimmed).pts) == 20


def test_a_clip_filmed_upright_is_shown_upright(clips, tmp_path):
    lying = clips["b-frames.mp4"]
    matrix = [0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30]
    upright = patched(lying, tmp_path / "upright.mp4", b"tkhd", 40, matrix)
    info = media.probe_video(upright)
    assert (info.width, info.height) == (48, 64)
    shown = next(media.read_frames(upright)).rgb
    assert np.array_equal(shown, np.rot90(decoded(lying)[0][1], -1))


def test_damage_that_ffmpeg_patches_up_is_told(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", frames=60, g="60")
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat")
    middle = start + (len(content) - start) // 2
    content[middle : middle + 40] = bytes(range(40))
    path.write_bytes(content)
    info = media.probe_video(path)
    assert len(info.pts) == 60 and info.damaged and all(0 < index < 60 for index in info.damaged)


def test_pictures(tmp_path):
    rgb = media.read_picture(write_picture(tmp_path / "a.png", seed=4))
    assert np.array_equal(rgb, picture(4))
    content = media.encode_jpeg(rgb, 95)
    assert content == media.encode_jpeg(rgb.copy(), 95)
    again = media.decode_picture(content)
    assert np.abs(again.astype(int) - rgb).mean() < 4  # red and blue exchanged would be far off
    for bad in (b"", b"nothing of the kind"):
        (tmp_path / "bad.png").write_bytes(bad)
        with pytest.raises(MediaError):
            media.read_picture(tmp_path / "bad.png")


@given(st.integers(1, 300), st.integers(1, 300), st.one_of(st.none(), st.integers(1, 200)))
def test_fit_never_exceeds_the_side_and_keeps_the_ratio(width, height, side):
    shape = media.fit(np.zeros((height, width, 3), np.uint8), side).shape[:2]
    if side is None or max(width, height) <= side:
        assert shape == (height, width)
    else:
        assert max(shape) == side
        assert abs(min(shape) - min(width, height) * side / max(width, height)) <= 1


def test_statistics_of_known_pictures():
    flat = np.full((20, 30, 3), 80, np.uint8)
    assert media.statistics(flat) == (80.0, 0.0, 0.0)
    flat[:, 15:] = 180
    brightness, contrast, sharpness = media.statistics(flat)
    assert (brightness, contrast) == (130.0, 50.0) and sharpness > 0


def test_the_hash_tells_near_from_far():
    rgb = picture(1, 320, 240)
    near = media.decode_picture(media.encode_jpeg(media.fit(rgb, 160), 60))
    bits = [f"{media.perceptual_hash(image) & (2**64 - 1):064b}" for image in (rgb, near, picture(2, 320, 240))]
    apart = [sum(a != b for a, b in zip(bits[0], other, strict=True)) for other in bits]
    assert apart[0] == 0 and apart[1] <= 4 and apart[2] >= 16
