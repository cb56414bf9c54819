"""Digits: a folder per class, the same bytes from a seed, pictures that are neither alike nor all different."""

import json

import numpy as np
import pytest

from components.core.files import tree_sha256
from components.core.media import read_picture
from components.pictures.digits import DigitSpec, generate

SPEC = DigitSpec(seed=3, per_class=12, size=32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The data set, made once."""
    return generate(SPEC, tmp_path_factory.mktemp("digits"))


def test_a_folder_per_class_of_pictures_of_the_size_asked_for(made):
    assert sorted(path.name for path in made.iterdir() if path.is_dir()) == list("0123456789")
    for name in "0123456789":
        files = sorted(path.name for path in (made / name).iterdir())
        assert files == [f"{number:03d}.png" for number in range(12)]
    assert read_picture(made / "7/004.png").shape == (32, 32, 3)
    assert json.loads((made / "spec.json").read_text()) == {"seed": 3, "per_class": 12, "size": 32}


def test_the_same_spec_gives_the_same_bytes_and_fewer_are_the_first_of_more(made, tmp_path):
    assert tree_sha256(generate(SPEC, tmp_path / "again")) == tree_sha256(made)
    fewer = generate(DigitSpec(3, 2, 32), tmp_path / "fewer")
    assert all((made / path.relative_to(fewer)).read_bytes() == path.read_bytes() for path in fewer.rglob("*.png"))
    other = generate(DigitSpec(4, 1, 32), tmp_path / "other")
    assert (other / "0/000.png").read_bytes() != (made / "0/000.png").read_bytes()


def test_a_class_can_be_told_but_not_by_its_nearest_picture_alone(made):
    """Pixels' nearest neighbour does better than chance and is far from right: the task is not trivial."""
    pictures = np.array([[read_picture(made / f"{name}/{i:03d}.png")[..., 0] for i in range(12)] for name in range(10)])
    flat = pictures.reshape(120, -1).astype(np.float32)
    flat = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
    alike = np.abs(flat @ flat.T) - 1e9 * np.eye(120)
    right = np.mean(np.arange(120) // 12 == alike.argmax(1) // 12)
    assert 0.25 < right < 0.95
