"""The systemd unit, by systemd's own word: it is well formed, and leaves the service little."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ANALYZE = shutil.which("systemd-analyze")
MOST = 25  # of 100: the exposure that is left

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not on this machine")


@pytest.fixture
def unit(unpacked, tmp_path) -> Path:
    """The archive's unit, with a Python and a folder that are here."""
    text = (unpacked.folder / "sightline-edge.service").read_text()
    text = text.replace("/opt/sightline-edge-venv/bin/python", sys.executable).replace("/opt/sightline-edge", "/opt")
    file = tmp_path / "sightline-edge.service"
    file.write_text(text)
    return file


def analyze(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([ANALYZE, *map(str, arguments)], capture_output=True, text=True)


def test_it_is_well_formed(unit):
    done = analyze("verify", unit)
    assert done.returncode == 0 and not done.stderr.strip(), done.stderr
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nNoSuchKey=yes"))
    assert "NoSuchKey" in analyze("verify", unit).stderr


def test_it_leaves_the_service_little(unit):
    done = analyze("security", "--offline=true", f"--threshold={MOST}", unit)
    assert done.returncode == 0, re.findall(r"Overall.*", done.stdout) or done.stderr
    unit.write_text(re.sub(r"(?m)^(Capability|System|Restrict|Protect).*$", "", unit.read_text()))
    assert analyze("security", "--offline=true", f"--threshold={MOST}", unit).returncode != 0
