"""What the truth promises, over many seeds, without drawing: labels follow activities, boxes lie in the picture."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.scenes import SceneSpec, clip_specs, clip_truth
from components.scenes.backgrounds import BACKGROUNDS, TEST_BACKGROUNDS
from components.scenes.bags import ABANDONED_AT
from components.scenes.camera import CAMERAS, NIGHT, TEST_CAMERAS, camera
from components.scenes.render import render_clip
from components.scenes.spec import SPLITS, VARIANTS
from components.scenes.truth import ACTIVITIES, SUSPICIOUS, Staging

clips = st.builds(
    lambda seed, i, seconds: clip_specs(SceneSpec(seed, i + 1, 0, 0, seconds))[i],
    st.integers(0, 2**63 - 1),
    st.integers(0, 17),
    st.sampled_from([1.0, 5.5, 8.0, 11.0]),
)


@settings(max_examples=40, deadline=None)
@given(clips)
def test_labels_follow_activities_and_boxes_lie_in_the_picture(clip):
    truth = clip_truth(clip)
    assert [frame.frame_index for frame in truth] == list(range(clip.frames))
    for frame in truth:
        doing = {person[5] for person in frame.people}
        assert doing <= ACTIVITIES
        left = any(thing[6] for thing in frame.objects)
        assert frame.suspicious == bool(doing & SUSPICIOUS or left)
        assert not any(thing[6] for thing in frame.objects if thing[0] in frame.carried)
        ids = [row[0] for row in (*frame.people, *frame.objects)]
        assert len(ids) == len(set(ids))
        for x, y, w, h in [p[1:5] for p in frame.people] + [o[2:6] for o in frame.objects]:
            assert x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= clip.width and y + h <= clip.height


@settings(max_examples=25, deadline=None)
@given(clips)
def test_nobody_jumps_or_sinks_into_the_floor(clip):
    """A person moves at most at a sprinter's pace, and no joint lies below the floor."""
    for track in Staging(clip).cast.people:
        assert np.hypot(*np.diff(track.xy, axis=0).T).max() * float(clip.fps) < 11
        assert track.joints[..., 2].min() > -1e-6
        assert np.isfinite(track.joints).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**63 - 1))
def test_a_bag_is_abandoned_from_when_its_owner_is_away_until_it_is_taken_up(seed):
    """The states are worked out again here from where owner and bag are."""
    clip = next(c for c in clip_specs(SceneSpec(seed, 18, 0, 0)) if (c.scenario, c.variant) == ("bag", "returned"))
    cast = Staging(clip).cast
    owners = [track for track in cast.people if not track.carrying.all() and track.carrying.any()]
    owner, bag = owners[0], cast.bags[0]
    away = np.hypot(*(owner.xy - bag.base[:, :2]).T) > ABANDONED_AT
    expected, abandoned = [], False
    for carrying, far in zip(owner.carrying, away, strict=True):
        abandoned = not carrying and (abandoned or far)
        expected.append("carried" if carrying else "abandoned" if abandoned else "attended")
    assert bag.state.tolist() == expected
    assert Counter(expected)["abandoned"] > 0 and expected[-1] == "carried"


def test_what_each_variant_shows():
    """Suspicious variants are suspicious in part of every clip, the others never; in all, 15 to 35 % of the frames."""
    never = {"stroll", "hurry", "tie", "rest", "meet", "together", "split", "kept", "shelf", "low", "bag"}
    share = []
    for clip in clip_specs(SceneSpec(3, 36, 0, 18)):
        labels = [frame.suspicious for frame in clip_truth(clip)]
        share.append(np.mean(labels))
        assert any(labels) == (clip.variant not in never), clip.clip_id
        assert not all(labels), clip.clip_id
    assert 0.15 < np.mean(share) < 0.35


def test_the_main_event_can_be_seen():
    """The ones who fight, fall or lie are inside the picture and at least 35 of 288 lines long."""
    for clip in clip_specs(SceneSpec(4, 36, 0, 18)):
        sizes = [
            max(person[3], person[4]) * 288 / clip.height
            for frame in clip_truth(clip)
            for person in frame.people
            if person[5] in SUSPICIOUS
        ]
        assert not sizes or np.median(sizes) > 35, clip.clip_id


def test_a_longer_scene_begins_with_the_shorter_one():
    short, long = clip_specs(SceneSpec(5, 7, 2, 3)), clip_specs(SceneSpec(5, 30, 9, 12))
    assert all(clip in long for clip in short)
    assert {c.seed for c in short}.isdisjoint(c.seed for c in clip_specs(SceneSpec(6, 7, 2, 3)))
    assert len({clip.seed for clip in long}) == len(long) == len({clip.clip_id for clip in long})


def test_test_clips_have_cameras_and_backgrounds_of_their_own():
    by_split = {s: [c for c in clip_specs(SceneSpec(7, 48, 12, 24)) if c.split == s] for s in SPLITS}
    kinds = (("camera", TEST_CAMERAS, CAMERAS), ("background", TEST_BACKGROUNDS, BACKGROUNDS))
    for field, held_out, everything in kinds:
        seen = {split: {getattr(clip, field) for clip in rows} for split, rows in by_split.items()}
        assert seen["test"] == held_out
        assert seen["train"] == set(everything) - held_out
        assert seen["val"] <= seen["train"]


def test_scenarios_variants_and_codecs_are_balanced():
    rows = clip_specs(SceneSpec(8, 36, 0, 0))
    assert set(Counter((c.scenario, c.variant) for c in rows).values()) == {2}
    assert {(c.scenario, c.variant) for c in rows} == {(s, v) for s, variants in VARIANTS.items() for v in variants}
    assert Counter(c.codec for c in rows) == {"h264": 18, "mpeg2video": 18}
    assert {c.fps for c in rows} == {Fraction(25), Fraction(30000, 1001)}
    for field in ("camera", "background", "codec"):
        for value in {getattr(clip, field) for clip in rows}:  # no place or codec may give the scenario away
            assert len({clip.scenario for clip in rows if getattr(clip, field) == value}) >= 3


def test_the_rate_is_exact_and_the_length_follows_from_it():
    clip = next(c for c in clip_specs(SceneSpec(9, 12, 0, 0, 10.0)) if c.fps == Fraction(30000, 1001))
    assert clip.frames == 300
    assert clip.as_json()["fps"] == "30000/1001"


@pytest.mark.parametrize("field, value", [("seed", -1), ("train_clips", -2), ("seconds", 0.5), ("scale", 100)])
def test_a_value_out_of_range_is_refused_with_the_range(field, value):
    values = {"seed": 1, "train_clips": 1, "val_clips": 1, "test_clips": 1, field: value}
    with pytest.raises(SightlineError, match=field) as refused:
        SceneSpec(**values)
    assert refused.value.exit_code == 2 and refused.value.remedy


def test_by_night_the_same_things_happen_before_the_same_cameras():
    day, night = (clip_specs(SceneSpec(5, 6, 0, 2, night=dark)) for dark in (False, True))
    assert [c.camera + NIGHT for c in day] == [c.camera for c in night]
    assert [(c.seed, c.scenario, c.background, c.file_name) for c in day] == [
        (c.seed, c.scenario, c.background, c.file_name) for c in night
    ]
    one, other = camera("roof"), camera("roof-night")
    assert (one.focal, one.tilt, one.yaw) == (other.focal, other.tilt, other.yaw) and other.saturation == 0
    bright, dim = (next(render_clip(clip))[0] for clip in (day[0], night[0]))
    assert dim.mean() < 0.6 * bright.mean() and dim.std() < 0.5 * bright.std()
