"""A workspace of its own for what the tests of sources locate, and the recipe that names a source."""

from pathlib import Path

import pytest

from components.core.recipe import parse_recipe
from tests.footage import make_recipe

TASK = {"classes": ["suspicious", "normal", "other"], "positive": "suspicious"}


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """The workspace; no mirror, and a user's cache beside it."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(make_recipe(tmp_path / "workspace")))
    monkeypatch.setenv("SIGHTLINE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SIGHTLINE_MIRROR", raising=False)
    return tmp_path / "workspace"


@pytest.fixture
def named():
    """A function: a recipe with this source and these parameters of ingest."""

    def make(source, task=TASK, **ingest):
        body = {"task": task, "source": str(source), "ingest": ingest, "training": {"lr": 0.01, "penalty": 0.001}}
        return parse_recipe("made", body)

    return make


@pytest.fixture
def fill():
    """A function: writes these files (their names are their bytes) below a folder."""

    def write(folder, *names):
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(name.encode())

    return write
