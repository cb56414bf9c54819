"""Fixtures that several packages share: small workspaces with tables made from a seed."""

import os
import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.workspaces import make_workspace

# A shell that starts the tests in the background has them ignore interrupts, and all that they start inherits it: then
# nothing here could be interrupted.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Several tests at a time run in processes without a main file, which PySpark takes for its own doctests and ends.
if not hasattr(sys.modules["__main__"], "__file__"):
    sys.modules["__main__"].__file__ = str(Path(__file__).with_name("__init__.py"))

# Examples may take long where the machine is busy: what a property test is about is never its time. The same ones each
# time, so that a change is never refused for what it did not do; SIGHTLINE_EXAMPLES=new looks for others.
settings.register_profile(
    "busy",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("SIGHTLINE_EXAMPLES") != "new",
)
settings.load_profile("busy")


@pytest.fixture(scope="module", autouse=True)
def no_store_left():
    """MLflow sets MLFLOW_TRACKING_URI to the store used last: none is left to the next file of tests."""
    before = os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    if before is not None:
        os.environ["MLFLOW_TRACKING_URI"] = before


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace of its own, the current one for the test: params.yaml, dvc.yaml and the tables before tuning."""
    root = make_workspace(tmp_path / "workspace")
    monkeypatch.setenv("SIGHTLINE_WORKSPACE", str(root))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(root)
    return root
