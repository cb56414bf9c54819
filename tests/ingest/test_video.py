"""A video's record: the same from its segments, in whatever order they are looked at, as from a sequential decode."""

import json

import numpy as np
import pytest

from components.core import media
from components.ingest import video
from tests.footage import write_clip

CLIPS = {
    "a.mp4": {"g": "12", "bf": "3"},
    "b.mpg": {"codec": "mpeg2video", "g": "12", "bf": "2", "size": (160, 120)},
    "c.mkv": {"g": "12"},
}
MINE = {"segment_pts", "segment_index"}


def looked_at(path, length, backwards=False):
    """(facts, what each part found), with every value as it comes back from another process."""
    plan = json.loads(json.dumps(video.outline(path, length)))
    numbers = range(video.parts(plan))
    found = {number: video.part(path, plan, number) for number in (reversed(numbers) if backwards else numbers)}
    found = [json.loads(json.dumps(found[number])) for number in numbers]
    return video.merged(path, plan, found), found


def sequential(path):
    return {name: value for name, value in video.merged(path, None, []).items() if name not in MINE}


@pytest.mark.parametrize("name", CLIPS)
def test_the_parts_make_the_record_of_the_whole(tmp_path, name):
    path = write_clip(tmp_path / name, 100, **CLIPS[name])
    whole, (in_one, _) = sequential(path), looked_at(path, 3000)
    for found in (in_one, looked_at(path, 30)[0], looked_at(path, 30, backwards=True)[0], video.facts(path)):
        assert {field: value for field, value in found.items() if field not in MINE} == whole
    assert len(looked_at(path, 30)[0]["segment_pts"]) == 3 and len(in_one["segment_pts"]) == 1
    assert video.facts(path) == in_one


def test_statistics_come_from_all_over_the_video(tmp_path):
    """Transport streams declare no number of frames: the packets are counted."""
    path = write_clip(tmp_path / "a.ts", 400, g="12")
    spread = [frame.rgb for frame in media.read_frames(path)][::25]
    means = np.mean([(*media.statistics(rgb), media.saturation(rgb)) for rgb in spread], axis=0)
    assert len(spread) == media.STATISTICS_FRAMES
    assert [video.facts(path)[name] for name in video.FIGURES] == means.tolist()


def test_key_frames_that_break_their_promise_are_found_out(tmp_path):
    """Intra refresh: what is marked as a key frame depends on frames before it. The packets look well."""
    path = write_clip(tmp_path / "a.mp4", 100, **{"x264-params": "intra-refresh=1:keyint=20"})
    for length in (3000, 30):
        assert video.parts(video.outline(path, length)) >= 1
        facts, found = looked_at(path, length)
        assert any("unseekable" in one for one in found)
        assert facts["segment_pts"] is None and facts["segment_index"] is None
        assert {field: value for field, value in facts.items() if field not in MINE} == sequential(path)


def test_a_cut_whose_sides_differ_is_found_out(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 100, g="12", bf="3")
    plan = video.outline(path, 30)
    found = [video.part(path, plan, number) for number in range(video.parts(plan))]
    assert all(
        len(one["head"].keys() & before["tail"].keys()) >= 2 for before, one in zip(found, found[1:], strict=False)
    )
    start = str(plan["segment_pts"][1])
    assert video.merged(path, plan, found)["segment_pts"] == plan["segment_pts"]
    found[1]["head"][start] ^= 1
    assert video.merged(path, plan, found)["segment_pts"] is None


def test_a_part_that_is_not_as_outlined_is_told(tmp_path):
    path = write_clip(tmp_path / "a.mp4", 100, g="12")
    plan = video.outline(path, 30)
    assert video.part(path, plan | {"digests": ["0"] * 3}, 1) == {
        "unseekable": "its frames are not those that the packets name"
    }
    assert "no key frame" in video.part(path, plan | {"segment_pts": [0, 7, 8]}, 1)["unseekable"]


@pytest.mark.parametrize("damage", ["patched", "cut", "bare"])
def test_what_is_damaged_or_bare_is_decoded_whole(tmp_path, damage):
    """Reasons and counts of damaged frames are those of a sequential decode."""
    if damage == "bare":
        path = write_clip(tmp_path / "a.m1v", 60, "mpeg1video", g="12")
        assert video.outline(path) is None
    else:
        path = write_clip(tmp_path / ("a.mp4" if damage == "patched" else "a.ts"), 60, g="30", size=(160, 120))
        content = bytearray(path.read_bytes())
        if damage == "patched":
            at = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 3
            content[at : at + 40] = bytes(range(40))
        else:  # it begins in the midst of a group of pictures
            content = content[188 * (len(content) // 188 // 3) :]
        path.write_bytes(content)
    facts, _ = looked_at(path, 30)
    assert facts["segment_pts"] is None
    assert facts == video._whole(path)
    assert (damage != "patched") or "frames are damaged" in facts["reason"]
    assert np.all(np.diff(facts["pts"]) > 0)
