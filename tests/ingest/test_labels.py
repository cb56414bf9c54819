"""The readers of label files: what was written comes back, and what cannot be understood is named by its line."""

import csv
import io
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.ingest.labels import FRAMES, INTERVALS, PICTURES, Label, Refusal, parse_labels, read_labels

words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\"), min_size=1)
names = st.builds("{} {}".format, words, words).map(lambda name: name.removeprefix("./"))
ticks = st.integers(0, 10**9)
spans = st.lists(ticks, min_size=2, max_size=2, unique=True).map(sorted)
LINES = {
    FRAMES: st.lists(st.tuples(names, st.integers(0, 10**17), words)),
    PICTURES: st.lists(st.tuples(names, words)),
    INTERVALS: st.lists(st.builds(lambda name, span, word: (name, *span, word), names, spans, words)),
}


def thousandths(value: int) -> str:
    return f"{value // 1000}.{value % 1000:03d}"


@pytest.mark.parametrize("form", [FRAMES, PICTURES, INTERVALS])
@given(data=st.data())
def test_what_is_written_comes_back(form, data):
    """Any order of columns, more columns, blank lines, quotes, CRLF or LF, with a byte order mark or without."""
    lines = data.draw(LINES[form])
    columns = data.draw(st.permutations([*form, "note"]))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    quoting = data.draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator=end, quoting=quoting)
    writer.writeheader()
    wanted = []
    for fields in lines:
        blank = data.draw(st.integers(0, 2))
        out.write(end * blank)
        line = out.getvalue().count("\n") + 1
        row = dict(zip(form, fields, strict=True))
        if form is INTERVALS:
            row |= {name: thousandths(row[name]) for name in ("start_s", "end_s")}
        writer.writerow(row | {"note": data.draw(st.sampled_from(["", "two\nlines", "a, b"]))})
        span = (Fraction(fields[1], 1000), Fraction(fields[2], 1000)) if form is INTERVALS else None
        index = fields[1] if form is FRAMES else None
        wanted.append(Label(line, fields[0], fields[-1], index, span))
    text = out.getvalue()
    assert parse_labels(text, "labels.csv") == (wanted, [])


def test_a_byte_order_mark_and_windows_paths(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_bytes(b"\xef\xbb\xbfVideo, Frame_Index ,LABEL\r\n.\\night\\a.mp4,3,1\r\n")
    assert read_labels(path) == ([Label(2, "night/a.mp4", "1", index=3)], [])


@pytest.mark.parametrize(
    ("header", "line", "reason"),
    [
        ("video,frame_index,label", "a.mp4,1", "2 fields, 3 are needed"),
        ("video,frame_index,label", "a.mp4,,1", "frame_index is empty"),
        ("video,frame_index,label", ",1,1", "video is empty"),
        ("video,frame_index,label", "a.mp4,-1,1", "frame_index '-1' is not a whole number from 0"),
        ("video,frame_index,label", "a.mp4,1.0,1", "frame_index '1.0' is not a whole number from 0"),
        ("video,frame_index,label", "a.mp4,٣,1", "frame_index '٣' is not a whole number from 0"),
        ("image,label", "a.png", "1 fields, 2 are needed"),
        ("video,start_s,end_s,label", "a.mp4,2,1.5,x", "end_s 1.5 is not after start_s 2"),
        ("video,start_s,end_s,label", "a.mp4,1,1,x", "end_s 1 is not after start_s 1"),
        ("video,start_s,end_s,label", "a.mp4,0:02,5,x", "start_s '0:02' is not a decimal number of seconds from 0"),
        ("video,start_s,end_s,label", "a.mp4,1,inf,x", "end_s 'inf' is not a decimal number of seconds from 0"),
    ],
)
def test_a_line_that_is_wrong_is_refused_alone(header, line, reason):
    good = {2: "a,1", 3: "a.mp4,1,1", 4: "a.mp4,0,1,x"}[header.count(",") + 1]
    labels, refused = parse_labels(f"{header}\n{good}\n\n{line}\n{good}\n", "labels.csv")
    assert [label.line for label in labels] == [2, 5]
    assert refused == [Refusal(4, reason)]


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"", 1, "empty"),
        (b"\n\n", 1, "empty"),
        (b"video,label\na.mp4,1\n", 1, "unknown header 'video,label'"),
        (b"\n\nclip,frame,class\n", 3, "unknown header"),
        (b"video,frame_index,label,label\n", 1, "unknown header"),
        (b"video,frame_index,label\na.mp4,1,\xff\n", 2, "not UTF-8"),
        (b'video,frame_index,label\na.mp4,1,x\n"a.mp4,1,x\n', 3, "not CSV"),
        (b'video,frame_index,label\n"a"b,1,x\n', 2, "not CSV"),
    ],
)
def test_a_file_that_is_wrong_is_named_with_the_line(tmp_path, content, line, words):
    path = tmp_path / "labels.csv"
    path.write_bytes(content)
    with pytest.raises(SightlineError) as error:
        read_labels(path)
    assert error.value.problem.startswith(f"{path}: line {line}") and words in error.value.problem
    assert error.value.remedy
