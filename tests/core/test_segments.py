"""Segments and the few frames of a video that are wanted: pixel for pixel those of a sequential decode."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core import media
from components.core.media import TimeSampler, opened, sample_indices
from components.core.segments import Packets, Segment, Unseekable, cut, decode, read_segment, segments
from components.ingest import video
from tests.footage import NTSC, patched, write_clip

LENGTH = 20  # frames in a segment, so that clips of 70 have three
OPEN = "open-gop=1:bframes=3:b-pyramid=normal:keyint=12:min-keyint=12:scenecut=0"
H265 = "keyint=12:min-keyint=12:bframes=3:open-gop=1:log-level=none:pools=1:frame-threads=1"
INTERLACED = "+ildct+ilme"
VARYING = np.cumsum(1 + np.arange(70) % 7).tolist()
CLIPS = {
    "b-frames.mp4": {"bf": "3", "g": "12"},
    "open.mp4": {"x264-params": OPEN},
    "open.mkv": {"x264-params": OPEN},
    "open.ts": {"x264-params": OPEN},
    "h265-open.mp4": {"codec": "libx265", "x265-params": H265},
    "ten-bits.mp4": {"pixels": "yuv420p10le", "g": "12", "bf": "2"},
    "ten-bits-h265.mkv": {"codec": "libx265", "x265-params": H265, "pixels": "yuv420p10le"},
    "recorder.mpg": {"codec": "mpeg2video", "rate": Fraction(25), "g": "12", "bf": "2"},
    "recorder.ts": {"codec": "mpeg2video", "rate": Fraction(25), "g": "12", "bf": "2"},
    "interlaced.mpg": {"codec": "mpeg2video", "rate": Fraction(25), "g": "12", "bf": "2", "flags": INTERLACED},
    "interlaced.mp4": {"x264-params": "interlaced=1:keyint=12:bframes=2", "flags": INTERLACED},
    "vp9.webm": {"codec": "libvpx-vp9", "g": "12", "cpu-used": "8", "deadline": "realtime"},
    "hidden.webm": {"codec": "libvpx-vp9", "g": "20", "cpu-used": "8", "auto-alt-ref": "1", "lag-in-frames": "9"},
    "av1.mkv": {"codec": "libsvtav1", "preset": "13", "svtav1-params": "keyint=12:lp=1"},
    "varying.mp4": {"pts": VARYING, "time_base": Fraction(1, 90), "g": "12", "bf": "2"},
    "varying.mkv": {"pts": VARYING, "time_base": Fraction(1, 90), "g": "12", "bf": "2"},
    "no-duration.mkv": {"g": "12", "container": {"live": "1"}},
    "fragments.mp4": {"g": "10", "bf": "2", "container": {"movflags": "frag_keyframe+empty_moov"}},
    "odd.mp4": {"size": (65, 49), "rate": Fraction(25), "g": "12", "bf": "2"},
    "old.avi": {"codec": "mpeg4", "g": "12"},
    "old-b-frames.avi": {"codec": "mpeg4", "g": "12", "bf": "2"},
    "stills.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "stream.flv": {"rate": Fraction(25), "g": "12", "bf": "2"},
    "windows.wmv": {"codec": "wmv2", "g": "12"},
}  # fmt: skip
DERIVED = {
    "trimmed.mp4": ("b-frames.mp4", b"elst", 12, [10 * 1001]),  # ten frames that are never shown
    "upright.mp4": ("b-frames.mp4", b"tkhd", 40, [0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30]),
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """name -> (path, its frames decoded one after another, its facts with short segments)."""
    folder, made = tmp_path_factory.mktemp("clips"), {}
    for name, options in CLIPS.items():
        made[name] = write_clip(folder / name, 70, **options)
    for name, (source, *change) in DERIVED.items():
        made[name] = patched(made[source], folder / name, *change)
    return {name: (path, list(media.read_frames(path)), facts(path)) for name, path in made.items()}


def facts(path, length=LENGTH, order=lambda numbers: numbers):
    """The facts of a video with segments of `length` frames, its parts looked at in some order."""
    plan = video.outline(path, length)
    found = {number: video.part(path, plan, number) for number in order(range(video.parts(plan)))}
    return video.merged(path, plan, [found[number] for number in sorted(found)])


@pytest.mark.parametrize("name", [*CLIPS, *DERIVED])
@pytest.mark.parametrize("fps", [None, Fraction(1), Fraction(4), NTSC])
def test_segments_hold_the_frames_of_a_sequential_decode(clips, name, fps):
    path, everything, found = clips[name]
    with opened(path) as video:
        time_base = Fraction(video.stream.time_base)
    sampler = TimeSampler(fps)
    wanted = [frame for frame in everything if sampler(frame.index, frame.pts, time_base)]
    parts = segments(found["segment_pts"], found["segment_index"])
    assert len(parts) >= 3
    got = [frame for part in parts for frame in read_segment(path, part, fps)]
    assert [(frame.index, frame.pts) for frame in got] == [(frame.index, frame.pts) for frame in wanted]
    assert all(np.array_equal(one.rgb, other.rgb) for one, other in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", [*CLIPS, *DERIVED])
def test_each_segment_alone_begins_where_the_catalog_says(clips, name):
    path, everything, found = clips[name]
    pts = [frame.pts for frame in everything]
    assert found["pts"] == pts and found["segment_pts"] == [pts[index] for index in found["segment_index"]]
    part = segments(found["segment_pts"], found["segment_index"])[1]
    first = next(read_segment(path, part, None))
    assert (first.index, first.pts) == (found["segment_index"][1], found["segment_pts"][1])
    assert np.array_equal(first.rgb, everything[first.index].rgb)


def test_few_frames_cost_few_packets(clips):
    """One frame per second of a recorder's stream: most of it is never sent to the decoder."""
    path, _, _ = clips["recorder.mpg"]
    with opened(path) as video:
        packets = Packets.of(video.container.demux(video.stream))
    chosen = sample_indices(packets.times(), Fraction(1, 90000), Fraction(1))
    positions = np.searchsorted(packets.times(), packets.pts)
    ranges = packets.stretches(np.flatnonzero(np.isin(positions, chosen)))
    assert len(chosen) == 3 and sum(end - begin for begin, end in ranges) <= 12


GOPS = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=4)), min_size=1, max_size=8)


@st.composite
def streams(draw):
    """Packets of made-up groups of pictures: each key frame with leading frames (if open), then P-frames with B's."""
    order, key, shown = [], [], 0
    for number, (leading, followers) in enumerate(draw(GOPS)):
        for first, before in enumerate([leading if number else 0, *followers]):
            order += [shown + before, *range(shown, shown + before)]  # the reference, then what is shown before it
            key += [first == 0] + [False] * before
            shown += before + 1
    ticks = np.cumsum(draw(st.lists(st.integers(1, 50), min_size=shown, max_size=shown)))
    return Packets(ticks[order], np.array(key), np.ones(shown, bool))


@given(streams(), st.randoms())
def test_stretches_hold_what_the_wanted_frames_need(packets, random):
    wanted = np.array(sorted(random.sample(range(len(packets.pts)), random.randint(1, len(packets.pts)))))
    ranges = packets.stretches(wanted)
    keys = np.flatnonzero(packets.key)
    assert packets.entries().tolist() == keys.tolist()
    assert all(begin in keys for begin, _ in ranges)
    assert all(end < begin for (_, end), (begin, _) in zip(ranges, ranges[1:], strict=False))
    for position in wanted:
        begin, end = next(pair for pair in ranges if pair[0] <= position < pair[1])
        last_key = max(key for key in keys if key <= position)
        leading = packets.pts[position] < packets.pts[last_key]
        assert begin <= (max(key for key in keys if key < last_key) if leading else last_key)
    assert {end - 1 for _, end in ranges} <= set(wanted.tolist())


@given(streams(), st.integers(1, 12))
def test_cuts_are_at_key_frames_far_enough_apart(packets, length):
    starts, indices = cut(packets, length)
    times = packets.times().tolist()
    assert [times[index] for index in indices] == starts and indices[0] == 0
    assert all(b - a >= length for a, b in zip(indices, indices[1:], strict=False))
    assert set(starts) <= set(packets.pts[packets.key].tolist())


@given(
    st.lists(st.integers(1, 400), min_size=2, max_size=80).map(lambda gaps: np.cumsum(gaps).tolist()),
    st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 25), Fraction(1001, 30000)]),
    st.one_of(st.none(), st.builds(Fraction, st.integers(1, 120), st.integers(1, 1001))),
    st.data(),
)
def test_a_sampler_resumed_anywhere_chooses_the_same(pts, time_base, fps, data):
    at = data.draw(st.integers(0, len(pts)))
    sampler = TimeSampler.resumed(fps, pts[0], pts[max(0, at - 2) : at], time_base)
    rest = [index for index in range(at, len(pts)) if sampler(index, pts[index], time_base)]
    assert rest == [index for index in sample_indices(pts, time_base, fps) if index >= at]


def test_what_cannot_be_decoded_in_parts_is_told(tmp_path):
    def of(pts, key):
        return Packets(np.array(pts), np.array(key, bool), np.ones(len(pts), bool))

    with pytest.raises(Unseekable, match="same time stamp"):
        cut(of([0, 1, 1], [1, 0, 0]))
    with pytest.raises(Unseekable, match="begin with a key frame"):
        cut(of([0, 1, 2], [0, 1, 0]))
    # The frame at 2 is shown before the key frame at 3, but two packets behind it: decoding cannot begin there.
    assert cut(of([0, 1, 3, 4, 2, 5], [1, 0, 1, 0, 0, 1]), 1) == ([0, 5], [0, 5])
    path = write_clip(tmp_path / "a.mp4", 40, g="12")
    with pytest.raises(Unseekable, match="no key frame at 7"):
        list(read_segment(path, Segment(20, 7, None, 0, 0), None))


def test_a_key_frame_that_breaks_its_promise_in_midst_costs_time_but_no_frame(clips, monkeypatch):
    """A frame that does not come from its key frame: the segment is decoded whole, and nothing is given twice."""
    path, everything, found = clips["b-frames.mp4"]
    calls = []

    def failing(video, start, packets, wanted):
        calls.append(len(wanted))
        for number, frame in enumerate(decode(video, start, packets, wanted)):
            if len(calls) == 1 and number == 2:
                raise Unseekable("made up")
            yield frame

    monkeypatch.setattr("components.core.segments.decode", failing)
    part = Segment(0, found["pts"][0], None, found["pts"][0], None)
    got = list(read_segment(path, part, Fraction(4)))
    assert [frame.index for frame in got] == sample_indices(found["pts"], Fraction(1, 30000), Fraction(4))
    assert len(calls) == 2 and all(np.array_equal(frame.rgb, everything[frame.index].rgb) for frame in got)
