"""MOTChallenge text: pixels from 1 in the file and from 0 here, whole files, strict reading."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.tracks.mot import ROWS, mot_line, read_mot, write_mot

PLACE = st.floats(-1e5, 1e5)
SIDE = st.floats(0, 1e5)
LINES = st.lists(
    st.tuples(st.integers(1, 10**6), st.integers(1, 10**6), PLACE, PLACE, SIDE, SIDE, st.floats(-1, 1)),
    max_size=20,
    unique_by=lambda row: row[:2],
)


def test_a_line_is_as_the_challenge_has_it_with_pixels_from_1():
    assert mot_line(1, 7, 0, 9.5, 40.25, 100, 0.875) == "1,7,1.000,10.500,40.250,100.000,0.875000,-1,-1,-1\n"


def test_numbers_of_numpy_are_written_as_others_are():
    row = np.array([(3, 2, 1.5, 2.5, 3.5, 4.5, 0.25)], ROWS)[0]
    assert mot_line(*row) == mot_line(3, 2, 1.5, 2.5, 3.5, 4.5, 0.25)


@settings(max_examples=40, deadline=None)
@given(rows=LINES)
def test_what_is_written_is_read_again(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("mot") / "clip.txt"
    write_mot(path, rows)
    read = read_mot(path)
    assert read.dtype == ROWS and len(read) == len(rows)
    assert [row[:2] for row in read.tolist()] == [row[:2] for row in rows]
    for name, column in zip(ROWS.names[2:], range(2, 7), strict=True):
        most = 0.51e-6 if name == "score" else 0.51e-3
        np.testing.assert_allclose(read[name], [row[column] for row in rows], rtol=0, atol=most)
    text = path.read_bytes()
    write_mot(path, read)
    assert path.read_bytes() == text


def test_rows_can_come_one_by_one(tmp_path):
    write_mot(tmp_path / "clip.txt", ((frame, 1, frame, 0, 5, 5, 1.0) for frame in range(1, 4)))
    read = read_mot(tmp_path / "clip.txt")
    assert read["frame"].tolist() == [1, 2, 3] and read["left"].tolist() == [1, 2, 3]


def test_a_file_of_no_rows_is_empty_and_read_as_such(tmp_path):
    write_mot(tmp_path / "clip.txt", [])
    assert (tmp_path / "clip.txt").read_bytes() == b""
    assert read_mot(tmp_path / "clip.txt").shape == (0,)


def test_a_row_that_cannot_be_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "clip.txt"
    write_mot(path, [(1, 1, 0, 0, 5, 5, 1.0)])
    before = path.read_bytes()
    with pytest.raises(SightlineError, match="track 2"):
        write_mot(path, [(1, 1, 9, 9, 5, 5, 1.0), (1, 2, 9, 9, -5, 5, 1.0)])
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "row",
    [
        (0, 1, 0, 0, 5, 5, 1), (1, 0, 0, 0, 5, 5, 1), (1, -1, 0, 0, 5, 5, 1), (1, 1, float("nan"), 0, 5, 5, 1),
        (1, 1, 0, float("inf"), 5, 5, 1), (1, 1, 0, 0, -0.1, 5, 1), (1, 1, 0, 0, 5, -0.1, 1),
        (1, 1, 0, 0, 5, 5, float("nan")),
    ],
)  # fmt: skip
def test_no_line_is_made_of_what_no_frame_can_show(row):
    with pytest.raises(SightlineError, match="frame"):
        mot_line(*row)


def test_detections_and_ground_truth_are_read_too(tmp_path):
    path = tmp_path / "det.txt"
    path.write_text("1,-1,155,199,66.5,162,51.818\n1,-1,284,200,72,177,-4e1,-1,-1,-1\r\n2, 3, 1, 1, 4, 5, 1, 1, 0.5\n")
    assert read_mot(path).tolist() == [
        (1, -1, 154, 198, 66.5, 162, 51.818),
        (1, -1, 283, 199, 72, 177, -40),
        (2, 3, 0, 0, 4, 5, 1),
    ]


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("", "1 values"),
        ("1,2,3,4,5,6", "6 values"),
        ("1,2,3,4,5,6,7,8,9,10,11", "11 values"),
        ("1.0,2,3,4,5,6,7", "'1.0' is not a whole number"),
        ("1_0,2,3,4,5,6,7", "'1_0' is not a whole number"),
        ("9999999999999999,2,3,4,5,6,7", "is not a whole number"),
        ("1,x,3,4,5,6,7", "'x' is not a whole number"),
        ("1,2,3,4,5,6,", "'' is not a number"),
        ("1,2,nan,4,5,6,7", "'nan' is not a number"),
        ("1,2,3,4,inf,6,7", "'inf' is not a number"),
        ("1,2,3,1e999,5,6,7", "out of range"),
        ("1,2,3,4,5,6,7,a", "'a' is not a number"),
        ("0,2,3,4,5,6,7", "both count from 1"),
        ("1,0,3,4,5,6,7", "both count from 1"),
        ("1,-2,3,4,5,6,7", "both count from 1"),
        ("1,2,3,4,-5,6,7", "a side below 0"),
        ("1 2 3 4 5 6 7", "1 values"),
        ("5,9,3,4,5,6,7", "track 9 is in frame 5 twice"),
    ],
)
def test_a_line_that_is_none_is_refused_by_its_number(tmp_path, line, named):
    path = tmp_path / "bad.txt"
    path.write_text(f"5,9,1,1,5,5,1\n{line}\n")
    with pytest.raises(SightlineError, match=f"bad.txt, line 2: .*{named}"):
        read_mot(path)


def test_a_file_that_is_no_text_or_not_there_is_refused(tmp_path):
    (tmp_path / "bytes.txt").write_bytes(b"1,1,\xff\xfe")
    for name in ("bytes.txt", "missing.txt", "."):
        with pytest.raises(SightlineError, match="cannot be read"):
            read_mot(tmp_path / name)
