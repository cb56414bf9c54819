"""The device sees and says what the service does of the same pictures and footage."""

import threading
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core import media
from components.edge.build import build
from components.edge.device.cameras import Video, source
from components.edge.device.model import Given, load
from components.edge.device.pace import Pace
from components.edge.device.pictures import decode, scaled
from components.edge.device.release import unpack
from components.edge.device.windows import windows
from tests.edge import making
from tests.footage import NTSC, picture, write_clip


@given(
    st.integers(1, 90), st.integers(1, 90), st.none() | st.integers(1, 90), st.integers(1, 60), st.integers(1, 60)
)  # fmt: skip
def test_scaling_is_that_of_the_frames_stage(height, width, side, to_height, to_width):
    rgb = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = media.resize(media.fit(rgb, side), to_height, to_width)
    assert np.array_equal(scaled(rgb, side, to_height, to_width), wanted)


def test_decoding_is_too():
    content = media.encode_jpeg(picture(3), 90)
    assert np.array_equal(decode(content), media.decode_picture(content))
    assert decode(b"no picture") is None and decode(b"") is None


@given(st.integers(0, 40), st.integers(0, 5))
def test_a_window_holds_what_there_is_on_either_side(count, reach):
    found = [(window[at], window) for window, at in windows(range(count), reach)]
    wanted = [(one, list(range(max(0, one - reach), min(count, one + reach + 1)))) for one in range(count)]
    assert found == wanted


def test_answers_are_those_of_the_service(root, unpacked):
    model = load(unpacked, "float32", 1)
    service = making.served(root / ".sightline" / "deployed" / making.RECIPE / "v3")
    pictures = [picture(seed, 150, 110) for seed in range(23)]
    assert model.context == 2 and not unpacked.manifest["moves"]
    frames = [model.prepare(rgb) for rgb in pictures]
    assert all(np.array_equal(one, service.prepare(rgb)) for one, rgb in zip(frames, pictures, strict=True))
    wanted = service.called(service.sequence(frames))
    sizes = [rgb.shape[:2] for rgb in pictures]
    found = list(model.answers(map(Given, frames, sizes)))
    assert [one["prediction"] for one in found] == [one["prediction"] for one in wanted]
    assert [one["score"] for one in found] == pytest.approx([one["score"] for one in wanted], abs=1e-6)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
@pytest.mark.parametrize("rate", [NTSC, Fraction(25)])
@pytest.mark.parametrize("fps", [None, "1", "10", "30000/1001"])
def test_a_file_is_sampled_as_in_the_frames_stage(tmp_path, name, rate, fps):
    path = write_clip(tmp_path / name, frames=60, rate=rate)
    wanted = Fraction(fps) if fps else None
    frames = list(media.read_frames(path, media.TimeSampler(wanted)))
    looks = list(Video(path, wanted).looks(threading.Event()))
    assert [look.number for look in looks] == [frame.index for frame in frames]
    apart = [np.abs(look.rgb.astype(int) - frame.rgb).mean() for look, frame in zip(looks, frames, strict=True)]
    assert max(apart) < 2  # of 255: two builds of FFmpeg convert colours


def test_pictures_are_sequences_of_their_own(tmp_path):
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(media.encode_jpeg(picture(number), 90))
    (tmp_path / "1.jpg").write_bytes(b"no picture")
    looks = list(source(str(tmp_path), None).looks(threading.Event()))
    assert [(look.name, look.sequence) for look in looks] == [("0.jpg", 0), ("2.jpg", 2)]


def test_motion_is_looked_at_frame_by_frame_as_over_the_whole(tmp_path, monkeypatch):
    """A recipe with motion and a temporal head: cut in two and fed one by one, it gives what the whole graph gives."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    recipe = making.champion(tmp_path, {"parts": ["mean", "max", "motion"]})
    build(recipe, tmp_path / "a.tar.gz", 0.5, int8=False)
    release = unpack(tmp_path / "a.tar.gz", tmp_path / "a")
    model = load(release, "float32", 1)
    assert release.manifest["moves"] and model.context == 3
    service = making.served(tmp_path / ".sightline" / "deployed" / making.RECIPE / "v3")
    for count in (1, 2, 3, 9):
        frames = [service.prepare(np.roll(picture(1), 2 * shift, axis=1)) for shift in range(count)]
        found = np.stack(list(model.probabilities(frames)))
        assert np.abs(found - service.sequence(frames)).max() < 1e-5


def test_frames_are_as_far_apart_as_they_are_beside_what_is_usual():
    """As the service has it of a file: a gap counts by its length, and what is usual is the median."""
    usual, known = Pace(), Pace(100.0)
    times = [0, 40, 80, 120, 160, 280, 320]
    assert [usual(time) for time in times] == [1, 1, 1, 1, 1, 3, 1]
    assert [known(time) for time in times] == pytest.approx([1, 0.4, 0.4, 0.4, 0.4, 1.2, 0.4])
