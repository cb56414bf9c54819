"""Where footage is found: folders, the mirror, generated scenes; and what is said where there is none."""

import os

import pytest

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.core.recipe import parse_recipe
from components.ingest.sources import locate
from tests.footage import make_recipe

TASK = {"classes": ["suspicious", "normal", "other"], "positive": "suspicious"}
SCENES = {"seed": 5, "train_clips": 1, "val_clips": 1, "test_clips": 1, "seconds": 2}


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(make_recipe(tmp_path / "workspace")))
    monkeypatch.delenv("SIGHTLINE_MIRROR", raising=False)
    return tmp_path / "workspace"


def recipe(source, **ingest):
    body = {"task": TASK, "source": str(source), "ingest": ingest, "training": {"lr": 0.01, "penalty": 0.001}}
    return parse_recipe("made", body)


def fill(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_a_folder(root, tmp_path):
    fill(root / "shots", "b.MP4", "a/c.png", "labels.csv", "notes.txt", ".hidden.mp4", ".git/d.mp4", "a/._c.png")
    source = locate(recipe("shots", label_map={"yes": "suspicious"}))
    assert source.files == ("a/c.png", "b.MP4") and source.ignored == 2
    assert source.uri("b.MP4") == "shots/b.MP4" and paths.resolve("shots/b.MP4") == root / "shots" / "b.MP4"
    assert source.labels == root / "shots" / "labels.csv"
    assert (source.label_map, source.split) == ({"yes": "suspicious"}, {})
    assert locate(recipe(root / "shots")).uri("b.MP4") == "shots/b.MP4"  # an absolute path inside names no machine
    (tmp_path / "outside").symlink_to(root / "shots")
    assert locate(recipe(tmp_path / "outside")).uri("b.MP4") == f"{tmp_path}/outside/b.MP4"
    assert locate(recipe("../outside")).uri("b.MP4") == "../outside/b.MP4"


def test_links_are_followed_once(root):
    fill(root / "shots", "one/a.mp4")
    (root / "shots" / "one" / "back").symlink_to(root / "shots")
    (root / "shots" / "two").symlink_to(root / "elsewhere")
    fill(root / "elsewhere", "b.mp4")
    assert locate(recipe("shots")).files == ("one/a.mp4", "two/b.mp4")


@pytest.mark.parametrize(
    ("source", "ingest", "kind", "words"),
    [
        ("pde2", {}, UsageError, "did you mean 'ped2'"),
        ("scene", {}, UsageError, "did you mean 'scenes'"),
        ("shots/none", {}, SightlineError, "no such folder"),
        ("shots", {"labels": "frames.csv"}, SightlineError, "shots/frames.csv: the labels file is not there"),
        ("bare", {}, SightlineError, "no video or picture in this folder or below it (1 other files)"),
        ("shots/a.mp4", {}, UsageError, "is a file"),
        ("ped2", {}, SightlineError, "set SIGHTLINE_MIRROR to the folder that holds ped2/"),
    ],
)
def test_no_source(root, source, ingest, kind, words):
    fill(root, "shots/a.mp4", "bare/readme.txt")
    with pytest.raises(SightlineError) as error:
        locate(recipe(source, **ingest))
    assert type(error.value) is kind and words in str(error.value) and error.value.remedy


def test_a_data_set_of_the_mirror(root, tmp_path, monkeypatch):
    fill(tmp_path / "mirror/ped2", "videos/Test001.mp4", "videos/Test004.mp4", "frame_labels.csv", "other/x.mp4")
    monkeypatch.setenv("SIGHTLINE_MIRROR", str(tmp_path / "mirror"))
    source = locate(recipe("ped2"))
    assert source.files == ("videos/Test001.mp4", "videos/Test004.mp4")
    assert source.uri(source.files[0]) == "mirror://ped2/videos/Test001.mp4"
    assert paths.resolve(source.uri(source.files[0])) == source.root / source.files[0]
    assert source.split["videos/Test004.mp4"] == "test" and "videos/Test001.mp4" not in source.split
    assert source.label_map == {"0": "normal", "1": "suspicious"}
    assert source.labels.name == "frame_labels.csv"
    chosen = locate(recipe("ped2", split={"test": ["Test001.mp4"]}, label_map={"0": "other"}))
    assert chosen.split == {} and chosen.label_map["0"] == "other"
    monkeypatch.setenv("SIGHTLINE_MIRROR", str(tmp_path))
    with pytest.raises(SightlineError, match="does not hold the data set 'ped2'"):
        locate(recipe("ped2"))


def test_scenes_are_generated_once_and_made_whole_again(root):
    source = locate(recipe("scenes", scenes=SCENES))
    assert len(source.files) == 3 and sorted(source.split.values()) == ["test", "train", "val"]
    assert all(source.split[name] in name for name in source.files)
    assert source.uri_prefix.startswith(".sightline/scenes/") and source.labels.name == "labels.csv"
    assert source.label_map == {"0": "normal", "1": "suspicious"}
    clip = source.root / source.files[0]
    before, made = clip.read_bytes(), os.stat(source.root / "labels.csv").st_mtime_ns
    assert locate(recipe("scenes", scenes=SCENES)) == source
    assert os.stat(source.root / "labels.csv").st_mtime_ns == made
    (source.root / "scene.json").unlink()  # what an interrupted generation leaves
    clip.write_bytes(b"half")
    assert locate(recipe("scenes", scenes=SCENES)) == source
    assert clip.read_bytes() == before
    assert locate(recipe("scenes", scenes=SCENES | {"seconds": 2.5})).root != source.root
