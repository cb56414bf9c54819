"""The house rules that tools check: lint, and imports that point one way."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def test_ruff_finds_nothing():
    reply = subprocess.run([BIN / "ruff", "check", "--no-cache", "."], cwd=ROOT, capture_output=True, text=True)
    assert reply.returncode == 0, reply.stdout


def test_imports_point_one_way():
    command = [BIN / "lint-imports", "--no-cache"]
    reply = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)})
    assert reply.returncode == 0, reply.stdout
