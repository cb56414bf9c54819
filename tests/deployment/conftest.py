from pathlib import Path

import pytest

from components.core.recipe import Recipe
from tests.deployment import making


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty workspace, the current one for the test."""
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(tmp_path))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def trained(root: Path) -> tuple[Recipe, Path]:
    """(recipe, data folder) as the evaluation leaves it: a random backbone, a temporal head."""
    recipe = making.write_params(root)
    data = root / "data" / making.RECIPE
    making.write_tables(data)
    making.write_model(data, recipe, 1)
    making.write_evaluation(data, 1.0, 1)
    return recipe, data
