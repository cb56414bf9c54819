"""Which reader a source's labels get: told by what is there, or named by the recipe."""

import json
from pathlib import Path

import pytest

from components.core.errors import SightlineError
from components.ingest.labels import read_labels
from components.ingest.sources import Source

CLASSES = ("cat", "dog")
CSV = "image,label\na.jpg,cat\n"
VOC = "<!-- of <dataset> --><annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
VOC += "<xmax>2</xmax><ymax>2</ymax></bndbox></object></annotation>"
CVML = '<?xml version="1.0"?><dataset><frame number="0"/></dataset>'
COCO = json.dumps(
    {
        "info": {},
        "images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1}],
        "categories": [{"id": 1, "name": "cat"}],
    }
)
MOT = "1,1,1,1,2,2,1\n"
OPEN_IMAGES = "ImageID,LabelName,XMin,XMax,YMin,YMax\na,cat,0,1,0,1\n"


def source(root: Path, files: dict[str, str], media=("a.jpg",), labels=None, **more) -> Source:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return Source(root, "made", "made", tuple(media), labels=labels and root / labels, **more)


def told(found) -> list[tuple]:
    return [(label.file, label.media) for label in found.labels]


@pytest.mark.parametrize(
    ("files", "media", "expected"),
    [
        ({"labels.csv": CSV, "frame_labels.csv": CSV, "a.xml": VOC}, ["a.jpg"], [("labels.csv", "a.jpg")]),
        ({"frame_labels.csv": CSV, "boxes.csv": OPEN_IMAGES}, ["a.jpg"], [("frame_labels.csv", "a.jpg")]),
        ({"s/gt/gt.txt": MOT, "a.xml": VOC}, ["s/img1/1.jpg"], [("s/gt/gt.txt", "s/img1/1.jpg")]),
        ({"gt/gt.txt": MOT, "det/det.txt": MOT}, ["img1/1.jpg"], [("gt/gt.txt", "img1/1.jpg")]),
        ({"x/a.xml": VOC, "x/pom.xml": "<project/>"}, ["a.jpg"], [("x/a.xml", "a.jpg")]),
        ({"x/a.xml": CVML}, ["x/a.mpg"], [("x/a.xml", "x/a.mpg")]),
        ({"x/a.xml": "<dataset/>"}, ["x/a.mpg"], []),
        ({"x/instances.json": COCO, "x/other.json": "{}"}, ["a.jpg"], [("x/instances.json", "a.jpg")]),
        ({}, ["cat/a.jpg", "dog/2/b.jpg"], [("cat/a.jpg", "cat/a.jpg"), ("dog/2/b.jpg", "dog/2/b.jpg")]),
        ({}, ["cat/a.jpg", "fox/b.jpg"], []),
        ({"notes.txt": "x", "more/labels.csv": CSV, ".x/a.xml": VOC, "__MACOSX/b.xml": VOC}, ["a.jpg"], []),
    ],
)
def test_told_by_what_is_there(tmp_path, files, media, expected):
    found = read_labels(source(tmp_path, files, media), CLASSES)
    assert told(found) == expected and found.refused == []
    assert (found.form is not None) == bool(expected)


@pytest.mark.parametrize(
    ("files", "labels", "form", "expected"),
    [
        ({"x/mine.csv": CSV}, "x/mine.csv", "auto", "x/mine.csv"),
        ({"x/mine.JSON": COCO}, "x/mine.JSON", "auto", "x/mine.JSON"),
        ({"x/a.xml": VOC, "labels.csv": CSV}, "x/a.xml", "auto", "x/a.xml"),
        ({"x/a.xml": VOC, "labels.csv": CSV}, "x", "auto", "x/a.xml"),
        ({"x/labels.csv": CSV, "labels.csv": CSV}, "x", "auto", "x/labels.csv"),
        ({"x/a.xml": VOC, "labels.csv": CSV}, ".", "voc", "x/a.xml"),
        ({"x/boxes.csv": OPEN_IMAGES}, None, "openimages", "x/boxes.csv"),
        ({"x/boxes.csv": OPEN_IMAGES}, "x/boxes.csv", "csv", "x/boxes.csv"),
        ({"annotations.json": COCO}, None, "coco", "annotations.json"),
        ({"anything.txt": COCO}, "anything.txt", "coco", "anything.txt"),
    ],
)
def test_named(tmp_path, files, labels, form, expected):
    found = read_labels(source(tmp_path, files, labels=labels, label_format=form), CLASSES)
    assert told(found) == [(expected, "a.jpg")] and found.refused == []


def test_a_ground_truth_of_another_name(tmp_path):
    made = source(tmp_path, {"s/gt/mine.txt": MOT}, ["s/img1/1.jpg"], "s/gt/mine.txt", label_format="mot")
    assert told(read_labels(made, CLASSES)) == [("s/gt/mine.txt", "s/img1/1.jpg")]


def test_folders_may_be_words_of_the_map(tmp_path):
    media = ["0/a.jpg", "1/b.jpg"]
    assert told(read_labels(source(tmp_path, {}, media), CLASSES)) == []
    mapped = read_labels(source(tmp_path, {}, media, label_map={"0": "cat", "1": "dog"}), CLASSES)
    assert [label.word for label in mapped.labels] == ["0", "1"]
    forced = source(tmp_path, {"labels.csv": CSV}, ["cat/a.jpg", "b.jpg"], label_format="folders")
    found = read_labels(forced, CLASSES)
    assert told(found) == [("cat/a.jpg", "cat/a.jpg")] and [item.file for item in found.refused] == ["b.jpg"]


def test_damaged_xml_of_a_set_is_refused_not_overlooked(tmp_path):
    files = {"x/a.xml": VOC, "x/b.xml": "", "x/c.xml": VOC[:60], "x/pom.xml": "<project/>"}
    found = read_labels(source(tmp_path, files), CLASSES)
    assert told(found) == [("x/a.xml", "a.jpg")]
    assert [(item.file, item.line) for item in found.refused] == [("x/b.xml", 1), ("x/c.xml", 1)]
    named = read_labels(source(tmp_path, {}, label_format="voc"), CLASSES)
    assert [item.file for item in named.refused] == ["x/b.xml", "x/c.xml", "x/pom.xml"]


def test_links_outwards_are_not_followed(tmp_path):
    (tmp_path / "outside.xml").write_text(VOC)
    made = source(tmp_path / "set", {"a.xml": VOC})
    (tmp_path / "set" / "b.xml").symlink_to(tmp_path / "outside.xml")
    (tmp_path / "set" / "c.xml").symlink_to(tmp_path / "set" / "a.xml")
    assert [file for file, _ in told(read_labels(made, CLASSES))] == ["a.xml", "c.xml"]


@pytest.mark.parametrize(
    ("files", "labels", "form", "words"),
    [
        ({"x/notes.txt": "hello"}, "x/notes.txt", "auto", "x/notes.txt: it cannot be told what labels these are"),
        ({"x/a.xml": "<project/>"}, "x/a.xml", "auto", "x/a.xml: it cannot be told what labels these are"),
        ({"x/notes.txt": "hello"}, "x", "auto", "x: no labels in this folder"),
        ({}, None, "mot", "no labels of the format 'mot' in this folder"),
        ({}, None, "coco", "no labels of the format 'coco' in this folder"),
        ({"a.csv": CSV, "b.csv": CSV}, None, "csv", "labels may be in a.csv, b.csv"),
        ({"a.csv": CSV}, None, "openimages", "a.csv: line 1: unknown header 'image,label'"),
        ({"annotations.json": COCO[:-9]}, None, "auto", "annotations.json: line 1 column"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, files, labels, form, words):
    with pytest.raises(SightlineError) as error:
        read_labels(source(tmp_path, files, labels=labels, label_format=form), CLASSES)
    assert words in error.value.problem and error.value.remedy
