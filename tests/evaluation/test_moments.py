"""Ranked moments, against what they promise."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation.moments import peaks, ranked_moments

level = st.integers(0, 6).map(lambda n: n / 6)  # few levels, so that plateaus and ties are common
track = st.lists(st.tuples(st.floats(0.01, 2.0), level), min_size=1, max_size=40)


def as_track(rows):
    return np.cumsum([step for step, _ in rows]), np.array([score for _, score in rows], np.float32)


@given(st.lists(track, max_size=5), st.integers(1, 12), st.floats(0, 5))
def test_gap_order_and_count(rows, count, gap):
    tracks = [as_track(one) for one in rows]
    moments = ranked_moments(tracks, count, gap)
    assert len(moments) <= count
    assert [moment.rank for moment in moments] == list(range(1, len(moments) + 1))
    assert [moment.score for moment in moments] == sorted((moment.score for moment in moments), reverse=True)
    for moment in moments:
        seconds, scores = tracks[moment.asset]
        assert (moment.seconds, moment.score) == (seconds[moment.row], scores[moment.row])
        others = [other for other in moments if other.asset == moment.asset and other is not moment]
        assert all(abs(other.seconds - moment.seconds) >= gap for other in others)


@given(st.lists(track, min_size=1, max_size=5), st.floats(0, 5))
def test_each_video_gives_its_highest_frame_where_there_is_room(rows, gap):
    tracks = [as_track(one) for one in rows]
    moments = ranked_moments(tracks, 10_000, gap)
    for index, (_, scores) in enumerate(tracks):
        assert scores.max() in [moment.score for moment in moments if moment.asset == index]
    assert moments[0].score == max(scores.max() for _, scores in tracks)


@given(track)
def test_a_peak_is_no_shoulder(rows):
    _, scores = as_track(rows)
    for row in peaks(scores):
        later = scores[row:][scores[row:] != scores[row]]
        assert row == 0 or scores[row - 1] < scores[row]
        assert not len(later) or later[0] < scores[row]


def test_a_long_event_is_one_moment_and_its_slope_none():
    seconds = np.arange(20) / 5
    scores = np.concatenate([np.linspace(0, 0.9, 8), np.full(4, 0.9), np.linspace(0.9, 0.1, 8)])
    assert [moment.row for moment in ranked_moments([(seconds, scores)], 12, 0.5)] == [7]


def test_equal_scores_rank_by_asset_and_time():
    seconds, scores = np.arange(5.0), np.array([1, 0, 1, 0, 1.0])
    moments = ranked_moments([(seconds, scores), (seconds, scores)], 4, 2.0)
    assert [(moment.asset, moment.row) for moment in moments] == [(0, 0), (0, 2), (0, 4), (1, 0)]


def test_nothing_in_nothing_out():
    assert ranked_moments([], 3, 1.0) == []
    assert ranked_moments([(np.empty(0), np.empty(0))], 3, 1.0) == []
