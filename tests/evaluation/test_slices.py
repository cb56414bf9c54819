"""Slices of the held-out assets, and near-duplicates across splits."""

import numpy as np
import pytest
from sklearn import metrics as sk

from components.evaluation import slices
from tests.evaluation.pages import SITES, made_content


@pytest.mark.parametrize(
    ("saturation", "brightness", "expected"),
    [
        (2.8, 60.0, "night"),  # infra-red, as bright as by day
        (9.99, 200.0, "night"),
        (10.0, 40.0, "day"),
        (80.0, 39.9, "night"),  # dark, in colour
        (80.0, 120.0, "day"),
        (None, 120.0, None),
        (80.0, None, None),
    ],
)
def test_day_and_night(saturation, brightness, expected):
    assert slices.light({"saturation": saturation, "brightness": brightness}) == expected


def test_parts_name_what_is_not_known_only_beside_what_is():
    kinds = [{"site": "b"}, {"site": None}, {"site": "a"}, {"site": "b"}]
    assert slices.parts(kinds, "site") == {"a": [2], "b": [0, 3], "unknown": [1]}
    assert slices.parts([{"site": None}, {}], "site") == {}


def test_figures_of_each_site_and_light_are_sklearns():
    content = made_content(["empty", "animal"], "animal")
    found = content.metrics["slices"]
    assert set(found) == {"site", "light"}, "all are by one camera: that is no slice"
    assert list(found["site"]) == sorted(SITES) and list(found["light"]) == ["day", "night"]
    for dimension, parts in found.items():
        assert sum(part["assets"] for part in parts.values()) == 60
        for name, part in parts.items():
            own = [asset for asset in content.assets if asset.slices[dimension] == name]
            truth = [bool(asset.labels[0] == 1) for asset in own]
            scores = [asset.probabilities[0, 1] for asset in own]
            assert (part["assets"], part["labelled_frames"], part["positives"]) == (len(own), len(own), sum(truth))
            assert part["average_precision"] == pytest.approx(sk.average_precision_score(truth, scores))
            assert part["frame_auc"] == pytest.approx(sk.roc_auc_score(truth, scores))
            assert part["accuracy"] == pytest.approx(np.mean([asset.called[0] == asset.labels[0] for asset in own]))


def test_a_slice_of_one_side_has_no_ranking():
    labels = [0 if number % 3 == 1 else number % 2 for number in range(60)]
    found = made_content(["empty", "animal"], "animal", labels=labels).metrics["slices"]["site"]
    assert found[SITES[1]]["average_precision"] is None and found[SITES[1]]["frame_auc"] is None
    assert found[SITES[1]]["positives"] == 0 and found[SITES[1]]["accuracy"] is not None
    assert found[SITES[0]]["average_precision"] is not None


def test_without_a_positive_class_accuracy_and_f1():
    content = made_content("abc")
    for name, part in content.metrics["slices"]["site"].items():
        own = [asset for asset in content.assets if asset.slices["site"] == name]
        labels, called = [int(asset.labels[0]) for asset in own], [int(asset.called[0]) for asset in own]
        assert set(part) == {"assets", "labelled_frames", "accuracy", "f1_macro"}
        expected = sk.f1_score(labels, called, labels=sorted(set(labels)), average="macro")
        assert part["f1_macro"] == pytest.approx(expected)


def test_near_duplicates_in_training_are_counted():
    train = [{"near_group": "a"}, {"near_group": None}, {}]
    assert slices.near_duplicates([{"near_group": "a"}, {"near_group": "a"}, {"near_group": None}, {}], train) == 2
    assert made_content("ab", "b", twins=4).metrics["near_duplicates_in_train"] == 4
    assert made_content("ab", "b").metrics["near_duplicates_in_train"] == 0
