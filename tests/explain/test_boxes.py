"""From maps to boxes: one per object, and the threshold that the classifier itself chooses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.core import heat, lime
from components.explain import judge
from tests.explain.made import any_bright, blobs

SHAPE = (120, 160)
TWO = [(35, 50), (120, 70)]


def map_of(picture: np.ndarray, seed: int = 0) -> np.ndarray:
    parts = []
    for number, count in enumerate((25, 60)):
        labels = lime.superpixels(picture, count, 10.0)
        on = lime.draws(int(labels.max()) + 1, 400, np.random.default_rng([seed, number]))
        parts.append((labels, lime.explain(picture, labels, on, any_bright, 0.25, 1.0, 64)))
    return heat.heat_map(parts, 0.04)


def iou(a, b) -> float:
    wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(0, wide) * max(0, high)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def truth(centre, radius) -> tuple:
    (x, y), (height, width) = centre, SHAPE
    return (x - radius) / width, (y - radius) / height, (x + radius) / width, (y + radius) / height


def test_two_objects_give_two_boxes_and_the_published_method_one():
    picture = blobs(SHAPE, TWO, 20)
    found = map_of(picture)
    several, single = heat.regions(found, 0.4, 0.1), heat.single_region(found, 0.4)
    assert len(several) == 2 and len(single) == 1
    for centre in TWO:
        best = max(iou(part.box, truth(centre, 20)) for part in several)
        assert best > 0.4 and best > 2 * iou(single[0].box, truth(centre, 20))
    assert sum(part.share for part in several) == pytest.approx(1)


def test_the_classifier_chooses_a_threshold_whose_box_fits():
    found, pictures = [], [blobs(SHAPE, [centre], 24, seed) for seed, centre in enumerate([(40, 60), (110, 50)])]
    for picture in pictures:
        off = lime.faded(picture, lime.superpixels(picture, 25, 10.0))
        found.append(judge.candidates(picture, off, map_of(picture), (0.02, 0.1, 0.3, 0.6, 0.9), 0.1, any_bright))
    best = judge.best_threshold(found)
    fits = {one.threshold: iou(one.boxes[0], truth((40, 60), 24)) for one in found[0]}
    assert fits[best] > 0.6 and fits[best] > fits[0.02]
    chosen = next(one for one in found[0] if one.threshold == best)
    whole = float(any_bright(pictures[0][None])[0])
    assert chosen.hidden < 0.2 and chosen.all_kept > 0.8 and chosen.confidences(whole)[0] > 0.6


def test_a_region_that_alone_is_not_called_the_class_is_no_object():
    picture = blobs(SHAPE, TWO, 20)
    off = np.zeros_like(picture)
    painted = np.zeros(SHAPE)
    painted[30:70, 15:55] = 1.0
    painted[5:15, 140:158] = 0.9  # nothing bright there
    found = judge.candidates(picture, off, painted, (0.5,), 0.01, any_bright)
    assert [len(one.boxes) for one in found] == [1]
    assert found[0].boxes[0] == (15 / 160, 30 / 120, 55 / 160, 70 / 120)


def test_a_map_of_zeros_has_no_region():
    assert heat.regions(np.zeros((8, 8)), 0.2, 0.1) == heat.single_region(np.zeros((8, 8)), 0.2) == []
    with pytest.raises(ValueError):
        judge.best_threshold([[], []])


@given(
    arrays.arrays(np.float64, (12, 16), elements=st.floats(0, 1)),
    st.floats(0.05, 1),
    st.floats(0, 1),
)
def test_regions_cover_what_reaches_the_threshold(painted, threshold, least):
    found = heat.regions(painted, threshold, least)
    if not painted.max() > 0:
        assert not found
        return
    assert found and all(0 <= a < c <= 1 and 0 <= b < d <= 1 for a, b, c, d in (part.box for part in found))
    assert [part.share for part in found] == sorted((part.share for part in found), reverse=True)
    everything = heat.inside([part.box for part in heat.regions(painted, threshold, 0)], painted.shape)
    assert everything[painted >= threshold * painted.max()].all()
    assert len(heat.single_region(painted, threshold)) == 1
