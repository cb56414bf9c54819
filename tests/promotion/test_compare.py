import numpy as np
import pytest

from components.promotion.compare import Scores, measure, pair, paired_bootstrap


def accuracy(labels: np.ndarray, probabilities: np.ndarray, threshold: float) -> float:
    return float(np.mean((probabilities[:, 1] >= threshold) == labels))


def scores(keys: list, positive: list[float], labels: list[int] | None = None, threshold: float = 0.5) -> Scores:
    column = np.array(positive, np.float32)
    given = np.array(labels if labels is not None else [frame % 2 for _, frame in keys], np.int64)
    return Scores(keys, given, np.stack([1 - column, column], 1), threshold)


def test_pair_joins_by_asset_and_frame_whatever_the_order():
    mine = scores([("b", 1), ("a", 0), ("a", 1), ("c", 0)], [0.1, 0.2, 0.3, 0.4])
    theirs = scores([("a", 1), ("x", 9), ("b", 1), ("a", 0)], [0.7, 0.0, 0.9, 0.8])
    pairs = pair(mine, theirs)
    assert pairs.challenger.keys == [("a", 0), ("a", 1), ("b", 1)]
    assert pairs.challenger.probabilities[:, 1] == pytest.approx([0.2, 0.3, 0.1])
    assert pairs.champion.probabilities[:, 1] == pytest.approx([0.8, 0.7, 0.9])
    assert pairs.starts.tolist() == [0, 2, 3]
    assert (pairs.assets, pairs.frames) == (2, 3)


def test_both_are_measured_by_the_present_labels_and_their_own_threshold():
    keys = [("a", 0), ("a", 1)]
    pairs = pair(scores(keys, [0.4, 0.6], [0, 1]), scores(keys, [0.4, 0.6], [1, 0], threshold=0.3))
    assert measure(accuracy, pairs.challenger) == 1.0
    assert measure(accuracy, pairs.champion) == 0.5


def test_pair_of_strangers_is_empty():
    assert pair(scores([("a", 0)], [0.5]), scores([("b", 0)], [0.5])).frames == 0


def test_assets_are_drawn_not_frames():
    """Right on all frames of half the clips: over clips the interval is wide, over frames it would be narrow."""
    keys = [(f"{asset:02d}", frame) for asset in range(10) for frame in range(100)]
    labels = [1] * len(keys)
    good = scores(keys, [0.9 if int(asset) % 2 else 0.1 for asset, _ in keys], labels)
    bad = scores(keys, [0.1] * len(keys), labels)
    found = paired_bootstrap(pair(good, bad), accuracy, 0.95)
    assert found.mean == pytest.approx(0.5, abs=0.03)
    assert found.low <= 0.2 and found.high >= 0.8  # binomial(10, 1/2)/10: 2.5 % below 0.2; over frames: 0.47..0.53


def test_pairs_are_kept_together():
    """Where one model is better by the same on every clip, there is no doubt about it, hard clips or easy ones."""
    keys = [(f"{asset:02d}", frame) for asset in range(8) for frame in range(10)]
    labels = [1] * len(keys)
    right = [frame < int(asset) for asset, frame in keys]
    one_more = [frame < int(asset) + 1 for asset, frame in keys]
    found = paired_bootstrap(
        pair(scores(keys, np.where(one_more, 0.9, 0.1), labels), scores(keys, np.where(right, 0.9, 0.1), labels)),
        accuracy,
        0.95,
    )
    assert (found.mean, found.low, found.high) == pytest.approx((0.1, 0.1, 0.1))


def test_the_same_pairs_give_the_same_figures():
    random = np.random.default_rng(5)
    keys = [(f"{asset:02d}", frame) for asset in range(6) for frame in range(9)]
    pairs = pair(scores(keys, random.random(54)), scores(keys, random.random(54)))
    assert paired_bootstrap(pairs, accuracy, 0.9) == paired_bootstrap(pairs, accuracy, 0.9)
    wide, narrow = paired_bootstrap(pairs, accuracy, 0.99), paired_bootstrap(pairs, accuracy, 0.5)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_draws_without_a_figure_are_left_out_or_say_nothing_at_all():
    keys = [("a", 0), ("b", 0), ("c", 0)]
    pairs = pair(scores(keys, [0.9, 0.1, 0.2], [1, 0, 0]), scores(keys, [0.5, 0.5, 0.4], [1, 0, 0]))

    def needs_both(labels, probabilities, threshold):
        return accuracy(labels, probabilities, threshold) if 0 < labels.mean() < 1 else float("nan")

    assert paired_bootstrap(pairs, needs_both, 0.95).mean > 0
    assert paired_bootstrap(pairs, lambda *_: float("nan"), 0.95) is None
