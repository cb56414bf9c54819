"""A workspace with an empty MLflow store."""

from pathlib import Path

import pytest

from components.promotion import compare
from tests.deployment import making


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter(tmp_path, monkeypatch)
    making.give_store(tmp_path)
    return tmp_path


def enter(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `root` the current workspace; intervals are taken over few draws there."""
    monkeypatch.setattr(compare, "RESAMPLES", 50)
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root.mkdir(exist_ok=True)
    monkeypatch.chdir(root)
