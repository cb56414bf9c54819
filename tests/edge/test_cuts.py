"""kill -9 at random instants of the runner and the receiver: nothing is lost, doubled, or scored otherwise."""

from bench.edge import cuts, write_clip

POINTS = 8


def test_every_frame_arrives_once_whatever_is_killed(unpacked, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=200, size=(64, 48))
    found = cuts(unpacked, clip, POINTS, 1, tmp_path)
    assert found["cuts"] == POINTS
    assert found["wanted"] == found["came"] == 200 * found["clips"]
    assert not (found["missing"] or found["doubled"] or found["altered"]), found
