"""The tracker on scenes made by hand: who keeps an identity, who gets a new one, and what is refused."""

import gc

import numpy as np
import pytest
from pydantic import ValidationError

from components.core.errors import SightlineError
from components.core.recipe import Tracker as TrackerParams
from components.tracks.tracker import Tracked, Tracker

SIZE = np.array([40.0, 100.0])
LOOKS = np.eye(8)  # embeddings that have nothing in common


def box(x, y=200.0):
    """A standing person's box with its left upper corner there."""
    return [x, y, x + SIZE[0], y + SIZE[1]]


def show(tracker, boxes, scores=0.9, kinds=0, looks=None, dt=1.0):
    """One frame; a score or class for all or one each; `looks`: rows of LOOKS."""
    count = len(boxes)
    embeddings = None if looks is None else LOOKS[list(looks)].reshape(count, 8)
    scores, kinds = np.broadcast_to(scores, count), np.broadcast_to(np.array(kinds, np.int64), count)
    return tracker.update(np.reshape(boxes, (count, 4)), scores, kinds, embeddings, dt)


def ids(tracked):
    """Identity by row of the detection."""
    return {one.row: one.track_id for one in tracked}


def test_what_the_first_frame_shows_is_confirmed_at_once_and_what_comes_later_in_its_second():
    tracker = Tracker()
    assert ids(show(tracker, [box(0)])) == {0: 1}
    assert ids(show(tracker, [box(1), box(300)])) == {0: 1}
    assert ids(show(tracker, [box(2), box(301)])) == {0: 1, 1: 2}


def test_a_first_frame_without_objects_is_a_first_frame_too():
    tracker = Tracker()
    assert show(tracker, []) == []
    assert show(tracker, [box(0)]) == []
    assert ids(show(tracker, [box(0)])) == {0: 1}


@pytest.mark.parametrize("hits", [1, 2, 4])
def test_confirmed_after_as_many_frames_in_a_row_as_asked(hits):
    tracker = Tracker(TrackerParams(min_hits=hits))
    show(tracker, [])
    assert [bool(show(tracker, [box(0)])) for _ in range(6)] == [frame + 1 >= hits for frame in range(6)]


def test_a_flash_of_one_frame_is_never_shown_and_its_identity_never_used():
    tracker = Tracker()
    show(tracker, [box(0)])
    show(tracker, [box(0), box(500)])  # the flash: identity 2
    assert len(tracker) == 2
    show(tracker, [box(0)])
    assert len(tracker) == 1
    show(tracker, [box(0), box(800)])
    assert ids(show(tracker, [box(0), box(800)])) == {0: 1, 1: 3}


def test_what_is_told_of_a_track():
    tracker = Tracker()
    (one,) = show(tracker, [box(10)], scores=0.75, kinds=3)
    assert isinstance(one, Tracked)
    assert (one.track_id, one.kind, one.score, one.row) == (1, 3, 0.75, 0)
    assert one.box.dtype == np.float64
    np.testing.assert_allclose(one.box, box(10))


def test_identities_come_by_rising_number_with_the_row_of_each():
    tracker = Tracker()
    show(tracker, [box(0), box(200), box(400)])
    tracked = show(tracker, [box(400), box(0), box(200)])
    assert [(one.track_id, one.row) for one in tracked] == [(1, 1), (2, 2), (3, 0)]


@pytest.mark.parametrize("low_scores", [True, False])
def test_two_who_cross_keep_their_identities_by_their_looks(low_scores):
    tracker, rng = Tracker(TrackerParams(low_scores=low_scores)), np.random.default_rng(0)
    for frame in range(60):
        boxes = np.array([box(100 + 5 * frame), box(400 - 5 * frame)]) + rng.normal(0, 0.5, (2, 1))
        order = rng.permutation(2) if frame else np.arange(2)
        known = ids(show(tracker, boxes[order], looks=order))
        assert {int(order[row]): track_id for row, track_id in known.items()} == {0: 1, 1: 2}


def test_two_who_meet_and_turn_back_keep_their_identities_by_their_looks_only():
    """Motion alone takes them for passing through each other."""
    way = [*range(0, 150, 5), *range(150, -1, -5)]
    ends = []
    for looks in ([0, 1], None):
        tracker = Tracker()
        for x in way:
            tracked = show(tracker, [box(x), box(300 - x)], looks=looks)
        ends.append(ids(tracked))
    assert ends[0] == {0: 1, 1: 2}
    assert ends[1] == {0: 2, 1: 1}


def walk(hidden, params=None, looks=True, dt=1.0, speed=2.0):
    """Identities before and after somebody who walks is hidden for that many frames, another one standing by."""
    tracker, known = Tracker(params), set()
    for frame in range(10):
        known |= {ids(show(tracker, [box(speed * dt * frame), box(900)], looks=[0, 1] if looks else None, dt=dt))[0]}
    for _ in range(hidden):
        show(tracker, [box(900)], looks=[1] if looks else None, dt=dt)
    after = []
    for frame in range(10 + hidden, 13 + hidden):
        seen = ids(show(tracker, [box(speed * dt * frame), box(900)], looks=[0, 1] if looks else None, dt=dt))
        after.append(seen.get(0))
        assert seen[1] == 2
    assert known == {1}
    return after


@pytest.mark.parametrize("looks", [True, False])
@pytest.mark.parametrize("hidden", [1, 10, 30])
def test_who_was_hidden_for_no_longer_than_lost_frames_keeps_the_identity(hidden, looks):
    assert walk(hidden, looks=looks) == [1, 1, 1]


@pytest.mark.parametrize("looks", [True, False])
def test_who_was_hidden_for_longer_gets_a_new_one(looks):
    assert walk(31, looks=looks) == [None, 3, 3]
    assert walk(4, TrackerParams(lost_frames=3), looks=looks) == [None, 3, 3]


def test_lost_frames_are_of_time_and_not_of_calls():
    assert walk(14, dt=2.0) == [1, 1, 1]  # 15 intervals of 2: 30, of which the last ends with being seen
    assert walk(16, dt=2.0) == [None, 3, 3]
    assert walk(60, dt=0.5) == [1, 1, 1]


def test_after_a_gap_beyond_lost_frames_everybody_is_new():
    tracker = Tracker()
    for _ in range(3):
        show(tracker, [box(0)], looks=[0])
    assert show(tracker, [box(0)], looks=[0], dt=1000.0) == []
    assert ids(show(tracker, [box(0)], looks=[0])) == {0: 2}
    assert len(tracker) == 1


def test_a_step_of_time_moves_what_is_expected():
    def after(dt):
        tracker = Tracker()
        for frame in range(20):
            show(tracker, [box(10.0 * frame)])
        return ids(show(tracker, [box(10.0 * 24)], dt=dt))

    assert after(5.0) == {0: 1}
    assert after(1.0) == {}


def test_low_scores_hold_a_track_that_is_lost_without_them():
    def seen(low_scores):
        tracker = Tracker(TrackerParams(low_scores=low_scores, lost_frames=5))
        frames = [0.9] * 5 + [0.2] * 10 + [0.9] * 3
        return [ids(show(tracker, [box(2.0 * x)], score, looks=[0])).get(0) for x, score in enumerate(frames)]

    assert seen(True) == [1] * 18
    assert seen(False) == [1] * 5 + [None] * 11 + [2, 2]


def test_scores_below_the_low_one_hold_nothing_and_low_ones_begin_nothing():
    tracker = Tracker()
    show(tracker, [box(0)])
    assert show(tracker, [box(0)], 0.09) == []
    tracker = Tracker()
    for _ in range(5):
        assert show(tracker, [box(0)], 0.39) == []
    assert len(tracker) == 0


def test_a_score_between_high_and_new_holds_a_track_but_begins_none():
    tracker = Tracker()
    show(tracker, [box(0)])
    assert ids(show(tracker, [box(1), box(300)], 0.45)) == {0: 1}
    assert len(tracker) == 1


def test_low_scores_leave_the_looks_of_a_track_alone():
    tracker = Tracker()
    show(tracker, [box(0)], looks=[0])
    assert ids(show(tracker, [box(0)], 0.2, looks=[1])) == {0: 1}
    assert tracker.state()["tracks"][0]["embedding"] == LOOKS[0].tolist()


def test_looks_are_smoothed_by_momentum_and_stay_of_length_1():
    tracker = Tracker(TrackerParams(momentum=0.9))
    show(tracker, [box(0)], looks=[0])
    show(tracker, [box(0)], looks=[1])  # second association, by IoU
    smoothed = np.array(tracker.state()["tracks"][0]["embedding"])
    np.testing.assert_allclose(smoothed[:2], np.array([0.9, 0.1]) / np.hypot(0.9, 0.1))
    assert np.linalg.norm(smoothed) == pytest.approx(1)


def test_looks_count_only_where_the_parameters_say_so():
    swapped = [ids(show(tracker, [box(0), box(15)], looks=[1, 0])) for tracker in both_beside()]
    assert swapped == [{0: 2, 1: 1}, {0: 1, 1: 2}]


def both_beside():
    """A tracker with and one without appearance, two people close together in both."""
    for appearance in (True, False):
        tracker = Tracker(TrackerParams(appearance=appearance))
        show(tracker, [box(0), box(15)], looks=[0, 1])
        yield tracker


def test_frames_with_and_without_embeddings_can_follow_each_other():
    tracker = Tracker()
    for looks in (None, [0], None, [0], [0]):
        assert ids(show(tracker, [box(0)], looks=looks)) == {0: 1}
    assert tracker.state()["tracks"][0]["embedding"] == LOOKS[0].tolist()


def test_tracks_of_different_classes_never_mix():
    tracker = Tracker(TrackerParams(duplicate_distance=0))
    for _ in range(3):
        assert ids(show(tracker, [box(0)], kinds=1, looks=[0])) == {0: 1}
    assert ids(show(tracker, [box(0)], kinds=2, looks=[0])) == {}
    assert ids(show(tracker, [box(0), box(0)], kinds=[2, 1], looks=[0, 0])) == {0: 2, 1: 1}
    show(tracker, [box(0)], 0.2, kinds=3)
    assert ids(show(tracker, [box(0), box(0)], kinds=[2, 1], looks=[0, 0])) == {0: 2, 1: 1}


def test_a_newcomer_in_the_very_place_of_a_lost_track_waits_unless_told_otherwise():
    def after(distance):
        tracker = Tracker(TrackerParams(duplicate_distance=distance))
        show(tracker, [box(0)], looks=[0])
        show(tracker, [box(0)], looks=[0])
        show(tracker, [])
        show(tracker, [box(0)], looks=[1])
        return ids(show(tracker, [box(0)], looks=[1]))

    assert after(0.15) == {}
    assert after(0.0) == {0: 2}


def test_identities_rise_and_are_never_used_again():
    tracker, rng, born, alive = Tracker(TrackerParams(lost_frames=3)), np.random.default_rng(3), [], set()
    for frame in range(400):
        places = [box(120.0 * lane) for lane in range(8) if (frame // (5 + lane)) % 2 == 0 and rng.random() < 0.9]
        now = {one.track_id for one in show(tracker, places)}
        born += sorted(now - set(born))
        gone = set(born) - {row["id"] for row in tracker.state()["tracks"]}
        assert not gone & now
        alive |= gone
    assert len(born) == len(set(born)) > 100 and min(born) == 1
    assert tracker.state()["next_id"] > max(born)


def test_the_same_frames_give_the_same_tracks():
    def run():
        tracker, rng = Tracker(), np.random.default_rng(8)
        out = []
        for frame in range(50):
            boxes = np.array([box(100.0 * lane + frame) for lane in range(6)]) + rng.normal(0, 2, (6, 1))
            for one in tracker.update(boxes, rng.random(6), np.zeros(6, int), rng.normal(size=(6, 4)) + LOOKS[:6, :4]):
                out.append((frame, one.track_id, one.row, one.score, one.box.tobytes()))
        return out

    assert run() == run()


def test_memory_stays_flat_over_20000_frames_of_constantly_appearing_objects():
    """Somebody new comes every third frame, is seen in two and then never again."""
    tracker, sizes, objects = Tracker(TrackerParams(lost_frames=6)), [], []
    scores, kinds = np.array([0.9]), np.array([0])
    nothing = np.zeros((0, 4))
    tracker.update(nothing, scores[:0], kinds[:0])
    for frame in range(20_000):
        boxes = np.array([box(50.0 * (frame // 3 * 37 % 97))]) if frame % 3 != 2 else nothing
        tracker.update(boxes, scores[: len(boxes)], kinds[: len(boxes)])
        sizes.append(len(tracker))
        if frame % 4000 == 3999:
            gc.collect()
            objects.append(len(gc.get_objects()))
    assert tracker.state()["next_id"] > 5000
    assert 3 <= max(sizes) <= 4 and max(sizes[:2000]) == max(sizes[-2000:])
    assert {len(value) for value in vars(tracker._tracks).values()} == {len(tracker)}
    assert abs(objects[-1] - objects[1]) < 50, "objects pile up"


@pytest.mark.parametrize("dt", [0, -1.0, float("nan"), float("inf"), 10**400, 1j, "1", None, True])
def test_time_that_does_not_go_on_is_refused(dt):
    with pytest.raises(SightlineError, match="dt"):
        show(Tracker(), [box(0)], dt=dt)


GOOD = dict(boxes=[box(0), box(100)], scores=[0.9, 0.9], classes=[0, 0], embeddings=LOOKS[:2])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"boxes": [box(0), [10, 10, 5, 20]]}, r"detection 1: .*beyond left and top"),
        ({"boxes": [[10, 30, 20, 20], box(0)]}, r"detection 0: .*beyond left and top"),
        ({"boxes": [box(0), [10, 10, 10, 20]]}, r"detection 1: .*beyond left and top"),
        ({"boxes": [box(0), [10, float("nan"), 20, 20]]}, r"detection 1: .*not finite"),
        ({"boxes": [box(0), [10, 10, float("inf"), 20]]}, r"detection 1: .*not finite"),
        ({"boxes": [box(0), [0, 0, 1e300, 1e300]]}, r"detection 1: .*beyond all pictures"),
        ({"scores": [float("nan"), 0.5]}, r"detection 0: .*not finite"),
        ({"scores": [0.5]}, "do not belong together"),
        ({"scores": [[0.5], [0.5]]}, "do not belong together"),
        ({"boxes": [[1, 2, 3], [1, 2, 3]]}, "do not belong together"),
        ({"boxes": [[1, 2, 3], [1, 2]]}, "not arrays of numbers"),
        ({"boxes": "here"}, "not arrays of numbers"),
        ({"boxes": []}, "do not belong together"),
        ({"classes": [0.0, 1.0]}, "not whole numbers"),
        ({"classes": [True, False]}, "not whole numbers"),
        ({"classes": [0, 1, 2]}, "do not belong together"),
        ({"embeddings": LOOKS[:1]}, r"embeddings \(1, 8\) of 2 boxes"),
        ({"embeddings": LOOKS[0]}, r"embeddings \(8,\) of 2 boxes"),
        ({"embeddings": np.zeros((2, 0))}, r"embeddings \(2, 0\) of 2 boxes"),
        ({"embeddings": LOOKS[:2, :5]}, "embeddings of 5 numbers, 8 in earlier frames"),
        ({"embeddings": np.full((2, 8), float("inf"))}, "detection 0: its embedding is not finite"),
    ],
)
def test_detections_that_cannot_be_are_refused_and_change_nothing(change, named):
    tracker = Tracker()
    for _ in range(3):
        tracker.update(**GOOD)
    tracker.update(GOOD["boxes"][:1], [0.9], [0], LOOKS[:1])
    before = tracker.state()
    with pytest.raises(SightlineError, match=named) as refused:
        tracker.update(**GOOD | change)
    assert refused.value.remedy
    assert tracker.state() == before
    assert ids(tracker.update(**GOOD)) == {0: 1, 1: 2}


def test_later_changes_of_what_was_given_do_not_reach_the_tracker():
    tracker = Tracker()
    boxes, scores, kinds, looks = np.array([box(0)]), np.array([0.9]), np.array([1]), LOOKS[:1].copy()
    (one,) = tracker.update(boxes, scores, kinds, looks)
    before = tracker.state()
    for given in (boxes, scores, kinds, looks, one.box):
        given[...] = 77
    assert tracker.state() == before


@pytest.mark.parametrize(
    "change",
    [
        {"high_score": 1.5}, {"low_score": -0.1}, {"low_score": 0.6}, {"new_score": float("nan")}, {"low_scores": 2},
        {"appearance": None}, {"appearance_distance": 2.1}, {"iou_distance": "x"}, {"momentum": -1},
        {"lost_frames": -1}, {"lost_frames": float("inf")}, {"min_hits": 0}, {"min_hits": 1.5},
    ],
)  # fmt: skip
def test_parameters_out_of_range_are_refused_by_name(change):
    with pytest.raises(ValidationError, match=next(iter(change))):
        TrackerParams(**change)


def test_parameters_have_the_published_values_unless_given():
    assert TrackerParams().model_dump(exclude={"tuned"}) == {
        "high_score": 0.4, "low_score": 0.1, "new_score": 0.5, "low_scores": True, "appearance": True,
        "appearance_distance": 0.4, "motion_distance": 0.8, "iou_distance": 0.5, "low_iou_distance": 0.5,
        "unconfirmed_iou_distance": 0.7, "duplicate_distance": 0.15, "lost_frames": 30, "momentum": 0.9, "min_hits": 2,
    }  # fmt: skip
