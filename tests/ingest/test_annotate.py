"""Labels find their frames exactly, or are refused with the reason."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.annotate import Asset, annotate
from components.ingest.labels import Label

CLASSES = ("normal", "suspicious", "other")
WORDS = {"0": "normal", "1": "suspicious"}


def clip(asset_id="a", frames=10, step=1001, start=0, base=30000):
    return Asset(asset_id, "video", np.arange(frames, dtype=np.int64) * step + start, Fraction(1, base))


def spans(result):
    return [(row["asset_id"], row["first_pts"], row["last_pts"], row["class"]) for row in result.rows]


def test_runs_become_one_row_each():
    labels = [Label(i + 2, "a.mp4", word, index=i) for i, word in enumerate("0011100")]
    result = annotate(labels, {"v/a.mp4": clip(step=10, start=5)}, CLASSES, WORDS)
    assert spans(result) == [("a", 5, 15, "normal"), ("a", 25, 45, "suspicious"), ("a", 55, 65, "normal")]
    assert all(row["source"] == "human" and row["weight"] == 1.0 for row in result.rows)
    assert (result.accepted, result.refused) == (7, [])


@given(st.lists(st.sampled_from([None, "0", "1", "other"]), min_size=1, max_size=60), st.sampled_from([None, *CLASSES]))
def test_rows_spell_out_to_the_labels_given(words, uncovered):
    labels = [Label(i + 2, "a.mp4", word, index=i) for i, word in enumerate(words) if word]
    asset = clip(frames=len(words))
    result = annotate(labels, {"a.mp4": asset}, CLASSES, WORDS, uncovered)
    found = [None] * len(words)
    for _, first, last, name in spans(result):
        for index, pts in enumerate(asset.pts):
            if first <= pts <= last:
                assert found[index] is None
                found[index] = name
    assert found == [WORDS.get(word, word) if word else uncovered for word in words]
    neighbours = zip(spans(result), spans(result)[1:], strict=False)
    assert all(a[3] != b[3] or asset.pts.searchsorted(b[1]) - asset.pts.searchsorted(a[2]) > 1 for a, b in neighbours)


@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from("01")), max_size=25))
def test_contradictions_are_refused_on_both_sides(claims):
    labels = [Label(line, "a.mp4", word, index=index) for line, (index, word) in enumerate(claims, 2)]
    result = annotate(labels, {"a.mp4": clip(frames=8)}, CLASSES, WORDS, uncovered="other")
    said = {index: {word for i, word in claims if i == index} for index in range(8)}
    refused = [label.line for label in labels if len(said[label.index]) > 1]
    assert [refusal.line for refusal in result.refused] == refused
    assert result.accepted == len(claims) - len(refused)
    covered = {i for _, first, last, _ in spans(result) for i in range(first // 1001, last // 1001 + 1)}
    assert covered == {index for index in range(8) if len(said[index]) < 2}  # disputed frames are not `uncovered` ones


def test_a_contradiction_names_the_other_line():
    labels = [Label(2, "a.mp4", "0", index=3), Label(3, "a.mp4", "0", index=4), Label(9, "a.mp4", "1", index=3)]
    result = annotate(labels, {"a.mp4": clip()}, CLASSES, WORDS)
    assert [(item.line, item.reason) for item in result.refused] == [
        (2, "frame 3 is normal here and suspicious on line 9"),
        (9, "frame 3 is suspicious here and normal on line 2"),
    ]
    assert spans(result) == [("a", 4004, 4004, "normal")]


@pytest.mark.parametrize(
    ("start", "end", "first", "last"),
    [
        ("0", "0.1", 0, 2),
        ("0.1", "0.2", 3, 5),  # frame 3 is at 0.1001 s, frame 5 at 0.1668
        ("0.1001", "0.2002", 3, 5),  # a frame exactly at the start counts, exactly at the end does not
        ("0.10011", "0.20021", 4, 6),
        ("0", "0.34", 0, 9),
        ("0.2", "1.2", 6, 9),  # rounded up by less than a second
    ],
)
@pytest.mark.parametrize("offset", [0, 48600])
def test_intervals_are_exact(start, end, first, last, offset):
    asset = clip(start=offset)
    label = Label(2, "a.mp4", "1", span=(Fraction(start), Fraction(end)))
    result = annotate([label], {"a.mp4": asset}, CLASSES, WORDS)
    assert spans(result) == [("a", asset.pts[first], asset.pts[last], "suspicious")]


def test_intervals_that_touch_do_not_contradict():
    cut = Fraction(5 * 1001, 30000)
    labels = [Label(2, "a.mp4", "0", span=(Fraction(0), cut)), Label(3, "a.mp4", "1", span=(cut, Fraction(1, 3)))]
    result = annotate(labels, {"a.mp4": clip()}, CLASSES, WORDS)
    assert spans(result) == [("a", 0, 4004, "normal"), ("a", 5005, 9009, "suspicious")]


FILES = {
    "day/a.mp4": clip("a"),
    "night/a.mp4": clip("b"),
    "night/b.mp4": clip("c"),
    "copy/b.mp4": clip("c"),
    "broken.mp4": Asset("refused:broken.mp4", "video", np.empty(0), Fraction(1), "the file is empty"),
    "p.png": Asset("p", "picture", np.zeros(1, dtype=np.int64), Fraction(1)),
}


@pytest.mark.parametrize(
    ("label", "reason"),
    [
        (Label(2, "none.mp4", "0", index=0), "no video or picture 'none.mp4' in the source"),
        (Label(2, "t/a.mp4", "0", index=0), "no video or picture 't/a.mp4' in the source"),
        (Label(2, "a.mp4", "0", index=0), "'a.mp4' may be any of day/a.mp4, night/a.mp4: name its folder too"),
        (Label(2, "broken.mp4", "0", index=0), "broken.mp4 is quarantined: the file is empty"),
        (Label(2, "b.mp4", "0", index=10), "frame_index 10 is past the end: b.mp4 has 10 frames, from 0"),
        (Label(2, "b.mp4", "2", index=0), "label '2' is not one of the classes normal, suspicious, other"),
        (Label(2, "b.mp4", "0"), "b.mp4 is a video: label its frames or intervals"),
        (
            Label(2, "b.mp4", "0", span=(Fraction(1), Fraction(2))),
            "1 to 2 s is past the end: the last frame of b.mp4 is at 0.300 s",
        ),
        (
            Label(2, "b.mp4", "0", span=(Fraction(0), Fraction(3, 2))),
            "0 to 1.5 s is past the end: the last frame of b.mp4 is at 0.300 s",
        ),
        (
            Label(2, "b.mp4", "0", span=(Fraction(1, 100), Fraction(2, 100))),
            "no frame of b.mp4 lies between 0.01 and 0.02 s",
        ),
    ],
)
def test_refusals(label, reason):
    result = annotate([label], FILES, CLASSES, WORDS)
    assert [(item.line, item.reason) for item in result.refused] == [(2, reason)]
    assert (result.rows, result.accepted) == ([], 0)


def test_labels_of_a_copy_go_to_the_one_asset():
    labels = [
        Label(2, "copy/b.mp4", "0", index=0),
        Label(3, "night/b.mp4", "0", index=1),
        Label(4, "b.mp4", "1", index=2),
        Label(5, "p.png", "other"),
        Label(6, "day/a.mp4", "1", index=9),
    ]
    assert spans(annotate(labels, FILES, CLASSES, WORDS)) == [
        ("a", 9009, 9009, "suspicious"),
        ("c", 0, 1001, "normal"),
        ("c", 2002, 2002, "suspicious"),
        ("p", 0, 0, "other"),
    ]
