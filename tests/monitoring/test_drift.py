"""Two-sample tests: how often they raise a false alarm, and what they see."""

import numpy as np
import pytest

from components.monitoring.drift import FEWEST, Report, compare, energy_test, holm, novelty_test


def footage(random, count, **shifts):
    """Figures of `count` assets, each figure moved by so many of its standard deviations."""
    names = ("brightness", "contrast", "sharpness", "score")
    figures = {name: random.normal(100 + 20 * shifts.get(name, 0), 20, count) for name in names}
    common = random.normal(size=(count, 1))  # embeddings' parts hang together
    figures["embedding"] = random.normal(shifts.get("embedding", 0), 1, (count, 12)) + common
    return figures


def test_false_alarms_are_as_rare_as_is_said():
    """200 checks of unchanged footage at 5 %: at most 5 % and what chance adds (three standard deviations)."""
    random = np.random.default_rng(1)
    alarms = sum(
        bool(compare(footage(random, 24), footage(random, 12), 0.05, seed=seed).drifted) for seed in range(200)
    )
    assert alarms / 200 <= 0.05 + 3 * (0.05 * 0.95 / 200) ** 0.5


@pytest.mark.parametrize("moved", ["brightness", "sharpness", "score", "embedding"])
def test_a_change_is_seen_and_named(moved):
    random = np.random.default_rng(2)
    report = compare(footage(random, 40), footage(random, 20, **{moved: 2.5}), 0.001)
    assert [test.name for test in report.tests if test.drifted and test.kind != "novelty"] == [moved]
    assert report.drifted and (report.reference, report.current) == (40, 20)
    if moved != "embedding":
        assert next(test.shift for test in report.tests if test.name == moved) > 1


def mixed(random, *parts):
    """Footage of several kinds, one after the other: (count, shifts) each."""
    found = [footage(random, count, **shifts) for count, shifts in parts]
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


NIGHT = {"brightness": -5, "contrast": -4, "embedding": 4}


@pytest.mark.parametrize("learned", [10, 60])
def test_what_the_reference_has_little_of_is_drift_but_nothing_new(learned):
    random = np.random.default_rng(6)
    day, night = footage(random, 300), footage(random, 30, **NIGHT)
    assert set(compare(day, night).drifted) == {"data", "novelty"}
    knows = mixed(random, (300, {}), (learned, NIGHT))
    assert compare(knows, night).drifted == ["data"]
    assert compare(knows, footage(random, 30)).drifted in ([], ["data"]), "nor is what it has much of"
    assert "novelty" in compare(knows, footage(random, 30, brightness=5)).drifted


def test_a_rare_but_known_kind_is_seldom_taken_for_a_new_one():
    random, alarms = np.random.default_rng(7), 0
    for _ in range(200):
        then = mixed(random, (60, {}), (20, NIGHT))["embedding"]
        alarms += novelty_test(then, footage(random, 16, **NIGHT)["embedding"])[0] < 0.001
    assert alarms / 200 <= 0.05
    seen = novelty_test(then, footage(random, 16, embedding=-4)["embedding"])
    assert seen[0] < 1e-6 and seen[1] > 3


def test_kinds_are_told_apart_and_less_error_is_no_alarm():
    random = np.random.default_rng(8)

    def errors(mean):
        return {"error": random.normal(mean, 0.1, 40), "brightness": random.normal(0, 1, 40)}

    assert compare(errors(0.2), errors(0.6)).drifted == ["decay"]
    assert compare(errors(0.6), errors(0.2)).drifted == []


def test_more_quarantined_files_than_before():
    random = np.random.default_rng(9)
    then, now = footage(random, 40), footage(random, 20)
    assert compare(then, now, quarantined=((1, 41), (20, 40))).drifted == ["quarantine"]
    assert compare(then, now, quarantined=((20, 40), (1, 41))).drifted == []
    assert compare({}, {}, quarantined=((1, 41), (20, 40))).drifted == ["quarantine"]
    assert compare({}, {}, quarantined=((1, 41), (3, 4))).tests == ()


def test_too_few_assets_say_nothing():
    random = np.random.default_rng(3)
    report = compare(footage(random, 40), footage(random, FEWEST - 1, brightness=50))
    assert not report.tests and not report.drifted and "too few" in report.reason
    assert not compare({}, {}).drifted


def test_what_is_not_known_is_left_out():
    random = np.random.default_rng(4)
    then, now = footage(random, 40), footage(random, 20)
    now["brightness"][:15] = np.nan
    del now["score"]
    assert {test.name for test in compare(then, now).tests} == {"contrast", "sharpness", "embedding"}


def test_holm_rejects_in_order():
    assert holm({"a": 0.001, "b": 0.02, "c": 0.04}, 0.05) == {"a", "b", "c"}
    assert holm({"a": 0.001, "b": 0.03, "c": 0.04}, 0.05) == {"a"}
    assert holm({}, 0.05) == set()


def test_the_energy_distance_is_that_of_its_definition():
    random = np.random.default_rng(5)
    then, now = random.normal(size=(9, 3)), random.normal(1, 1, size=(7, 3))
    both = np.concatenate([then, now])
    scale = both.std(0)

    def mean(a, b):
        return np.mean([[np.linalg.norm((x - y) / scale) for y in b] for x in a])

    p_value, distance = energy_test(then, now, 99)
    assert distance == pytest.approx(2 * mean(then, now) - mean(then, then) - mean(now, now))
    assert 0.01 <= p_value <= 1
    assert energy_test(then, then, 99)[0] == 1.0


def test_a_report_without_tests_has_not_drifted():
    assert not Report(0, 0, 0.001, ()).drifted
