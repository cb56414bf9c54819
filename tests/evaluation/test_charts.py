"""Drawings keep what matters."""

from xml.etree import ElementTree

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from components.evaluation import charts


@given(st.integers(2, 5000), st.integers(40, 400), st.randoms(use_true_random=False))
def test_thinned_lines_keep_order_ends_and_peaks(count, most, random):
    x = np.arange(count, dtype=float)
    y = np.array([random.random() for _ in range(count)])
    points = charts.thin(x, y, most)
    assert len(points) <= max(most, 4)
    assert points[0] == (0, y[0]) and points[-1] == (count - 1, y[-1])
    assert [one for one, _ in points] == sorted({one for one, _ in points})
    assert max(value for _, value in points) == y.max() and min(value for _, value in points) == y.min()


def test_timelines_are_well_formed_and_say_in_words_what_they_show():
    seconds = np.arange(50) / 10
    said = 'Score of <b> & "c"'
    svg = charts.timeline(seconds, np.linspace(0, 1, 50), 4.9, [(1.0, 2.0)], 0.5, said)
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == said and root.get("role") == "img"
    band = next(element for element in root if element.get("class") == "truth")
    assert float(band.get("x")) == round(1000 / 4.9, 1) and float(band.get("width")) == round(1000 / 4.9, 1)


def test_curves_are_well_formed():
    svg = charts.curve([(0, 0, np.inf), (0.2, 0.7, 0.5), (1, 1, 0)], "x", "y", (0.2, 0.7), ((0, 0), (1, 1)), "words")
    assert ElementTree.fromstring(svg).get("aria-label") == "words"
