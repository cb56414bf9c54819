"""The stage as a command, on Spark, in a workspace of its own."""

import os
import resource
import shutil
import time
from pathlib import Path

import pytest

from tests.footage import (
    NTSC,
    contents,
    kill_stage,
    make_recipe,
    rows,
    run_stage,
    start_stage,
    write_clip,
    write_picture,
)

LABELS = "video,frame_index,label\n" + "".join(f"a.mp4,{i},{int(i > 9)}\n" for i in range(30))
LABELS += "ghost.mp4,0,1\na.mp4,30,1\nempty.mp4,0,1\nb.mpg,0,2\nb.mpg,1,1\nb.mpg,1,0\n"
INGEST = {"label_map": {"0": "normal", "1": "suspicious"}, "split": {"test": ["a.mp4"]}}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """(workspace, tables of the clean footage, tables with bad neighbours, what the second run printed).

    Spark's own scratch is of no interest; the stage is run on two clean files and a picture, then beside bad ones.
    """
    root = make_recipe(tmp_path_factory.mktemp("ingest"), ingest=INGEST)
    footage = root / "footage"
    write_clip(footage / "night" / "a.mp4", rate=NTSC, bf="2")
    write_clip(footage / "b.mpg", codec="mpeg2video", seed=2)
    write_picture(footage / "c.png")
    (footage / "labels.csv").write_text(LABELS)
    code, printed = run_stage(root, "ingest")
    assert code == 0, printed
    clean = contents(root / "data")
    clean_rows = {table: rows(root, table) for table in ("catalog", "annotations", "refused")}
    whole = (footage / "b.mpg").read_bytes()
    (footage / "copy.mpg").write_bytes(whole)
    (footage / "cut.mp4").write_bytes((footage / "night" / "a.mp4").read_bytes()[:2000])
    (footage / "empty.mp4").touch()
    (footage / "text.mp4").write_text("not a film")
    shutil.copy(footage / "c.png", footage / "picture.mp4")
    (footage / "gone.mp4").symlink_to(footage / "nowhere.mp4")
    Path(os.fsdecode(os.fsencode(footage) + b"/b\xff.mp4")).write_bytes(whole)
    code, printed = run_stage(root, "ingest")
    assert code == 0, printed
    return root, clean, clean_rows, printed


def test_clean_footage(ingested):
    _, _, clean, _ = ingested
    found = {row["name"]: row for row in clean["catalog"]}
    assert list(found) == ["b.mpg", "c.png", "night/a.mp4"]
    assert {row["status"] for row in found.values()} == {"ok"}
    a, b, c = found["night/a.mp4"], found["b.mpg"], found["c.png"]
    assert (a["kind"], b["kind"], c["kind"]) == ("video", "video", "picture")
    assert (a["frame_count"], a["rate_num"], a["rate_den"]) == (30, 30000, 1001)
    assert a["uri"] == "footage/night/a.mp4" and a["asset_id"] == a["sha256"][:16]
    assert (a["split"], {b["split"], c["split"]}) == ("test", {"train", "val"})
    step = 1001 * a["time_base_den"] // 30000
    assert [(row["first_pts"], row["last_pts"], row["class"]) for row in clean["annotations"]] == [
        (0, 9 * step, "normal"),
        (10 * step, 29 * step, "suspicious"),
    ]
    reasons = [(row["uri"], row["line"], row["reason"]) for row in clean["refused"]]
    assert [line for _, line, _ in reasons] == [32, 33, 34, 35, 36, 37]
    assert reasons[0] == ("footage/labels.csv", 32, "no video or picture 'ghost.mp4' in the source")
    assert "past the end" in reasons[1][2] and "not one of the classes" in reasons[3][2]


def test_bad_neighbours_cost_nothing(ingested):
    root, _, clean, printed = ingested
    found = {row["name"]: row for row in rows(root, "catalog")}
    assert [row for row in found.values() if row["status"] == "ok"] == clean["catalog"]
    assert rows(root, "annotations") == clean["annotations"]
    assert (found["copy.mpg"]["status"], found["copy.mpg"]["reason"]) == ("duplicate", "the same bytes as b.mpg")
    bad = {name: row for name, row in found.items() if row["status"] == "quarantined"}
    assert sorted(bad) == ["b\\xff.mp4", "cut.mp4", "empty.mp4", "gone.mp4", "picture.mp4", "text.mp4"]
    for name, row in bad.items():
        assert row["reason"] and row["split"] is None
        assert f"{name}: quarantined: {row['reason']}" in printed
    assert "labels 30 accepted, 6 refused" in printed
    assert "3 ok (1 train, 1 val, 1 test), 6 quarantined, 1 duplicate; 1 other files ignored" in printed


def test_looking_again_starts_no_spark_and_changes_nothing(ingested):
    root, *_ = ingested
    before = contents(root / "data")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code, printed = run_stage(root, "ingest", JAVA_HOME="/nowhere", PYSPARK_PYTHON="/nowhere")
    assert code == 0 and "Spark" not in printed
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime < 6, "seconds of work, whoever else works here"
    assert contents(root / "data") == before


def test_removing_the_bad_ones_brings_back_the_clean_bytes(ingested):
    root, clean, _, _ = ingested
    for path in (root / "footage").iterdir():
        if path.name not in ("night", "b.mpg", "c.png", "labels.csv"):
            path.unlink()
    code, printed = run_stage(root, "ingest")
    assert code == 0 and "probe:" not in printed
    assert contents(root / "data") == clean


def test_killed_while_probing_the_next_run_goes_on(tmp_path):
    root = make_recipe(tmp_path)
    for seed in range(12):
        write_clip(root / "footage" / f"{seed:02d}.mp4", frames=300, size=(320, 240), seed=seed)
    process = start_stage(root, "ingest")
    kept = root / ".sightline" / "work" / "ingest"
    while process.poll() is None and not any(kept.rglob("*.json")):
        time.sleep(0.01)
    assert kill_stage(process) and not (root / "data").exists()
    assert run_stage(root, "ingest")[0] == 0
    resumed = contents(root / "data")
    shutil.rmtree(root / "data")
    shutil.rmtree(root / ".sightline")
    assert run_stage(root, "ingest")[0] == 0
    assert contents(root / "data") == resumed


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A workspace whose footage is a MOT sequence with VOC beside it and a folder per class, looked at once."""
    root = make_recipe(tmp_path_factory.mktemp("pictured"))
    footage = root / "footage"
    for number in range(6):
        write_picture(footage / ("Katze" if number < 3 else "dog") / f"{number}.png", seed=number)
    shutil.copy(footage / "dog" / "5.png", footage / "Katze" / "5.png")
    for number in (1, 2):
        write_picture(footage / "walk" / "img1" / f"{number:06d}.jpg", seed=10 + number)
    truth = "1,4,11,11,20,20,1,1,1\n2,4,61,41,20,20,0,1,1\n3,4,1,1,9,9,1,1,1\n"
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>8</xmax><ymax>9</ymax></bndbox>"
    text = f"<annotation>\n<object><name>fox</name>{box}</object></annotation>"
    for name, content in {"gt/gt.txt": truth, "xml/000001.xml": text, "xml/000002.xml": text[:40]}.items():
        (footage / "walk" / name).parent.mkdir(exist_ok=True)
        (footage / "walk" / name).write_text(content)
    assert run_stage(root, "ingest")[0] == 0
    return root


def read_again(root, **sections):
    """What the stage prints; no file changed, so nothing is probed."""
    make_recipe(root, **sections)
    code, printed = run_stage(root, "ingest", JAVA_HOME="/nowhere")
    assert code == 0, printed
    return printed


def test_a_folder_per_class_without_a_positive_class(pictured):
    ingest = {"labels": "folders", "label_map": {"Katze": "cat", "walk": "dog"}}
    printed = read_again(pictured, task={"classes": ["cat", "dog"]}, ingest=ingest)
    ids = {row["asset_id"]: row["name"] for row in rows(pictured, "catalog") if row["status"] == "ok"}
    found = {ids[row["asset_id"]]: row["class"] for row in rows(pictured, "annotations")}
    cats = {f"Katze/{number}.png": "cat" for number in (0, 1, 2)}
    dogs = {f"dog/{number}.png": "dog" for number in (3, 4)} | {f"walk/img1/00000{n}.jpg": "dog" for n in (1, 2)}
    assert found == cats | dogs
    assert [(row["uri"], row["line"], row["reason"]) for row in rows(pictured, "refused")] == [
        ("footage/Katze/5.png", None, "frame 0 is cat here and dog by dog/5.png"),
        ("footage/dog/5.png", None, "frame 0 is dog here and cat by Katze/5.png"),
    ]
    assert "labels read as folders" in printed and "labels 7 accepted, 2 refused" in printed


def test_a_sequence_with_tracks(pictured):
    printed = read_again(pictured)
    names = {row["asset_id"]: row["name"] for row in rows(pictured, "catalog")}
    found = rows(pictured, "annotations")
    assert sorted((names[row["asset_id"]], row["x"], row["y"], row["w"], row["h"], row["weight"]) for row in found) == [
        ("walk/img1/000001.jpg", 10, 10, 20, 20, 1),
        ("walk/img1/000002.jpg", 60, 40, 4, 8, 0),
    ]
    assert len({row["track_id"] for row in found}) == 1 and {row["class"] for row in found} == {"pedestrian"}
    assert [(row["uri"], row["line"], row["reason"]) for row in rows(pictured, "refused")] == [
        ("footage/walk/gt/gt.txt", 3, "no picture of frame 3 in img1/")
    ]
    assert "boxes of classes that the task does not have: pedestrian (2)" in printed


def test_voc_with_a_damaged_file(pictured):
    read_again(pictured, ingest={"labels": "walk/xml", "label_map": {"fox": "suspicious"}})
    (row,) = rows(pictured, "annotations")
    assert (row["class"], row["x"], row["y"], row["w"], row["h"], row["track_id"]) == ("suspicious", 0, 0, 8, 9, None)
    (bad,) = rows(pictured, "refused")
    assert (bad["uri"], bad["line"]) == ("footage/walk/xml/000002.xml", 2) and len(bad["sha256"]) == 64


@pytest.mark.parametrize(
    ("sections", "code", "words"),
    [
        ({"ingest": {"label_map": {"0": "normla"}}}, 2, "did you mean 'normal'?"),
        ({"ingest": {"uncovered": "none"}}, 2, "ingest.uncovered: 'none' is not a class"),
        ({"ingest": {"split": {"test": ["b.mp4"]}}}, 2, "ingest.split.test: no file of the source matches 'b.mp4'"),
        ({"ingest": {"labels": "wrong.csv"}}, 1, "wrong.csv: line 1: unknown header"),
        ({"ingest": {"labesl": "auto"}}, 2, "did you mean 'labels'?"),
        ({}, 1, "no asset of 1 could be decoded (a.mp4: cannot be read (No such file or directory))"),
    ],
)
def test_wrong_requests_are_answered(tmp_path, sections, code, words):
    root = make_recipe(tmp_path, **sections)
    (root / "footage").mkdir()
    (root / "footage" / "a.mp4").symlink_to("nowhere.mp4")
    (root / "footage" / "wrong.csv").write_text("name,class\n")
    found, printed = run_stage(root, "ingest")
    assert found == code and words in printed and "Traceback" not in printed and "remedy: " in printed
    assert not (root / "data").exists()
