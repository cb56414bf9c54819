"""Data sets by name: from the mirror, from what was fetched, and fetched from a server of this machine."""

import dataclasses
import hashlib
import io
import json
import shutil
import tarfile

import av
import cv2
import numpy as np
import pytest

from components.core import paths
from components.core.errors import SightlineError, UsageError
from components.ingest import fetch
from components.ingest.sources import datasets, locate, unpack, web
from components.ingest.sources import named as by_name
from components.ingest.sources.datasets import DATASETS, Dataset, File
from tests.footage import picture
from tests.ingest.servers import serve


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """An empty mirror."""
    monkeypatch.setenv("SIGHTLINE_MIRROR", str(tmp_path / "mirror"))
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


@pytest.fixture
def published(tmp_path, monkeypatch, fill):
    """(server, data set `toy` with three clips of which one has no checksum): its Dataset is known by name."""
    monkeypatch.setattr(web, "BACKOFF_S", 0.01)
    monkeypatch.setenv("NO_PROXY", "*")
    names = ["videos/a.mp4", "videos/b.mp4", "truth/a.xml"]
    fill(tmp_path / "site", *names)
    with serve(tmp_path / "site") as server:
        files = tuple(
            File(name, f"{server.url}/{name}", len(name),
                 hashlib.sha256(name.encode()).hexdigest() if name.endswith("mp4") else None)
            for name in names
        )  # fmt: skip
        toy = Dataset("toy", "two clips", "none", "nobody", ("videos",), label_format="cvml", files=files)
        monkeypatch.setitem(DATASETS, "toy", toy)
        yield server


def test_a_data_set_of_the_mirror(root, named, fill, mirror, monkeypatch):
    fill(mirror / "ped2", "videos/Test001.mp4", "videos/Test004.mp4", "frame_labels.csv", "other/x.mp4")
    source = locate(named("ped2"))
    assert source.files == ("videos/Test001.mp4", "videos/Test004.mp4")
    assert source.uri(source.files[0]) == "dataset://ped2/videos/Test001.mp4"
    assert paths.resolve(source.uri(source.files[0])) == source.root / source.files[0]
    assert source.split["videos/Test004.mp4"] == "test" and "videos/Test001.mp4" not in source.split
    assert source.label_map == {"0": "normal", "1": "suspicious"}
    assert source.labels.name == "frame_labels.csv" and source.label_format == "csv"
    chosen = locate(named("ped2", split={"test": ["Test001.mp4"]}, label_map={"0": "other"}))
    assert chosen.split == {} and chosen.label_map["0"] == "other"
    monkeypatch.setenv("SIGHTLINE_MIRROR", str(mirror.parent))
    with pytest.raises(
        SightlineError, match="'ped2' is a data set that is not here(.|\n)*sightline data ped2; or set SIGHT"
    ):
        locate(named("ped2"))


def test_words_that_are_classes_stay_and_without_a_positive_class_none_is_mapped(root, named, fill, mirror):
    fill(mirror / "camera-trap", "one/2020/a.JPG", "labels.csv")
    task = {"classes": ["lem_lem", "empty", "animal"], "positive": "animal"}
    source = locate(named("camera-trap", task=task))
    assert source.label_map == {"cricetidae": "animal", "mus_erm": "animal"} and source.label_column == "class"
    assert locate(named("camera-trap", task={"classes": ["empty", "animal"]})).label_map == {}
    fill(mirror / "camera-trap", "own.csv")
    own = locate(named("camera-trap", labels="own.csv"))
    assert (own.labels.name, own.label_column, own.label_format) == ("own.csv", None, "auto")


LAYOUTS = {
    "caviar": (["CAVIARDATA1/Fight_RunAway2/x.mpg", "CAVIARDATA1/Walk1/y.mpg", "CAVIARDATA2/z/z.mpg",
                "CAVIARDATA1/Walk1/wk1gt.xml"], None, "cvml", {"CAVIARDATA1/Fight_RunAway2/x.mpg"}),
    "bangla-digits": (["images50/3/a.png", "other/b.png"], None, "folders", set()),
    "numtadb": (["images/3/a.png"], None, "folders", set()),
    "mot17": (["train/MOT17-02/img1/000001.jpg", "train/MOT17-02/gt/gt.txt"], None, "mot", set()),
    "tud-campus": (["img1/000001.jpg", "gt/gt.txt"], "gt/gt.txt", "mot", set()),
    "raccoon": (["images/a.jpg", "boxes.csv"], "boxes.csv", "csv", set()),
    "kangaroo": (["images/a.jpg", "annots/a.xml"], "annots", "voc", set()),
    "openimages": (["images/a.jpg", "boxes.csv"], "boxes.csv", "openimages", set()),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(root, named, fill, mirror, name):
    files, labels, form, held_out = LAYOUTS[name]
    fill(mirror / DATASETS[name].folder, *files)
    source = locate(named(name))
    media = DATASETS[name].media
    pictures = {file for file in files if file.endswith(("jpg", "png", "mpg")) and file.startswith(media)}
    assert set(source.files) == pictures
    assert source.labels == (source.root / labels if labels else source.root) and source.label_format == form
    assert set(source.split) == held_out and set(source.split.values()) <= {"test"}


def test_facts_of_the_tables():
    caviar = DATASETS["caviar"].files
    clips = [file for file in caviar if file.path.endswith(".mpg")]
    assert len(clips) == 51 and len({file.path for file in caviar}) == len(caviar)
    assert all(len(file.sha256) == 64 and file.bytes > 1_000_000 for file in clips)
    assert all(file.sha256 is None and "/CAVIARDATA1/" in file.url for file in caviar if file.path.endswith(".xml"))
    held_out = {glob.split("/")[1] for glob in DATASETS["caviar"].test}
    assert held_out <= {file.path.split("/")[1] for file in clips}
    for dataset in DATASETS.values():
        assert dataset.licence and dataset.cite and bool(dataset.files) != bool(dataset.by_hand)
        assert all(file.url.startswith("https://") or file.sha256 for file in dataset.files)
        assert not dataset.unpack or callable(getattr(unpack, dataset.unpack))


def test_fetched_checked_and_found(root, named, published, tmp_path, capsys):
    with pytest.raises(SightlineError, match="sightline data toy"):
        locate(named("toy"))
    fetch.main("toy", False)
    printed = capsys.readouterr().err
    assert "2 of 3 files have their published SHA-256" in printed and "--set source=toy" in printed
    source = locate(named("toy"))
    assert source.root == tmp_path / "cache/data/toy" and source.files == ("videos/a.mp4", "videos/b.mp4")
    assert source.uri("videos/a.mp4") == "dataset://toy/videos/a.mp4"
    assert paths.resolve("dataset://toy/videos/a.mp4").read_bytes() == b"videos/a.mp4"
    published.asked.clear()
    fetch.main("toy", True)
    assert published.asked == [] and json.loads(capsys.readouterr().out)["checked"] == 2
    (source.root / "videos/a.mp4").write_bytes(b"spoilt")
    (source.root / "truth/a.xml").write_bytes(b"spoilt")  # what it was when it was fetched is remembered
    fetch.main("toy", False)
    assert sorted(name for name, _, _ in published.asked) == ["/truth/a.xml", "/videos/a.mp4"]
    assert (source.root / "truth/a.xml").read_bytes() == b"truth/a.xml"


def test_a_wrong_checksum_or_a_file_that_is_gone_is_named(root, published, tmp_path):
    (published.root / "videos/a.mp4").write_bytes(b"other bytes!")
    (published.root / "videos/b.mp4").unlink()
    with pytest.raises(SightlineError, match="2 of 3 files: .*a.mp4: its SHA-256 is .*b.mp4: the server answers 404"):
        fetch.main("toy", False)
    assert not (tmp_path / "cache/data/toy/videos/a.mp4").exists()
    assert not (tmp_path / "cache/data/toy/fetched.json").exists()


def test_the_mirror_is_used_in_place_and_checked(root, named, published, mirror, tmp_path):
    shutil.copytree(published.root, mirror / "toy")
    fetch.main("toy", False)
    assert published.asked == [] and not (tmp_path / "cache").exists()
    assert locate(named("toy")).root == mirror / "toy"
    (mirror / "toy/videos/b.mp4").write_bytes(b"spoilt")
    with pytest.raises(SightlineError, match=r"1 files are not what was published \(SHA-256\): videos/b.mp4"):
        fetch.main("toy", False)


def test_what_the_mirror_lacks_comes_from_the_network(root, named, published, mirror, tmp_path, capsys):
    shutil.copytree(published.root, mirror / "toy")
    (mirror / "toy/videos/b.mp4").unlink()
    assert locate(named("toy")).files == ("videos/a.mp4",)  # what is there can be used
    fetch.main("toy", False)
    assert "1 of 3 files are not there: videos/b.mp4" in capsys.readouterr().err
    assert [name for name, _, _ in published.asked] == ["/videos/b.mp4"]
    source = locate(named("toy"))
    assert source.root == tmp_path / "cache/data/toy" and len(source.files) == 2
    assert all(paths.resolve(source.uri(name)).read_bytes() == name.encode() for name in source.files)
    shutil.rmtree(source.root)
    (mirror / "toy/videos/a.mp4").write_bytes(b"spoilt")
    with pytest.raises(SightlineError, match="mirror/toy/videos/a.mp4: not what was published"):
        fetch.main("toy", False)


def test_arrays_become_folders_of_pictures(root, named, mirror, monkeypatch, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (140, 8, 6, 3), dtype=np.uint8)
    labels = np.arange(140) % 2
    (mirror / "bangla-digits").mkdir()
    path = mirror / "bangla-digits/training-images.npz"
    np.savez(path, images=images, labels=labels)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("cmaterdb", "bangla-digits"):
        file = dataclasses.replace(datasets._NPZ, bytes=path.stat().st_size, sha256=digest)
        monkeypatch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], files=(file,)))
        fetch.main(name, False)
    source = locate(named("cmaterdb"))
    assert len(source.files) == 140 and source.label_format == "folders"
    assert (cv2.imread(str(source.root / "images/1/0003.png"))[..., ::-1] == images[3]).all()
    few = locate(named("bangla-digits"))
    assert len(few.files) == 100 and sum(name.startswith("images50/0/0_") for name in few.files) == 50
    for name in few.files:
        index = int(name[-8:-4])
        assert labels[index] == int(name.split("/")[1])
    before = {name: (few.root / name).read_bytes() for name in few.files}
    shutil.rmtree(few.root)
    fetch.main("bangla-digits", False)
    assert before == {name: (few.root / name).read_bytes() for name in locate(named("bangla-digits")).files}
    np.savez(tmp_path / "evil.npz", images=np.array([{}], dtype=object), labels=labels)
    with pytest.raises(SightlineError, match="not the pictures and labels of an npz"):
        unpack.read_pictures(tmp_path / "evil.npz")


def test_ped2_as_it_is_published(root, named, mirror, monkeypatch, tmp_path):
    path = mirror / "ped2/UCSD_Anomaly_Dataset.tar.gz"
    path.parent.mkdir()
    shots = {clip: [picture(7 * clip + index, 36, 24)[..., 0] for index in range(5)] for clip in (1, 4)}
    with tarfile.open(path, "w:gz") as archive:
        for clip, pictures in shots.items():
            base = f"UCSD_Anomaly_Dataset.v1p2/UCSDped2/Test/Test{clip:03d}"
            for index in reversed(range(5)):
                mask = np.full((24, 36), 0, np.uint8)
                mask[3, 4] = 255 * (index >= clip)
                for name, content in [
                    (f"{base}/{index + 1:03d}.tif", pictures[index]), (f"{base}_gt/{index + 1:03d}.bmp", mask),
                    (f"{base}/._{index + 1:03d}.tif", mask),
                ]:  # fmt: skip
                    data = cv2.imencode(name[-4:], content)[1].tobytes()
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    archive.addfile(info, io.BytesIO(data))
    file = dataclasses.replace(
        DATASETS["ped2"].files[0], bytes=None, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(DATASETS, "ped2", dataclasses.replace(DATASETS["ped2"], files=(file,)))
    fetch.main("ped2", False)
    source = locate(named("ped2"))
    assert source.files == ("videos/Test001.mp4", "videos/Test004.mp4") and source.split == {source.files[1]: "test"}
    labels = source.labels.read_text().splitlines()
    assert labels[1:6] == [f"Test001.mp4,{index},{int(index >= 1)}" for index in range(5)]
    assert labels[6:] == [f"Test004.mp4,{index},{int(index >= 4)}" for index in range(5)]
    with av.open(str(source.root / source.files[0])) as video:
        assert video.streams.video[0].average_rate == 10
        for index, frame in enumerate(video.decode(video=0)):
            shown = frame.to_ndarray(format="gray").astype(int)
            assert abs(shown - shots[1][index]).mean() < 4 and index < 5
    before = {name: (source.root / name).read_bytes() for name in source.files}
    shutil.rmtree(source.root)
    fetch.main("ped2", False)
    assert before == {name: (source.root / name).read_bytes() for name in source.files}
    (source.root / "fetched.json").unlink()
    (source.root / "UCSD_Anomaly_Dataset.tar.gz").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SightlineError, match="damaged in the archive"):
        unpack.ped2(source.root)


def test_what_a_command_cannot_fetch_is_told_by_hand(root, named, fill, tmp_path):
    with pytest.raises(SightlineError, match="laid out by hand(.|\n)*put it into .*data/mot17: download MOT17.zip"):
        fetch.main("mot17", False)
    fill(tmp_path / "cache/data/mot17", "train/S/img1/000001.jpg")
    fetch.main("mot17", False)
    assert locate(named("mot17")).files == ("train/S/img1/000001.jpg",)


def test_a_recipe_s_source_is_fetched_by_its_name(root, fill, capsys):
    fill(root / "footage", "a.mp4")
    fetch.main("made", False)
    assert "1 videos and pictures" in capsys.readouterr().err
    with pytest.raises(UsageError, match="'mad' is no data set, and no recipe\n  remedy: did you mean 'made'"):
        fetch.main("mad", False)


def test_the_list(root, capsys, fill, mirror):
    fill(mirror / "ped2", "videos/a.mp4")
    fetch.show(False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DATASETS) and any(line.split()[:2] == ["ped2", "here"] for line in lines)
    fetch.show(True)
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ped2"]["here"] == str(mirror / "ped2") and rows["caviar"]["fetched"] and not rows["mot15"]["here"]


def test_resolving(root, tmp_path, mirror, fill):
    fill(mirror, "x/a.mp4")
    fill(tmp_path / "cache/data", "x/b.mp4")
    assert paths.resolve("dataset://x/a.mp4") == mirror / "x/a.mp4"
    assert paths.resolve("dataset://x/b.mp4") == tmp_path / "cache/data/x/b.mp4"
    assert paths.resolve("a/b.mp4") == root / "a/b.mp4"
    assert paths.resolve("/a/b.mp4").as_posix() == "/a/b.mp4"
    assert paths.resolve("wow!/a.mp4") == root / "wow!/a.mp4"
    with pytest.raises(SightlineError, match="sightline data x"):
        paths.resolve("dataset://x/c.mp4")
    for uri in ("dataset://../x", "dataset://x/../../y", "s3://b/../../x", "https://h/%2e%2e/%2e%2e/x", "s3:///etc/passwd",
                "a.zip!/../x", "a.zip!//etc/passwd", "https://h/a.zip!/../../x"):  # fmt: skip
        with pytest.raises(SightlineError, match="leads out of its folder"):
            paths.resolve(uri)
    assert by_name.place(DATASETS["ped2"]) is None
