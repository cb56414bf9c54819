"""The readers of boxes and tracks: VOC, MOTChallenge, COCO, CVML; a folder per class. What is wrong is named."""

import json
import os
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import SightlineError
from components.ingest.labels import Box, Label, Refusal, coco, cvml, folders, mot, track_id, voc
from components.ingest.labels.common import Names
from components.ingest.labels.xml_tree import XmlError, parse_xml

DATA = Path(os.environ.get("SIGHTLINE_MIRROR", "/nowhere"))

VOC = """<annotation>
  <filename>{filename}</filename>
  <size><width>640</width><height>480</height><depth>3</depth></size>
  <object>
    <name>fox</name><difficult>{difficult}</difficult>
    <bndbox><xmin>11</xmin><ymin>21</ymin><xmax>40</xmax><ymax>60</ymax></bndbox>
    <part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part>
  </object>
  <object><name>owl</name><bndbox><ymin>1.0</ymin><xmin> 1 </xmin><xmax>1</xmax><ymax>1e1</ymax></bndbox></object>
</annotation>
"""


def voc_text(filename="a.jpg", difficult="0"):
    return VOC.format(filename=filename, difficult=difficult)


def write(root, files):
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return sorted(files)


def read(reader, root, files, media):
    found = reader.read(root, write(root, files), Names(media))
    assert found.files == len(files)
    return found.labels, found.refused


def test_voc(tmp_path):
    labels, refused = read(voc, tmp_path, {"x/a.xml": voc_text()}, ["p/a.jpg", "p/b.jpg"])
    one, other = Box(10, 20, 30, 40), Box(0, 0, 1, 10)  # corners count from 1, and both are in the box
    assert labels == [
        Label("x/a.xml", 4, "p/a.jpg", "fox", box=one, size=(640, 480)),
        Label("x/a.xml", 9, "p/a.jpg", "owl", box=other, size=(640, 480)),
    ]
    labels, _ = read(voc, tmp_path, {"x/a.xml": voc_text(difficult="1")}, ["p/a.jpg"])
    assert [label.weight for label in labels] == [0, 1] and not refused


@pytest.mark.parametrize(
    ("file", "filename", "media", "picture"),
    [
        ("x/a.xml", "stale.jpg", ["p/a.jpg", "p/b.jpg"], "p/a.jpg"),
        ("x/a.xml", "b.jpg", ["p/a.jpg", "p/b.jpg"], "p/a.jpg"),  # the stem goes before what stands inside
        ("x/1.xml", "b.jpg", ["p/a.jpg", "p/b.jpg"], "p/b.jpg"),
        ("x/1.xml", r"C:\shots\b.jpg", ["p/a.jpg"], "C:/shots/b.jpg"),
        ("x/1.xml", "", ["p/a.jpg"], "1"),
        ("train/x/a.xml", "a.jpg", ["test/p/a.jpg", "train/p/a.jpg"], "train/p/a.jpg"),
        ("x/a.xml", "a.png", ["p/a.jpg", "p/a.png"], "p/a.png"),
    ],
)
def test_voc_finds_its_picture(tmp_path, file, filename, media, picture):
    labels, refused = read(voc, tmp_path, {file: voc_text(filename)}, media)
    assert {label.media for label in labels} == {picture} and not refused


BOMB = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb"><!ENTITY c "&b;&b;&b;&b;">]>\n<annotation>&c;</annotation>'
OUTSIDE = '<!DOCTYPE a [\n<!ENTITY b SYSTEM "file:///etc/passwd">]>\n<annotation>&b;</annotation>'


@pytest.mark.parametrize(
    ("content", "line", "reason"),
    [
        ("", 1, "not XML (no element found)"),
        ("<annotation>\n<object>\n", 3, "not XML (no element found)"),
        ("<annotation>\n</anotation>", 2, "not XML (mismatched tag)"),
        (b"\xff\xfe\x00", 1, "not XML"),
        (
            b'<?xml version="1.0" encoding="no-such"?>\n<annotation/>',
            1,
            "its encoding cannot be read (unknown encoding: no-such)",
        ),
        ("\n<dataset/>", 2, "its root is <dataset>, not <annotation>"),
        (BOMB, 1, "entities and external references are not read"),
        (OUTSIDE, 2, "entities and external references are not read"),
        ("<annotation><filename>a.jpg</filename>\n<object/></annotation>", 2, "the object has no <name>"),
        ("<annotation>\n<object><name>x</name></object></annotation>", 2, "the object has no <bndbox>"),
        (voc_text().replace("<xmin>11", "<xmin>41"), 4, "xmax, ymax 40, 60 lie before xmin, ymin 41, 21"),
        (voc_text().replace("<xmin>11", "<xmin>"), 4, "xmin is empty"),
        (voc_text().replace("<xmin>11", "<xmin>eleven"), 4, "xmin 'eleven' is not a number"),
    ],
)
def test_a_damaged_file_costs_no_other_one(tmp_path, content, line, reason):
    files = {"x/a.xml": voc_text(), "x/b.xml": content, "x/c.xml": voc_text("c.jpg")}
    labels, refused = read(voc, tmp_path, files, ["a.jpg", "b.jpg", "c.jpg"])
    assert {"a.jpg", "c.jpg"} <= {label.media for label in labels}
    assert [(item.file, item.line) for item in refused] == [("x/b.xml", line)] and reason in refused[0].reason


def test_files_that_cannot_be_read_are_named(tmp_path):
    (tmp_path / "a.xml").mkdir()
    found = voc.read(tmp_path, ["a.xml", "gone.xml"], Names([]))
    assert [(item.file, item.line, item.reason) for item in found.refused] == [
        ("a.xml", None, "cannot be read (Is a directory)"),
        ("gone.xml", None, "cannot be read (No such file or directory)"),
    ]


def test_a_picture_that_may_be_several_is_refused(tmp_path):
    labels, refused = read(voc, tmp_path, {"a.xml": voc_text("")}, ["p/a.jpg", "q/a.jpg"])
    assert labels == [] and refused == [Refusal("a.xml", 1, "its picture may be any of p/a.jpg, q/a.jpg")]


CVML = """<?xml version="1.0" encoding="UTF-8"?>
<dataset name="{name}">
<frame number="0"><objectlist/><grouplist/></frame>
<frame number="1">
<objectlist>
<object id="3"><orientation>90</orientation><box xc="100" yc="50" w="20" h="41"/><appearance>visible</appearance>
 <hypothesislist><hypothesis id="1" prev="1.0" evaluation="1.0">
  <movement evaluation="1.0">walking</movement><role evaluation="1.0">walker</role>
  <context evaluation="1.0">Drop
 down</context><situation evaluation="0.0">moving</situation>
 </hypothesis></hypothesislist></object>
</objectlist>
<grouplist>
<group id="0"><box xc="99" yc="128" w="67" h="34"/><members>3,4</members>
 <hypothesislist>
 <hypothesis id="1" evaluation="1.0"><context evaluation="1.0">fighting</context></hypothesis>
 <hypothesis id="2" evaluation="0.2"><context evaluation="1.0">meeting</context></hypothesis>
 </hypothesislist></group>
</grouplist>
</frame>
</dataset>
"""


def test_cvml(tmp_path):
    media = ["a/Walk1.mpg", "b/Fight.mpg", "b/still.jpg"]
    labels, refused = read(cvml, tmp_path, {"b/fcgt.xml": CVML.format(name="")}, media)
    file, video = "b/fcgt.xml", "b/Fight.mpg"
    said = ("context:drop down", "context:fighting", "movement:walking", "role:walker")
    track = track_id(video, 3)
    assert labels == [
        Label(file, 3, video, ("frame:empty",), index=0),
        Label(file, 6, video, "person", index=1, box=Box(90, 29.5, 20, 41), track=track),
        Label(file, 4, video, said, index=1),
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("file", "name", "media", "video"),
    [
        ("x/Walk1.xml", "", ["a/Walk1.mpg", "a/Walk2.mpg"], "a/Walk1.mpg"),
        ("x/Walk1gt.xml", "", ["a/Walk1.mpg", "a/Walk2.mpg"], "a/Walk1.mpg"),
        ("x/Walk1_gt2.xml", "", ["a/Walk1.mpg", "a/Walk2.mpg"], "a/Walk1.mpg"),
        ("x/wk1gt.xml", "Walk2", ["a/Walk1.mpg", "a/Walk2.mpg"], "a/Walk2.mpg"),
        ("x/wk1gt.xml", "clips/Walk2.mpg", ["a/Walk1.mpg", "a/Walk2.mpg"], "a/Walk2.mpg"),
        ("x/wk1gt.xml", "", ["a/Walk1.mpg", "x/Other.mpg", "x/wk1gt.jpg"], "x/Other.mpg"),
        ("x/wk1gt.xml", "", ["x/Walk1.mpg", "x/Walk2.mpg"], None),
        ("x/wk1gt.xml", "", [], None),
    ],
)
def test_cvml_finds_its_video(tmp_path, file, name, media, video):
    labels, refused = read(cvml, tmp_path, {file: CVML.format(name=name)}, media)
    assert {label.media for label in labels} == ({video} if video else set())
    assert [item.line for item in refused] == ([] if video else [2])


def test_what_is_wrong_in_cvml_is_refused_alone(tmp_path):
    text = CVML.format(name="a").replace('number="0"', 'number="-1"').replace('xc="100"', 'xc="?"')
    labels, refused = read(cvml, tmp_path, {"a.xml": text, "b.xml": "<annotation/>", "c.xml": "<data"}, ["a.mpg"])
    assert [(label.line, label.index) for label in labels] == [(4, 1)] and "context:fighting" in labels[0].word
    assert [(item.file, item.line, item.reason) for item in refused] == [
        ("a.xml", 3, "frame number '-1' is not a whole number from 0"),
        ("a.xml", 6, "xc '?' is not a number"),
        ("b.xml", 1, "its root is <annotation>, not <dataset>"),
        ("c.xml", 1, "not XML (unclosed token)"),
    ]


@pytest.mark.parametrize("reader", [voc, cvml])
@given(data=st.data())
def test_xml_with_any_damage_raises_nothing(tmp_path_factory, reader, data):
    root = tmp_path_factory.mktemp("xml")
    whole = (voc_text() if reader is voc else CVML.format(name="a")).encode()
    at, end = sorted(data.draw(st.tuples(st.integers(0, len(whole)), st.integers(0, len(whole)))))
    damaged = data.draw(
        st.one_of(st.binary(max_size=60), st.builds(lambda b: whole[:at] + b + whole[end:], st.binary()))
    )
    labels, refused = read(reader, root, {"a.xml": damaged, "b.xml": whole}, ["a.jpg", "a.mpg", "b.mpg"])
    assert any(label.file == "b.xml" for label in labels)
    assert all(item.file == "a.xml" and item.line >= 1 and item.reason for item in refused)


@given(st.binary(max_size=200))
def test_xml_is_a_tree_or_an_error_with_its_line(content):
    try:
        assert parse_xml(b"<a>" + content).tag == "a"
    except XmlError as error:
        assert 1 <= error.line <= content.count(b"\n") + content.count(b"\r") + 1 and error.reason


GT = "1,1,399,182,121,229,1,1,0.9\n2, 1 ,400.5,182,121,229,0,8,.5\n\n2,-1,1,1,5,5,1,1,1\n"


def test_mot_pictures(tmp_path):
    media = ["s/img1/000001.jpg", "s/img1/000002.jpg", "s/img1/note.jpg", "t/img1/000001.jpg"]
    labels, refused = read(mot, tmp_path, {"s/gt/gt.txt": GT, "t/gt/gt.txt": "1,1,1,1,9,9,-1\n"}, media)
    file, track = "s/gt/gt.txt", track_id("s", 1)
    assert labels == [
        Label(file, 1, media[0], "pedestrian", box=Box(398, 181, 121, 229), track=track),
        Label(file, 2, media[1], "distractor", box=Box(399.5, 181, 121, 229), track=track, weight=0.0),
        Label(file, 4, media[1], "pedestrian", box=Box(0, 0, 5, 5)),
        Label("t/gt/gt.txt", 1, media[3], "pedestrian", box=Box(0, 0, 9, 9), track=track_id("t", 1)),
    ]
    assert refused == []


@pytest.mark.parametrize(
    ("file", "media", "video", "sequence"),
    [
        ("s/gt/gt.txt", ["s/clip.mp4", "s.mp4"], "s/clip.mp4", "s"),
        ("s/gt/gt.txt", ["s.mp4", "t.mp4"], "s.mp4", "s"),
        ("gt/gt.txt", ["clip.mp4"], "clip.mp4", ""),
    ],
)
def test_mot_video(tmp_path, file, media, video, sequence):
    """With ten fields those after the confidence are places in the world, not a class."""
    labels, _ = read(mot, tmp_path, {file: "5,2,1,1,9,9,1,5.3,2.1,0\n"}, media)
    assert labels == [
        Label(file, 1, video, "pedestrian", index=4, box=Box(0, 0, 9, 9), track=track_id(sequence, 2)),
    ]


def test_mot_without_frames(tmp_path):
    labels, refused = read(mot, tmp_path, {"s/gt/gt.txt": GT}, ["s/a.mp4", "s/b.mp4", "t/img1/1.jpg"])
    reason = "its sequence has neither numbered pictures in img1/ nor one video"
    assert (labels, refused) == ([], [Refusal("s/gt/gt.txt", None, reason)])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,1,5,5,9", "5 fields, 6 to 10 are needed"),
        (b"1,1,5,5,9,9,1,1,1,1,1", "11 fields, 6 to 10 are needed"),
        (b"0,1,5,5,9,9,1", "frame 0 is before the first, which is 1"),
        (b"3,1,5,5,9,9,1", "no picture of frame 3 in img1/"),
        (b"1.5,1,5,5,9,9,1", "frame '1.5' is not a whole number"),
        (b"1,x,5,5,9,9,1", "id 'x' is not a whole number"),
        (b"1,-2,5,5,9,9,1", "the identity -2 is not within 0 to 16777215"),
        (b"1,1,nan,5,9,9,1", "left 'nan' is not a number"),
        (b"1,1,5,5,9,,1", "height is empty"),
        (b"1,1,5,5,9,9,1,14,1", "class 14 is not within 1 to 13"),
        (b"1,1,5,5,9,9,?", "confidence '?' is not a number"),
        (b"\xff,1,5,5,9,9,1", "frame '\ufffd' is not a whole number"),
    ],
)
def test_a_wrong_line_of_mot_is_refused_alone(tmp_path, line, reason):
    good = b"1,1,5,5,9,9,1\r\n"
    labels, refused = read(mot, tmp_path, {"gt/gt.txt": good + line + b"\r\n" + good}, ["img1/000001.jpg"])
    assert [label.line for label in labels] == [1, 3]
    assert refused == [Refusal("gt/gt.txt", 2, reason)]


@given(st.binary(max_size=80))
def test_any_bytes_as_mot(tmp_path_factory, content):
    labels, refused = read(mot, tmp_path_factory.mktemp("mot"), {"gt/gt.txt": content}, ["img1/1.jpg"])
    assert len(labels) + len(refused) == sum(
        bool(line.split()) for line in content.decode(errors="replace").split("\n")
    )


def coco_body(**changes):
    body = {
        "images": [
            {"id": 7, "file_name": "train\\a.jpg", "width": 640, "height": 480},
            {"id": "b", "file_name": "b.jpg"},
        ],
        "categories": [{"id": 1, "name": "fox"}, {"id": 2, "name": "empty"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1.5, 2, 30, 40], "iscrowd": 0},
            {"id": 2, "image_id": "b", "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
            {"id": 3, "image_id": "b", "category_id": 2},
        ],
    }
    return body | changes


def test_coco(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(coco_body()))
    found = coco.read(tmp_path, ["a.json"])
    assert (found.labels, found.refused, found.files) == (
        [
            Label("a.json", None, "train/a.jpg", "fox", box=Box(1.5, 2, 30, 40), size=(640, 480)),
            Label("a.json", None, "b.jpg", "fox", box=Box(0, 0, 9, 9), weight=0.0),
            Label("a.json", None, "b.jpg", "empty"),
        ],
        [],
        1,
    )


GOOD_ENTRY = {"id": 5, "image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1]}


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (5, "entry 0: it is no object"),
        ({"image_id": 7}, "entry 0: no category has the id None"),
        (GOOD_ENTRY | {"image_id": 8}, "annotation 5: no image has the id 8"),
        (GOOD_ENTRY | {"image_id": [7]}, "annotation 5: no image has the id [7]"),
        (GOOD_ENTRY | {"bbox": [1, 2, 3]}, "annotation 5: bbox [1, 2, 3] is not x, y, width, height"),
        (GOOD_ENTRY | {"bbox": [1, 2, 3, "4"]}, "annotation 5: bbox [1, 2, 3, '4'] is not x, y, width, height"),
        (GOOD_ENTRY | {"bbox": [1, 2, 3, 10**400]}, "annotation 5: bbox has a number that is too large"),
    ],
)
def test_a_wrong_annotation_of_coco_is_refused_alone(tmp_path, entry, reason):
    (tmp_path / "a.json").write_text(json.dumps(coco_body(annotations=[entry, GOOD_ENTRY])))
    found = coco.read(tmp_path, ["a.json"])
    assert len(found.labels) == 1 and found.refused == [Refusal("a.json", None, reason)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"images": [\n  1,\n  2', "a.json: line 3 column 4: not JSON (Expecting ',' delimiter)"),
        (b"", "a.json: line 1 column 1: not JSON (Expecting value)"),
        (b'{"images": "\xff"}', "a.json: byte 12 is not UTF-8"),
        (b"[" * 200_000, "a.json: lists within lists without end"),
        (b"1" * 5000, "a.json: not JSON (Exceeds the limit"),
        (b"[]", "a.json: no list 'images' in it"),
        (b'{"images": [], "annotations": {}}', "a.json: no list 'annotations' in it"),
        (json.dumps(coco_body(images=[{}])).encode(), "a.json: entry 0 of images has no id"),
        (json.dumps(coco_body(categories=[{"id": 1}] * 2)).encode(), "a.json: two entries of categories have the id 1"),
    ],
)
def test_a_file_that_is_not_coco_is_named(tmp_path, content, words):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(SightlineError) as error:
        coco.read(tmp_path, ["a.json"])
    assert words in error.value.problem and str(tmp_path) in error.value.problem and error.value.remedy


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from(["x", "\ud800", "b"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.sampled_from(["id", "image_id", "category_id", "bbox", "file_name", "name"]), inner),
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["images", "annotations", "categories"]), st.lists(JSON, max_size=3)))
def test_any_json_as_coco(tmp_path_factory, changes):
    root = tmp_path_factory.mktemp("coco")
    (root / "a.json").write_text(json.dumps(coco_body(**changes)))
    try:
        found = coco.read(root, ["a.json"])
    except SightlineError as error:
        assert str(root) in error.problem
    else:
        for text in [item.reason for item in found.refused] + [label.media + label.word for label in found.labels]:
            text.encode()


def test_a_folder_per_class():
    files = ["cat/a.jpg", "cat/2020/b.mp4", "x/dog/cat/c.jpg", "x/d.jpg", "e.jpg"]
    found = folders.read(files, ["cat", "dog"])
    whole = {"span": (Fraction(0), None)}
    assert found.labels == [Label(name, None, name, "cat", **whole) for name in files[:3]]
    assert [(item.file, item.line, item.reason) for item in found.refused] == [
        ("x/d.jpg", None, "no class or word of label_map is the folder x"),
        ("e.jpg", None, "no class or word of label_map is the folder ."),
    ]


@pytest.mark.skipif(not (DATA / "kangaroo").is_dir(), reason="SIGHTLINE_MIRROR holds no kangaroo/")
def test_voc_of_the_mirror():
    files = sorted(f"annots/{path.name}" for path in (DATA / "kangaroo" / "annots").glob("*.xml"))
    media = [f"images/{path.name}" for path in (DATA / "kangaroo" / "images").glob("*.jpg")]
    found = voc.read(DATA / "kangaroo", files, Names(media))
    assert found.refused == [] and {label.media for label in found.labels} == set(media)
    assert {label.word for label in found.labels} == {"kangaroo"}
    assert all(
        0 <= b.x < b.x + b.w <= size[0] and 0 <= b.y < b.y + b.h <= size[1] for *_, b, _, _, size in found.labels
    )


@pytest.mark.skipif(not (DATA / "tud-campus").is_dir(), reason="SIGHTLINE_MIRROR holds no tud-campus/")
def test_mot_of_the_mirror():
    media = [f"img1/{path.name}" for path in (DATA / "tud-campus" / "img1").glob("*.jpg")]
    found = mot.read(DATA / "tud-campus", ["gt/gt.txt"], Names(media))
    assert (len(found.labels), found.refused, len({label.track for label in found.labels})) == (359, [], 8)
    assert {label.media for label in found.labels} == set(media)
