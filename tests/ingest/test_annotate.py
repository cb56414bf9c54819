"""Labels find their frames exactly, or are refused with the reason."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.ingest.annotate import Asset, annotate
from components.ingest.labels import Box, Label, cvml, track_id
from components.ingest.labels.common import Names

CLASSES = ("normal", "suspicious", "other")
WORDS = {"0": "normal", "1": "suspicious"}


def clip(asset_id="a", frames=10, step=1001, start=0, base=30000):
    return Asset(asset_id, "video", np.arange(frames, dtype=np.int64) * step + start, Fraction(1, base))


def told(line, media, word, **more):
    return Label("labels.csv", line, media, word, **more)


def spans(result):
    return [(row["asset_id"], row["first_pts"], row["last_pts"], row["class"]) for row in result.rows]


def test_runs_become_one_row_each():
    labels = [told(i + 2, "a.mp4", word, index=i) for i, word in enumerate("0011100")]
    result = annotate(labels, {"v/a.mp4": clip(step=10, start=5)}, CLASSES, WORDS)
    assert spans(result) == [("a", 5, 15, "normal"), ("a", 25, 45, "suspicious"), ("a", 55, 65, "normal")]
    assert all(row["source"] == "human" and row["weight"] == 1.0 for row in result.rows)
    assert (result.accepted, result.refused) == (7, [])


@given(st.lists(st.sampled_from([None, "0", "1", "other"]), min_size=1, max_size=60), st.sampled_from([None, *CLASSES]))
def test_rows_spell_out_to_the_labels_given(words, uncovered):
    labels = [told(i + 2, "a.mp4", word, index=i) for i, word in enumerate(words) if word]
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
    labels = [told(line, "a.mp4", word, index=index) for line, (index, word) in enumerate(claims, 2)]
    result = annotate(labels, {"a.mp4": clip(frames=8)}, CLASSES, WORDS, uncovered="other")
    said = {index: {word for i, word in claims if i == index} for index in range(8)}
    refused = [label.line for label in labels if len(said[label.index]) > 1]
    assert [refusal.line for refusal in result.refused] == refused
    assert result.accepted == len(claims) - len(refused)
    covered = {i for _, first, last, _ in spans(result) for i in range(first // 1001, last // 1001 + 1)}
    assert covered == {index for index in range(8) if len(said[index]) < 2}  # disputed frames are not `uncovered` ones


def test_a_contradiction_names_the_other_line():
    labels = [told(2, "a.mp4", "0", index=3), told(3, "a.mp4", "0", index=4), told(9, "a.mp4", "1", index=3)]
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
    label = told(2, "a.mp4", "1", span=(Fraction(start), Fraction(end)))
    result = annotate([label], {"a.mp4": asset}, CLASSES, WORDS)
    assert spans(result) == [("a", asset.pts[first], asset.pts[last], "suspicious")]


def test_intervals_that_touch_do_not_contradict():
    cut = Fraction(5 * 1001, 30000)
    labels = [told(2, "a.mp4", "0", span=(Fraction(0), cut)), told(3, "a.mp4", "1", span=(cut, Fraction(1, 3)))]
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
        (told(2, "none.mp4", "0", index=0), "no video or picture 'none.mp4' in the source"),
        (told(2, "t/a.mp4", "0", index=0), "no video or picture 't/a.mp4' in the source"),
        (told(2, "a.mp4", "0", index=0), "'a.mp4' may be any of day/a.mp4, night/a.mp4: name its folder too"),
        (told(2, "broken.mp4", "0", index=0), "broken.mp4 is quarantined: the file is empty"),
        (told(2, "b.mp4", "0", index=10), "frame_index 10 is past the end: b.mp4 has 10 frames, from 0"),
        (told(2, "b.mp4", "2", index=0), "label '2' is not one of the classes normal, suspicious, other"),
        (told(2, "b.mp4", "0"), "b.mp4 is a video: label its frames or intervals"),
        (
            told(2, "b.mp4", "0", span=(Fraction(1), Fraction(2))),
            "1 to 2 s is past the end: the last frame of b.mp4 is at 0.300 s",
        ),
        (
            told(2, "b.mp4", "0", span=(Fraction(0), Fraction(3, 2))),
            "0 to 1.5 s is past the end: the last frame of b.mp4 is at 0.300 s",
        ),
        (
            told(2, "b.mp4", "0", span=(Fraction(1, 100), Fraction(2, 100))),
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
        told(2, "copy/b.mp4", "0", index=0),
        told(3, "night/b.mp4", "0", index=1),
        told(4, "b.mp4", "1", index=2),
        told(5, "p.png", "other"),
        told(6, "day/a.mp4", "1", index=9),
    ]
    assert spans(annotate(labels, FILES, CLASSES, WORDS)) == [
        ("a", 9009, 9009, "suspicious"),
        ("c", 0, 1001, "normal"),
        ("c", 2002, 2002, "suspicious"),
        ("p", 0, 0, "other"),
    ]


def test_labels_of_whole_videos_and_of_several_files():
    everything = {"span": (Fraction(0), None)}
    one, other = told(2, "night/a.mp4", "0", **everything), Label("more.csv", 2, "night/a.mp4", "1", index=3)
    whole = annotate([one, told(3, "p.png", "1", **everything)], FILES, CLASSES, WORDS)
    assert spans(whole) == [("b", 0, 9009, "normal"), ("p", 0, 0, "suspicious")]
    result = annotate([one, other, Label("p/x.png", None, "p.png", "0"), told(9, "p.png", "1")], FILES, CLASSES, WORDS)
    assert [(item.file, item.line, item.reason) for item in result.refused] == [
        ("labels.csv", 2, "frame 3 is normal here and suspicious on line 2 of more.csv"),
        ("labels.csv", 9, "frame 0 is suspicious here and normal by p/x.png"),
        ("more.csv", 2, "frame 3 is suspicious here and normal on line 2 of labels.csv"),
        ("p/x.png", None, "frame 0 is normal here and suspicious on line 9 of labels.csv"),
    ]


def test_of_several_words_the_map_picks():
    """The positive class wins, else the last one; a word with its kind goes before the bare one."""
    words = {"fighting": "suspicious", "role:fighting": "other", "walking": "normal", "running": "other"}
    frames = [
        ("context:fighting", "movement:walking"),
        ("movement:running", "movement:walking"),
        ("role:fighting", "movement:walking"),
        ("context:unheard", "movement:walking"),
        ("context:unheard", "role:of"),
    ]
    labels = [told(index, "night/a.mp4", frame, index=index) for index, frame in enumerate(frames)]
    result = annotate(labels, FILES, CLASSES, words, positive="suspicious")
    assert [name for *_, name in spans(result)] == ["suspicious", "other", "normal"]
    assert (result.accepted, result.refused) == (4, [])
    assert result.unmapped == {"context:unheard": 2, "role:of": 1}
    covered = annotate(labels, FILES, CLASSES, words, uncovered="normal", positive="suspicious")
    assert [row for row in spans(covered) if row[0] == "b"][-1] == ("b", 5005, 9009, "normal")  # not frame 4
    assert [name for *_, name in spans(annotate(labels, FILES, CLASSES, words))][0] == "suspicious"


PICTURE = {"p.png": Asset("p", "picture", np.zeros(1, dtype=np.int64), Fraction(1), None, 640, 480)}


def boxed(line, box, **more):
    return told(line, "p.png", "cat", box=Box(*box), **more)


def boxes(result):
    return [(row["class"], row["x"], row["y"], row["w"], row["h"], row["track_id"]) for row in result.rows]


@pytest.mark.parametrize(
    ("box", "row"),
    [
        ((1.5, 2, 30.25, 4), (1.5, 2, 30.25, 4)),
        ((-10, -5, 30, 20), (0, 0, 20, 15)),
        ((630, 470, 30, 20), (630, 470, 10, 10)),
        ((-1, -1, 9999, 9999), (0, 0, 640, 480)),
        ((0.25, 0.5, 0.5, 0.25, True), (160, 240, 320, 120)),
    ],
)
def test_boxes_are_cut_at_the_edge(box, row):
    result = annotate([boxed(2, box)], PICTURE, CLASSES, {"cat": "other"})
    assert boxes(result) == [("other", *row, None)] and result.accepted == 1
    assert result.rows[0] | {"asset_id": "p", "first_pts": 0, "last_pts": 0, "weight": 1.0} == result.rows[0]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((640, 0, 5, 5), "the box 640, 0, 5 x 5 is outside the picture of 640x480"),
        ((0, -5, 5, 5), "outside the picture"),
        ((3, 4, 0, 5), "the box at 3, 4 has no area: 0 x 5"),
        ((0, 0, -5, 5), "no area"),
        ((float("nan"), 0, 5, 5), "no area"),
        ((0, 0, 5, float("inf")), "no area"),
        ((1.0, 0.5, 0.5, 0.5, True), "outside the picture"),
    ],
)
def test_boxes_that_are_no_boxes_are_refused(box, words):
    result = annotate([boxed(2, box)], PICTURE, CLASSES, {})
    assert result.rows == [] and [item.line for item in result.refused] == [2] and words in result.refused[0].reason


def test_boxes_for_a_picture_of_another_size_are_refused():
    labels = [boxed(2, (1, 2, 3, 4), size=(480, 640)), boxed(3, (1, 2, 3, 4), size=(640, 480))]
    result = annotate(labels, PICTURE, CLASSES, {})
    assert [(item.line, item.reason) for item in result.refused] == [
        (2, "the box is for a picture of 480x640, but p.png is 640x480")
    ]
    assert result.accepted == 1 and result.foreign == {"cat": 1}


def test_rows_of_boxes_are_in_one_order_and_once_each():
    labels = [
        boxed(4, (9, 9, 5, 5)),
        boxed(3, (1, 1, 5, 5)),
        boxed(5, (1, 1, 5, 5)),
        boxed(2, (1, 1, 5, 5), track=7),
        told(6, "p.png", "normal"),
    ]
    result = annotate(labels, PICTURE, CLASSES, {})
    assert result.rows == annotate(labels[::-1], PICTURE, CLASSES, {}).rows
    assert [row["class"] for row in result.rows] == ["cat", "cat", "cat", "normal"]
    assert boxes_of(result) == [(1, None), (9, None), (1, 7)] and result.accepted == 5


def boxes_of(result):
    return [(row["x"], row["track_id"]) for row in result.rows if "x" in row]


def test_an_identity_is_in_one_place_at_a_time():
    one, other = track_id("walk", 1), track_id("walk", 2)
    labels = [
        boxed(2, (1, 1, 5, 5), track=one),
        boxed(3, (2, 2, 5, 5), track=one),
        boxed(4, (3, 3, 5, 5), track=one),
        boxed(5, (1, 1, 5, 5), track=other),
        boxed(6, (1, 1, 5, 5), track=other),
    ]
    result = annotate(labels, PICTURE, CLASSES, {})
    assert [(item.line, item.reason) for item in result.refused] == [
        (2, "its identity has another box in this frame, on line 3"),
        (3, "its identity has another box in this frame, on line 2"),
        (4, "its identity has another box in this frame, on line 2"),
    ]
    assert boxes_of(result) == [(1, other)] and result.accepted == 2


def test_cvml_becomes_runs_and_tracks(tmp_path):
    """Two people walk, fight, and one stays down; the frames where nobody is are those of the word `frame:empty`."""

    def one(kind, number, context):
        said = f"<hypothesis><movement>active</movement><context>{context}</context></hypothesis>"
        box = f'<box xc="{20 + number}" yc="20" w="10" h="20"/>'
        return f'<{kind} id="{number}">{box}<hypothesislist>{said}</hypothesislist></{kind}>'

    def frame(number, objects="", groups=""):
        lists = f"<objectlist>{objects}</objectlist><grouplist>{groups}</grouplist>"
        return f'<frame number="{number}">{lists}</frame>\n'

    walkers = one("object", 0, "walking") + one("object", 1, "walking")
    text = frame(0) + frame(1, walkers) + frame(2, walkers, one("group", 0, "fighting"))
    text += frame(3, one("object", 1, "drop down")) + frame(4, one("object", 1, "unheard of")) + frame(10)
    (tmp_path / "fight.xml").write_text(f"<dataset>\n{text}</dataset>")
    files = {"fight.mpg": Asset("f", "video", clip().pts, Fraction(1, 30000), None, 384, 288)}
    words = {"frame:empty": "normal", "walking": "normal", "context:fighting": "suspicious", "drop down": "suspicious"}
    found = cvml.read(tmp_path, ["fight.xml"], Names(files))
    result = annotate(found.labels, files, CLASSES, words, positive="suspicious")
    assert [row[1:] for row in spans(result) if row[3] != "person"] == [
        (0, 1001, "normal"),
        (2002, 3003, "suspicious"),
    ]
    people = [(row["first_pts"] // 1001, row["x"], row["track_id"] % 2**24) for row in result.rows if "x" in row]
    assert people == [(1, 15, 0), (1, 16, 1), (2, 15, 0), (2, 16, 1), (3, 16, 1), (4, 16, 1)]
    assert result.unmapped == {"context:unheard of": 1, "movement:active": 4} and result.foreign == {"person": 6}
    assert [(item.line, item.reason) for item in result.refused] == [
        (7, "frame_index 10 is past the end: fight.mpg has 10 frames, from 0")
    ]


def test_identities_of_sequences_do_not_meet():
    made = {track_id(f"sequence {number}", identity) for number in range(100) for identity in (0, 1, 2**24 - 1)}
    assert len(made) == 300 and all(0 <= number < 2**63 for number in made)
    assert track_id("a", 5) & (2**24 - 1) == 5
    for number in (-1, 2**24):
        with pytest.raises(ValueError, match="identity"):
            track_id("a", number)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 4), st.sampled_from("01")), max_size=12))
def test_intervals_and_frames_settle_as_said(claims):
    """Long and short labels together: a frame keeps its class where all labels on it agree and none was refused."""
    time = Fraction(1001, 30000)
    labels = [
        told(line, "a.mp4", word, index=first)
        if length == 1
        else told(line, "a.mp4", word, span=(first * time, (first + length) * time))
        for line, (first, length, word) in enumerate(claims, 2)
    ]
    result = annotate(labels, {"a.mp4": clip(frames=10)}, CLASSES, WORDS)
    covers = [(set(range(first, first + length)), word) for first, length, word in claims]
    bad = [i for i, (here, word) in enumerate(covers) if any(here & there and word != o for there, o in covers)]
    assert [item.line for item in result.refused] == [i + 2 for i in bad]
    wanted = {frame: word for i, (here, word) in enumerate(covers) if i not in bad for frame in here}
    got = {f: name for _, a, b, name in spans(result) for f in range(a // 1001, b // 1001 + 1)}
    assert got == {frame: WORDS[word] for frame, word in wanted.items()}


def test_rows_say_who_labelled_them():
    labels = [Label("l.csv", 2, "p.png", "1"), boxed(3, Box(1, 1, 5, 5))]
    result = annotate(labels, PICTURE, CLASSES, WORDS, label_source="search")
    assert [row["source"] for row in result.rows] == ["search", "search"]
