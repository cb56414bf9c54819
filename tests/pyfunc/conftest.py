import sys

import pytest

from tests.serving.conftest import bundles, detector_bundle  # noqa: F401


@pytest.fixture(autouse=True)
def path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where modules are looked for, as it was: MLflow puts a loaded model's code before everything else, and leaves it
    there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
