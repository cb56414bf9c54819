"""A tracker's state: goes on to the last bit from any frame, through JSON, and is refused where it is none."""

import json
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.core.recipe import Tracker as TrackerParams
from components.tracks.tracker import Tracker

FRAMES = 60
PARAMS = TrackerParams(lost_frames=6)


@cache
def frames(seed, embedded):
    """Detections of people who come, go, hide, and are found with changing scores, at uneven times."""
    rng = np.random.default_rng(seed)
    looks, starts = rng.normal(size=(8, 16)), rng.integers(0, FRAMES - 10, 8)
    made = []
    for frame in range(FRAMES):
        here = [k for k in range(8) if starts[k] <= frame < starts[k] + 30 and rng.random() < 0.8]
        corners = np.array([[80.0 * k + 4 * (frame - starts[k]), 60 + 5 * k] for k in here]).reshape(-1, 2)
        corners += rng.normal(0, 1, corners.shape)
        boxes = np.concatenate((corners, corners + [40, 100]), axis=1)
        embeddings = looks[here] + rng.normal(0, 0.3, (len(here), 16)) if embedded else None
        dt = float(rng.choice([0.5, 1.0, 1.0, 2.5]))
        made.append((boxes, rng.uniform(0.05, 1, len(here)), np.array(here, int) % 2, embeddings, dt))
    return made


def told(tracker, some):
    """What a tracker says of these frames, to the last bit."""
    return [[(*one[:3], one.box.tobytes(), one.row) for one in tracker.update(*frame)] for frame in some]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 5), cut=st.integers(0, FRAMES), embedded=st.booleans())
def test_a_restored_tracker_goes_on_bit_by_bit(seed, cut, embedded):
    given_frames = frames(seed, embedded)
    whole = Tracker(PARAMS)
    told(whole, given_frames[:cut])
    restored = Tracker.restore(PARAMS, json.loads(json.dumps(whole.state(), allow_nan=False)))
    assert restored.state() == whole.state()
    assert told(restored, given_frames[cut:]) == told(whole, given_frames[cut:])
    assert restored.state() == whole.state()


def test_the_frames_of_these_tests_have_tracks_of_every_sort():
    tracker, lost, unconfirmed, shown = Tracker(PARAMS), 0, 0, set()
    for frame in frames(0, True):
        shown |= {one.track_id for one in tracker.update(*frame)}
        rows = tracker.state()["tracks"]
        lost += sum(row["age"] > 0 for row in rows)
        unconfirmed += sum(not row["confirmed"] for row in rows)
    assert lost > 5 and unconfirmed > 5 and len(shown) > 5


def test_asking_for_the_state_changes_nothing_and_the_state_does_not_change_afterwards():
    asked, silent = Tracker(PARAMS), Tracker(PARAMS)
    for frame in frames(1, True):
        state = asked.state()
        text = json.dumps(state)
        assert told(asked, [frame]) == told(silent, [frame])
        assert json.dumps(state) == text


def test_an_unused_tracker_has_a_state_too():
    restored = Tracker.restore(PARAMS, Tracker(PARAMS).state())
    assert told(restored, frames(2, True)) == told(Tracker(PARAMS), frames(2, True))


@pytest.mark.parametrize("seed", range(8))
def test_boxes_and_times_of_all_sizes_leave_a_sound_state(seed):
    rng = np.random.default_rng(seed)
    tracker = Tracker(TrackerParams(lost_frames=float(rng.choice([0, 30, 100_000]))))
    with np.errstate(all="raise", under="ignore"):
        for _ in range(25):
            count = int(rng.integers(0, 5))
            corners = rng.uniform(-1, 1, (count, 2)) * 10.0 ** rng.uniform(-3, 5.9, (count, 1))
            boxes = np.concatenate((corners, corners + 10.0 ** rng.uniform(-2.9, 5, (count, 2))), axis=1)
            embeddings = rng.normal(size=(count, 4)) * rng.choice([0, 1e-200, 1, 1e37])
            step = 10.0 ** rng.uniform(-9, 5) if rng.random() < 0.3 else 1.0
            tracker.update(boxes, rng.random(count), rng.integers(0, 2, count), embeddings, step)
            tracker = Tracker.restore(tracker.params, json.loads(json.dumps(tracker.state(), allow_nan=False)))


def used():
    """A state with tracks in it."""
    tracker = Tracker(PARAMS)
    told(tracker, frames(0, True)[:30])
    state = json.loads(json.dumps(tracker.state()))
    assert len(state["tracks"]) >= 2
    return state


def put(*path):
    """A change of the state: the value at a path, the last of `path`."""
    *keys, last, value = path

    def change(state):
        place = state
        for key in keys:
            place = place[key]
        place[last] = value

    return change


def drop(*path):
    """A change of the state: what is at a path is gone."""
    *keys, last = path

    def change(state):
        place = state
        for key in keys:
            place = place[key]
        del place[last]

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop("next_id"), "not a mapping of"),
        (put("more", 1), "not a mapping of"),
        (put("format", 2), "format 2, this reader knows 1"),
        (put("format", "1"), "format is not a whole number"),
        (put("next_id", 1), "next_id is no new id"),
        (put("next_id", 1e3), "next_id is not a whole number"),
        (put("next_id", 10**30), "next_id is out of range"),
        (put("first", 0), "first is neither"),
        (put("dimension", -1), "dimension -1"),
        (put("dimension", 10**9), "dimension 1000000000"),
        (put("dimension", 15), r"tracks\[0\].embedding is not a list of 15"),
        (put("tracks", {}), "tracks is not a list"),
        (put("tracks", 0, []), r"tracks\[0\] is not a mapping"),
        (drop("tracks", 1, "age"), r"tracks\[1\] is not a mapping"),
        (put("tracks", 0, "id", 0), "ids do not rise"),
        (put("tracks", 1, "id", 1), "ids do not rise"),
        (put("tracks", 0, "id", True), r"tracks\[0\].id is not a whole number"),
        (put("tracks", 0, "kind", 1.0), r"tracks\[0\].kind is not a whole number"),
        (put("tracks", 0, "confirmed", 1), r"tracks\[0\].confirmed is neither"),
        (put("tracks", 0, "hits", 0), r"tracks\[0\].hits is below 1"),
        (put("tracks", 1, "age", -0.5), r"tracks\[1\].age is below 0"),
        (put("tracks", 1, "span", None), r"tracks\[1\].span is not a number"),
        (put("tracks", 1, "score", float("nan")), r"tracks\[1\].score is out of range"),
        (put("tracks", 1, "height", 0), r"tracks\[1\].height is below"),
        (put("tracks", 0, "mean", [0.0] * 7), r"tracks\[0\].mean is not a list of 8"),
        (put("tracks", 0, "mean", 3, "12"), r"tracks\[0\].mean\[3\] is not a number"),
        (put("tracks", 0, "mean", 3, float("inf")), r"tracks\[0\].mean\[3\] is out of range"),
        (put("tracks", 0, "covariance", 2, [0.0]), r"tracks\[0\].covariance\[2\] is not a list of 8"),
        (put("tracks", 0, "covariance", 2, 2, -1.0), "covariance .* positive definite"),
        (put("tracks", 0, "covariance", 0, 4, 1e9), "covariance .* symmetric"),
        (put("tracks", 0, "embedding", 0, 10**400), r"tracks\[0\].embedding\[0\] is out of range"),
    ],
)
def test_a_state_that_is_none_is_refused_by_what_is_wrong(change, named):
    state = used()
    change(state)
    with pytest.raises(SightlineError, match=named) as refused:
        Tracker.restore(PARAMS, state)
    assert refused.value.remedy


@pytest.mark.parametrize("state", [None, [], "state", 3, {}])
def test_what_is_no_mapping_is_no_state(state):
    with pytest.raises(SightlineError, match="not a mapping"):
        Tracker.restore(PARAMS, state)
