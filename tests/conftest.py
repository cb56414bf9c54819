"""Fixtures that several packages share: small workspaces with tables made from a seed."""

from pathlib import Path

import pytest

from tests.workspaces import make_workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of its own, the current one for the test: params.yaml, dvc.yaml and the tables before tuning."""
    root = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    return root
