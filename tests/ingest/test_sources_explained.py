"""The source `explained`: the boxes of another recipe's classifier, and people's for the held-out assets alone."""

import pytest
import yaml

from components.core import tables
from components.core.errors import SightlineError, UsageError
from components.core.recipe import load_recipe
from components.ingest.sources import explained, locate
from tests.footage import write_picture

TASK = {"classes": ["nothing", "animal"], "positive": "animal"}
SPLITS = {"a.png": "train", "b.png": "train", "c.png": "val", "d.png": "test", "e.png": "test", "f.png": "train"}


@pytest.fixture
def taught(root):
    """A workspace where `teacher` was explained; a function that gives the `student` with these parameters."""
    for number, name in enumerate(SPLITS):
        write_picture(root / "shots" / "x" / name, number, (320, 240))
    (root / "people.csv").write_text(
        "filename,width,height,class,xmin,ymin,xmax,ymax\n"
        "a.png,320,240,animal,11,11,20,20\n"  # of a training picture: not for anybody's eyes
        "d.png,320,240,animal,31,21,60,50\n"
    )
    data = root / "data" / "teacher"
    catalog, frames, shown, boxes = [], [], [], []
    for name, split in SPLITS.items():
        asset = name[0] * 16
        catalog.append(
            {
                "asset_id": asset, "uri": f"shots/x/{name}", "name": f"x/{name}", "kind": "picture", "status": "ok",
                "sha256": asset * 4, "bytes": 9, "width": 320, "height": 240, "split": split,
            }
        )  # fmt: skip
        frames.append(
            {
                "frame_id": f"{asset}-0", "asset_id": asset, "frame_index": 0, "pts": 0, "time_base_num": 1,
                "time_base_den": 1, "width": 320, "height": 240, "jpeg": b"", "brightness": 0.0, "contrast": 0.0,
                "sharpness": 0.0, "perceptual_hash": 0,
            }
        )  # fmt: skip
        row = {"asset_id": asset, "first_pts": 0, "last_pts": 0, "weight": 1.0}
        shown.append(row | {"class": "nothing" if name in ("b.png", "e.png") else "animal", "source": "search"})
        if name in ("a.png", "d.png"):
            box = {"x": 5.0, "y": 6.0, "w": 7.0, "h": 8.0, "weight": 0.25}
            boxes.append(row | {"class": "animal", "source": "lime"} | box)
        if name == "b.png":
            boxes.append(row | {"class": "nothing", "source": "lime"})
    tables.write_table(data / "catalog", catalog, tables.CATALOG)
    tables.write_table(data / "frames", frames, tables.FRAMES)
    tables.write_table(data / "annotations", shown, tables.ANNOTATIONS)
    tables.write_table(data / "explained" / "boxes", boxes, tables.ANNOTATIONS)

    def make(**explained):
        training = {"lr": 0.01, "penalty": 0.001}
        teacher = {"task": TASK, "source": str(root / "shots"), "training": training}
        student = teacher | {"task": TASK | {"kind": "detection"}, "source": "explained"}
        student |= {"training": training | {"head": "detector"}, "features": {"parts": ["mean"]}}
        student["ingest"] = {"explained": explained}
        (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {"teacher": teacher, "student": student}}))
        return load_recipe("student")

    return make


def said(source) -> set[tuple]:
    return {(label.media, label.word, label.said_by, label.box is not None) for label in source.given}


def test_without_people_all_splits_have_the_classifiers_boxes(taught):
    source = locate(taught(recipe="teacher"))
    assert said(source) == {
        ("x/a.png", "animal", "lime", True), ("x/d.png", "animal", "lime", True), ("x/b.png", "nothing", "lime", False),
    }  # fmt: skip
    assert source.files == ("x/a.png", "x/b.png", "x/d.png"), "of the others nothing is known"
    assert source.split == {"x/a.png": "train", "x/b.png": "train", "x/d.png": "test"}
    assert {label.weight for label in source.given if label.box} == {0.25}


def test_peoples_boxes_are_for_held_out_pictures_alone(taught):
    source = locate(taught(recipe="teacher", truth="people.csv"))
    assert said(source) == {
        ("x/a.png", "animal", "lime", True), ("x/b.png", "nothing", "lime", False),
        ("x/d.png", "animal", "lime", True), ("x/d.png", "animal", "human", True),
        ("x/e.png", "nothing", "search", False),
    }  # fmt: skip
    (drawn,) = [label for label in source.given if label.said_by == "human"]
    assert tuple(drawn.box[:4]) == (30.0, 20.0, 30.0, 30.0)


def test_the_words_of_the_recipe_and_a_split_of_its_own(taught):
    recipe = taught(recipe="teacher", truth="people.csv")
    mapped = recipe.ingest.model_copy(update={"label_map": {"raccoon": "animal"}})
    assert locate(recipe.model_copy(update={"ingest": mapped})).label_map["raccoon"] == "animal"
    split = recipe.ingest.split.model_copy(update={"val": ("x/d.png",)})
    with pytest.raises(UsageError, match="ingest.split"):
        locate(recipe.model_copy(update={"ingest": recipe.ingest.model_copy(update={"split": split})}))


def test_a_run_of_frames_of_a_video_is_a_label_for_each_sampled_one():
    rows = [
        {"asset_id": "v", "first_pts": 3, "last_pts": 21, "class": "nothing", "x": None, "source": "search"}
        | {"track_id": None, "weight": 1.0}
    ]
    catalog = {"v": {"name": "v.mp4", "kind": "video"}}
    found = list(explained._labels(rows, catalog, {"v": [(0, 0), (10, 5), (20, 10), (30, 15)]}))
    assert [(label.media, label.index) for label in found] == [("v.mp4", 5), ("v.mp4", 10)]


def test_what_is_named_must_be_there(taught, root):
    with pytest.raises(SightlineError, match="elsewhere.csv"):
        locate(taught(recipe="teacher", truth="elsewhere.csv"))
    with pytest.raises(UsageError, match="no recipe 'nobody'"):
        locate(taught(recipe="nobody"))
    with pytest.raises(UsageError, match="student has no footage of its own"):
        locate(taught(recipe="student"))
    student = taught(recipe="teacher")
    for shard in (root / "data" / "teacher" / "explained" / "boxes").iterdir():
        shard.unlink()
    with pytest.raises(SightlineError, match="explained"):
        locate(student)
