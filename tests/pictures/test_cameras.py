"""Camera pictures: the same bytes from a seed, EXIF that a reader understands, labels that the pictures bear out."""

import csv
import json

import cv2
import numpy as np
import pytest
from PIL import ExifTags, Image

from components.core.files import tree_sha256
from components.core.media import read_picture
from components.pictures.cameras import CameraSpec, generate, picture, shots
from components.pictures.draw import stream
from components.pictures.light import Camera
from components.pictures.sites import paint

SPEC = CameraSpec(seed=5, sites=3, pictures=4, animals=0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data set, made once."""
    return generate(SPEC, tmp_path_factory.mktemp("cameras"))


def labels(folder):
    with open(folder / "labels.csv", newline="") as file:
        return {row["image"]: row["label"] for row in csv.DictReader(file)}


def test_the_same_spec_gives_the_same_bytes_and_another_seed_others(made, tmp_path):
    ticks = []
    generate(SPEC, tmp_path / "again", progress=lambda done, total: ticks.append((done, total)))
    assert tree_sha256(tmp_path / "again") == tree_sha256(made)
    assert ticks == [(n, 12) for n in range(1, 13)]
    other = generate(CameraSpec(6, 1, 1, 0.5), tmp_path / "other")
    assert (other / "site-a/IMG_0001.jpg").read_bytes() != (made / "site-a/IMG_0001.jpg").read_bytes()


def test_every_picture_is_labelled_and_half_show_an_animal(made):
    found = labels(made)
    assert set(found) == {path.relative_to(made).as_posix() for path in made.rglob("*.jpg")}
    assert sorted(found.values()) == ["animal"] * 6 + ["empty"] * 6
    assert json.loads((made / "spec.json").read_text()) == {"seed": 5, "sites": 3, "pictures": 4, "animals": 0.5}


def test_exif_says_where_when_and_with_what_it_was_taken(made):
    times = []
    for path in sorted((made / "site-b").glob("*.jpg")):
        with Image.open(path) as image:
            tags = image.getexif()
            camera, gps = tags.get_ifd(ExifTags.IFD.Exif), tags.get_ifd(ExifTags.IFD.GPSInfo)
        assert tags[ExifTags.Base.Make] == "Fieldlark" and tags[ExifTags.Base.Model] == "FL-300 IR"
        assert camera[ExifTags.Base.LensModel].startswith("FL") and camera[ExifTags.Base.FNumber] == 2
        assert 0 < camera[ExifTags.Base.ExposureTime] < 0.1 and camera[ExifTags.Base.ISOSpeedRatings] >= 100
        assert camera[ExifTags.Base.FocalLength] == 5 and camera[ExifTags.Base.OffsetTimeOriginal] == "+02:00"
        degrees, minutes, seconds = gps[ExifTags.GPS.GPSLatitude]
        assert 45 < degrees < 62 and minutes < 60 and seconds < 60 and gps[ExifTags.GPS.GPSLatitudeRef] == "N"
        assert 60 <= gps[ExifTags.GPS.GPSAltitude] <= 1400
        times.append(camera[ExifTags.Base.DateTimeOriginal])
    assert times == sorted(times) and len(set(times)) == 4


@pytest.mark.parametrize(("site", "orientation", "stored", "upright"), [
    ("site-a", 1, (640, 480), (480, 640, 3)),
    ("site-b", 3, (640, 480), (480, 640, 3)),
    ("site-c", 6, (640, 480), (640, 480, 3)),
])  # fmt: skip
def test_a_camera_that_hangs_turned_says_so_and_is_read_upright(made, site, orientation, stored, upright):
    path = made / site / "IMG_0001.jpg"
    with Image.open(path) as image:
        assert image.size == stored and image.getexif()[ExifTags.Base.Orientation] == orientation
    read = read_picture(path)
    assert read.shape == upright
    number = "abc".index(site[-1])
    shot = shots(SPEC, number)[0]
    drawn = picture(Camera(paint(5, number, shot.epoch), 5, number), shot, stream(5, number, 1000))
    assert np.abs(read.astype(int) - drawn).mean() < 4, "only JPEG stands between them"


def test_an_animal_changes_the_picture_and_an_empty_one_shows_none():
    """The same moment with and without: they differ where the animal is, and there only."""
    changed = []
    for number in range(3):
        for index, shot in enumerate(shots(CameraSpec(5, 3, 6, 0.99), number)):
            assert shot.animal
            camera = Camera(paint(5, number, shot.epoch), 5, number)
            scene = picture(camera, shot, stream(1, index))
            without = picture(
                camera, type(shot)(shot.name, shot.taken, shot.epoch, shot.weather, False), stream(1, index)
            )
            difference = cv2.GaussianBlur(np.abs(scene.astype(np.float32) - without), (0, 0), 3).max(2)
            changed.append(float((difference > 25).mean()))
    assert np.median(changed) > 0.004


def test_pictures_by_night_are_grey_and_by_day_are_not(made):
    for number, site in enumerate("abc"):
        for shot in shots(SPEC, number):
            rgb = read_picture(made / f"site-{site}" / shot.name).astype(int)
            colour = np.abs(rgb[..., 0] - rgb[..., 2]).mean()
            assert (colour < 0.5) == shot.weather.night
