"""Elastic training: a worker that is killed costs an epoch and no run, and comes back."""

import os
import signal
import subprocess
import sys
import time

import psutil

from components.tasks.detection.model import load_detector
from tests.tasks.detection.drawn import RECIPE, TRAINING, all_shown

SPLITS = {"train": 80, "val": 15, "test": 5}
EPOCHS = 60
COMMAND = [sys.executable, "-m", "components.training", "--recipe", RECIPE]


def workers(stage: subprocess.Popen) -> list[psutil.Process]:
    """The processes below the stage that train."""
    found = []
    for process in psutil.Process(stage.pid).children(recursive=True):
        try:
            line = process.cmdline()
        except psutil.Error:
            continue
        if line[1:3] == ["-m", "components.training.worker"]:
            found.append(process)
    return found


def test_a_lost_worker_comes_back_and_the_training_ends_whole(tmp_path):
    """Slow: the host of a lost worker is left alone for some seconds before it is tried again."""
    root = all_shown(tmp_path / "workspace", SPLITS, training=TRAINING | {"epochs": EPOCHS, "min_workers": 1})
    said = tmp_path / "said"
    with said.open("w") as log:
        stage = subprocess.Popen(
            COMMAND, env=os.environ | {"SIGHTLINE_WORKSPACE": str(root)}, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        while not list(root.glob(".sightline/work/training/*/*/checkpoint.safetensors")):
            assert stage.poll() is None, said.read_text()
            time.sleep(0.05)
        both = workers(stage)
        assert len(both) == 2
        both[-1].send_signal(signal.SIGKILL)
        assert stage.wait(timeout=600) == 0, said.read_text()
    finally:
        stage.kill()
    history = load_detector(root / "data" / RECIPE / "model").meta["history"]
    assert [figures["epoch"] for figures in history] == list(range(1, EPOCHS + 1))
    counts = [figures["workers"] for figures in history]
    assert counts[0] == 2 and 1 in counts and counts[-1] == 2, counts
    assert "resumed after epoch" in said.read_text()
    assert history[-1]["val_ap50"] > history[0]["val_ap50"]


def test_what_every_worker_fails_by_ends_the_training(tmp_path):
    features = {"backbone": "sightline_small", "weights": "missing.safetensors", "size": [64, 96], "parts": ["mean"]}
    root = all_shown(tmp_path / "workspace", SPLITS, training=TRAINING | {"min_workers": 1}, features=features)
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root)}
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "missing.safetensors" in done.stderr, done.stderr
    assert "Horovod's workers ended with exit code 2" in done.stderr
