"""Where footage is found: folders, globs, generators; and what is said where there is none."""

import os

import pytest

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.ingest.sources import locate
from components.ingest.sources.folder import matches

SCENES = {"seed": 5, "train_clips": 1, "val_clips": 1, "test_clips": 1, "seconds": 2}
OUTWARDS = "a link that leads out of the folder"


def test_a_folder(root, tmp_path, named, fill):
    fill(root / "shots", "b.MP4", "a/c.png", "labels.csv", "notes.txt", ".hidden.mp4", ".git/d.mp4", "a/._c.png")
    source = locate(named("shots", label_map={"yes": "suspicious"}))
    assert source.files == ("a/c.png", "b.MP4") and source.ignored == 2
    assert source.uri("b.MP4") == "shots/b.MP4" and paths.resolve("shots/b.MP4") == root / "shots" / "b.MP4"
    assert source.labels == root / "shots" / "labels.csv"
    assert (source.label_map, source.split, source.refused) == ({"yes": "suspicious"}, {}, ())
    assert locate(named(root / "shots")).uri("b.MP4") == "shots/b.MP4"  # an absolute path inside names no machine
    assert locate(named(f"file://{root}/shots")).uri("b.MP4") == "shots/b.MP4"
    (tmp_path / "outside").symlink_to(root / "shots")
    assert locate(named(tmp_path / "outside")).uri("b.MP4") == f"{tmp_path}/outside/b.MP4"
    assert locate(named("../outside")).uri("b.MP4") == "../outside/b.MP4"
    fill(root, "loose.mp4")
    assert locate(named("*.mp4")).uri("loose.mp4") == "loose.mp4"


def test_links_inside_are_followed_once_and_links_outwards_are_named(root, named, fill):
    fill(root / "shots", "one/a.mp4", ".store/deep/c.mp4", "z/d.mp4")
    fill(root / "elsewhere", "b.mp4")
    links = {
        "one/back": root / "shots", "two": root / "elsewhere", "out.mp4": root / "elsewhere" / "b.mp4", "self": "self",
        "in.mp4": "one/a.mp4", "kept": ".store", "also_z": "z", "gone.mp4": "nothing.mp4", "up.mp4": "../gone.mp4",
        "note.txt": root / "elsewhere" / "b.mp4",
    }  # fmt: skip
    for name, target in links.items():
        (root / "shots" / name).symlink_to(target)
    source = locate(named("shots"))
    # A folder under a link is listed by its own name; only one that has none here by the link's.
    assert source.files == ("gone.mp4", "in.mp4", "kept/deep/c.mp4", "one/a.mp4", "z/d.mp4")
    assert source.refused == (("out.mp4", OUTWARDS), ("two", OUTWARDS), ("up.mp4", OUTWARDS))
    (root / "shots" / "in.mp4").unlink()
    for name in ("one", "kept", "z", ".store"):
        (root / "shots" / name).rename(root / name)
    (root / "shots" / "gone.mp4").unlink()
    with pytest.raises(SightlineError, match="'out.mp4': a link that leads out"):
        locate(named("shots"))


def test_pipes_and_folders_that_cannot_be_read_are_named(root, named, fill):
    fill(root / "shots", "a.mp4", "x.mp4/b.mp4")
    os.mkfifo(root / "shots" / "p.mp4")
    source = locate(named("shots"))
    assert source.files == ("a.mp4", "x.mp4/b.mp4")
    assert source.refused == (("p.mp4", "neither a file nor a folder: a pipe, a socket or a device"),)


def test_globs(root, named, fill):
    fill(root / "shots", "a.mp4", "day/b.mp4", "day/b.png", "day/late/c.mp4", "labels.csv", "[odd]/d.mp4")
    source = locate(named("shots/**/*.mp4"))
    assert source.files == ("[odd]/d.mp4", "a.mp4", "day/b.mp4", "day/late/c.mp4")
    assert source.ignored == 2 and source.labels == root / "shots" / "labels.csv"
    assert source.uri("a.mp4") == "shots/a.mp4"
    assert locate(named("shots/day/*.*")).files == ("b.mp4", "b.png")
    assert locate(named(f"{root}/sh?ts/**/c.mp4")).files == ("shots/day/late/c.mp4",)
    assert locate(named("shots/[odd]")).files == ("d.mp4",)  # a folder that is there is no pattern
    with pytest.raises(UsageError, match=r"matches '\*\*/\*.avi'\n  remedy: names there look like '\[odd\]/d.mp4'"):
        locate(named("shots/**/*.avi"))
    with pytest.raises(UsageError, match="after a wildcard"):
        locate(named("shots/*/../../x.mp4"))


@pytest.mark.parametrize(
    ("name", "pattern", "expected"),
    [
        ("a/b/c", "**", True), ("a/b/c", "**/c", True), ("c", "**/c", True), ("a/b/c", "a/**/c", True),
        ("a/c", "a/**/c", True), ("a/b", "*", False), ("a/b", "a*b", False), ("ab", "a*b", True),
        ("a/b/c", "a/*", False), ("a/b/c", "*/?/[abc]", True), ("A", "a", False), ("x", "**/**/**/x", True),
        ("a/b/a/b/c", "**/a/**/b/**/c", True),
        ("/".join("a" * 60) + "/b", "**/a/" * 20 + "c", False),
    ],
)  # fmt: skip
def test_matching(name, pattern, expected):
    assert matches(name, pattern) is expected


@pytest.mark.parametrize(
    ("source", "ingest", "kind", "words"),
    [
        ("pde2", {}, UsageError, "did you mean 'ped2'"),
        ("scene", {}, UsageError, "did you mean 'scenes'"),
        ("shots/none", {}, SightlineError, "no such folder"),
        ("shots/none.zip", {}, SightlineError, "no such archive"),
        ("shots", {"labels": "frames.csv"}, SightlineError, "shots/frames.csv: the labels file is not there"),
        ("bare", {}, SightlineError, "bare ({root}/bare): no video or picture in it (1 other files)"),
        ("shots/a.mp4", {}, UsageError, "is a file"),
        ("ped2", {}, SightlineError, "set SIGHTLINE_MIRROR to the folder that holds ped2/"),
        ("caviar", {}, SightlineError, "sightline data caviar"),
        ("file://host/x", {}, UsageError, "names the host 'host'"),
        ("s4://bucket/x", {}, UsageError, "did you mean 's3'"),
        ("https://me:secret@host/x", {}, UsageError, "has a password in it"),
        ("https://host/x?token=1", {}, UsageError, "? or #"),
        ("https://host/a/%2e%2e/b", {}, UsageError, "`..` in the path"),
        ("https:///x", {}, UsageError, "no plain address"),
        ("simplecache::s3://b/x", {}, UsageError, "no plain address"),
        ("https://[::1/x", {}, UsageError, "Invalid IPv6"),
    ],
)
def test_no_source(root, source, ingest, kind, words, named, fill):
    fill(root, "shots/a.mp4", "bare/readme.txt")
    with pytest.raises(SightlineError) as error:
        locate(named(source, **ingest))
    assert type(error.value) is kind and error.value.remedy
    assert words.format(root=root) in str(error.value)
    assert "secret" not in str(error.value)


def test_labels_by_their_format(root, named, fill):
    fill(root / "shots", "3/a.png", "labels.csv", "annots/a.xml")
    whole = root / "shots"
    for ingest, labels, form in [
        ({}, whole / "labels.csv", "auto"),
        ({"labels": "folders"}, whole, "folders"),
        ({"label_format": "folders"}, whole, "folders"),
        ({"label_format": "voc"}, whole, "voc"),
        ({"label_format": "csv"}, whole / "labels.csv", "csv"),
        ({"labels": "annots"}, whole / "annots", "auto"),
        ({"labels": "annots", "label_format": "voc"}, whole / "annots", "voc"),
    ]:
        source = locate(named("shots", **ingest))
        assert (source.labels, source.label_format) == (labels, form), ingest


def test_scenes_are_generated_once_and_made_whole_again(root, named):
    source = locate(named("scenes", scenes=SCENES))
    assert len(source.files) == 3 and sorted(source.split.values()) == ["test", "train", "val"]
    assert all(source.split[name] in name for name in source.files)
    assert source.uri_prefix.startswith(".sightline/scenes/") and source.labels.name == "labels.csv"
    assert source.label_map == {"0": "normal", "1": "suspicious"}
    clip = source.root / source.files[0]
    before, made = clip.read_bytes(), os.stat(source.root / "labels.csv").st_mtime_ns
    assert locate(named("scenes", scenes=SCENES)) == source
    assert os.stat(source.root / "labels.csv").st_mtime_ns == made
    (source.root / "scene.json").unlink()  # what an interrupted generation leaves
    clip.write_bytes(b"half")
    assert locate(named("scenes", scenes=SCENES)) == source
    assert clip.read_bytes() == before
    assert locate(named("scenes", scenes=SCENES | {"seconds": 2.5})).root != source.root


def test_digits_and_cameras_are_generated(root, named):
    tasks = {"classes": [str(digit) for digit in range(10)]}
    source = locate(named("digits", task=tasks, digits={"per_class": 2, "size": 24}))
    assert len(source.files) == 20 and {name.split("/")[0] for name in source.files} == set(tasks["classes"])
    assert (source.labels, source.label_format, source.label_map) == (source.root, "folders", {})
    source = locate(named("cameras", cameras={"sites": 2, "pictures": 3}))
    assert len(source.files) == 6 and source.labels == source.root / "labels.csv"
    assert source.label_map == {"empty": "normal", "animal": "suspicious"}
    assert locate(named("cameras", cameras={"sites": 2, "pictures": 3})) == source
