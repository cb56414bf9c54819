"""Fixtures of evaluation: footage made once, and workspaces with it."""

from fractions import Fraction

import pytest

from components.core import paths
from tests.evaluation.made import place, write_clip


@pytest.fixture(scope="session")
def footage(tmp_path_factory):
    """Three held-out clips and one of training, MPEG-2 and H.264, with the class of every frame; made once."""
    folder = tmp_path_factory.mktemp("footage")
    second = [0] * 14 + [1] * 16 + [0] * 20
    return [
        (write_clip(folder / "gate.mpg", "mpeg2video", 50), "test", second),
        (write_clip(folder / "hall.mp4", "libx264", 45), "test", [1] * 10 + [0] * 20 + [-1] * 5 + [0] * 10),
        (write_clip(folder / "quiet.mp4", "libx264", 30, Fraction(25)), "test", [0] * 30),
        (write_clip(folder / "other.mp4", "libx264", 30, Fraction(24)), "train", [0] * 15 + [1] * 15),
    ]


@pytest.fixture
def workspace(tmp_path, footage, monkeypatch):
    """A workspace that holds the footage and all that evaluation reads; it is the current one."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    place(tmp_path, footage)
    assert paths.workspace() == tmp_path
    return tmp_path
