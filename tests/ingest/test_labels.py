"""The readers of CSV: what was written comes back, and what cannot be understood is named by its line."""

import csv
import io
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.ingest.labels import Box, Label, Refusal, csv_file, track_id
from components.ingest.labels.common import Names
from components.ingest.labels.csv_file import FRAMES, INTERVALS, PICTURES, parse

words = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="\\"), min_size=1)
names = st.builds("{} {}".format, words, words).map(lambda name: name.removeprefix("./"))
ticks = st.integers(0, 10**9)
spans = st.lists(ticks, min_size=2, max_size=2, unique=True).map(sorted)
LINES = {
    FRAMES: st.lists(st.tuples(names, st.integers(0, 10**17), words)),
    PICTURES: st.lists(st.tuples(names, words)),
    INTERVALS: st.lists(st.builds(lambda name, span, word: (name, *span, word), names, spans, words)),
}
NOTHING = Names([])
FILE = "labels.csv"


def thousandths(value: int) -> str:
    return f"{value // 1000}.{value % 1000:03d}"


def read(text, column=None, media=()):
    found = parse(text, FILE, FILE, Names(media), column)
    return found.labels, found.refused


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
        wanted.append(Label(FILE, line, fields[0], fields[-1], index, span))
    assert read(out.getvalue()) == (wanted, [])


def test_a_byte_order_mark_and_windows_paths(tmp_path):
    (tmp_path / FILE).write_bytes(b"\xef\xbb\xbfVideo, Frame_Index ,LABEL\r\n.\\night\\a.mp4,3,1\r\n")
    assert csv_file.read(tmp_path, FILE, NOTHING).labels == [Label(FILE, 2, "night/a.mp4", "1", index=3)]


def test_the_column_of_the_label():
    text = "site,image,class,animal\nhill,a.jpg,vole,1\n"
    assert read(text)[0] == [Label(FILE, 2, "a.jpg", "vole")]
    assert read(text, "Animal")[0] == [Label(FILE, 2, "a.jpg", "1")]
    assert read("image,class,label\na.jpg,x,y\n")[0] == [Label(FILE, 2, "a.jpg", "y")]
    with pytest.raises(SightlineError, match="line 1: no column 'anmial' in the header 'site,image,class,animal'"):
        read(text, "anmial")


def test_boxes_and_tracks():
    text = "video,frame_index,track_id,class,x,y,w,h,note\na/b.mp4,3,7,bag,1.5,-2,3e1,4,\na/b.mp4,4,,bag,1,2,3,4,\n"
    one = Label(FILE, 2, "a/b.mp4", "bag", 3, box=Box(1.5, -2, 30, 4), track=track_id("a/b.mp4", 7))
    assert read(text) == ([one, Label(FILE, 3, "a/b.mp4", "bag", 4, box=Box(1, 2, 3, 4))], [])
    text = "image,label,x,y,w,h,track_id\nwalk/1.png,man,0,0,5,5,1\nwalk/2.png,man,0,0,5,5,1\nwalk/3.png,night,,,,,\n"
    labels, _ = read(text)
    assert [label.track for label in labels] == [track_id("walk", 1), track_id("walk", 1), None]
    assert [label.box for label in labels] == [Box(0, 0, 5, 5), Box(0, 0, 5, 5), None]


def test_corners():
    text = "filename,width,height,class,xmin,ymin,xmax,ymax\na.jpg,660,432,raccoon,3,1,461,431\nb.jpg,,,fox,1,1,1,1\n"
    assert read(text) == (
        [
            Label(FILE, 2, "a.jpg", "raccoon", box=Box(2, 0, 459, 431), size=(660, 432)),
            Label(FILE, 3, "b.jpg", "fox", box=Box(0, 0, 1, 1)),
        ],
        [],
    )


def test_open_images():
    text = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsGroupOf\n01ab,x,/m/0c,1,0.25,0.75,0.5,1,0\n"
    text += "twin,x,/m/0c,1,0,1,0,1,1\nlone,x,/m/0c,1,0,1,0,1,1\n"
    labels, refused = read(text, media=["a/01ab.jpg", "a/twin.jpg", "b/twin.jpg", "c/lone.png"])
    assert labels == [
        Label(FILE, 2, "a/01ab.jpg", "/m/0c", box=Box(0.25, 0.5, 0.5, 0.5, relative=True)),
        Label(FILE, 4, "c/lone.png", "/m/0c", box=Box(0, 0, 1, 1, relative=True), weight=0.0),
    ]
    assert refused == [Refusal(FILE, 3, "'twin' may be any of a/twin.jpg, b/twin.jpg")]


GOOD = {
    "video,frame_index,label": "a.mp4,1,1",
    "image,label": "a,1",
    "video,start_s,end_s,label": "a.mp4,0,1,x",
    "image,label,x,y,w,h,track_id": "a,1,0,0,1,1,2",
    "filename,class,xmin,ymin,xmax,ymax": "a,x,1,1,2,2",
    "imageid,labelname,xmin,xmax,ymin,ymax": "a,x,0,1,0,1",
}


@pytest.mark.parametrize(
    ("header", "line", "reason"),
    [
        ("video,frame_index,label", "a.mp4,1", "2 fields, 3 are needed"),
        ("video,frame_index,label", "a.mp4,,1", "frame_index is empty"),
        ("video,frame_index,label", ",1,1", "video is empty"),
        ("video,frame_index,label", "a.mp4,1, ", "label is empty"),
        ("video,frame_index,label", "a.mp4,-1,1", "frame_index '-1' is not a whole number from 0"),
        ("video,frame_index,label", "a.mp4,1.0,1", "frame_index '1.0' is not a whole number from 0"),
        ("video,frame_index,label", "a.mp4,٣,1", "frame_index '٣' is not a whole number from 0"),
        ("image,label", "a.png", "1 fields, 2 are needed"),
        ("video,start_s,end_s,label", "a.mp4,2,1.5,x", "end_s 1.5 is not after start_s 2"),
        ("video,start_s,end_s,label", "a.mp4,1,1,x", "end_s 1 is not after start_s 1"),
        ("video,start_s,end_s,label", "a.mp4,0:02,5,x", "start_s '0:02' is not a decimal number of seconds from 0"),
        ("video,start_s,end_s,label", "a.mp4,1,inf,x", "end_s 'inf' is not a decimal number of seconds from 0"),
        ("image,label,x,y,w,h,track_id", "a,1,0,0,,1,", "w is empty"),
        ("image,label,x,y,w,h,track_id", "a,1,0,0,1_0,1,", "w '1_0' is not a number"),
        ("image,label,x,y,w,h,track_id", "a,1,nan,0,1,1,", "x 'nan' is not a number"),
        ("image,label,x,y,w,h,track_id", "a,1,1e999,0,1,1,", "x '1e999' is not a number"),
        ("image,label,x,y,w,h,track_id", "a,1,0,0,1,1,-1", "track_id '-1' is not a whole number from 0"),
        ("image,label,x,y,w,h,track_id", "a,1,0,0,1,1,16777216", "the identity 16777216 is not within 0 to 16777215"),
        ("image,label,x,y,w,h,track_id", "a,1,,,,,3", "a track_id without a box"),
        ("filename,class,xmin,ymin,xmax,ymax", "a,x,5,1,4,2", "xmax, ymax 4, 2 lie before xmin, ymin 5, 1"),
        ("imageid,labelname,xmin,xmax,ymin,ymax", "a,x,0,b,0,1", "xmax 'b' is not a number"),
    ],
)
def test_a_line_that_is_wrong_is_refused_alone(header, line, reason):
    good = GOOD[header]
    labels, refused = read(f"{header}\n{good}\n\n{line}\n{good}\n")
    assert [label.line for label in labels] == [2, 5]
    assert refused == [Refusal(FILE, 4, reason)]


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
    path = tmp_path / FILE
    path.write_bytes(content)
    with pytest.raises(SightlineError) as error:
        csv_file.read(tmp_path, FILE, NOTHING)
    assert error.value.problem.startswith(f"{path}: line {line}") and words in error.value.problem
    assert error.value.remedy


@given(st.sampled_from(list(GOOD)), st.text(st.sampled_from('a1.,"-e\n\r\0\\ x')))
def test_whatever_the_text_only_the_errors_that_are_documented(header, text):
    try:
        labels, refused = read(f"{header}\n{text}", media=["a/a.png"])
    except SightlineError as error:
        assert "not CSV" in error.problem
        return
    assert all(item.line > 1 and item.reason for item in [*labels, *refused] if isinstance(item, Refusal))
    assert len({label.line for label in labels} | {refusal.line for refusal in refused}) == len(labels) + len(refused)
