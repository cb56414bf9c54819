"""Ingest, frames and features on a real Spark standalone cluster: the bytes of a laptop, and a lost worker survived.

Slow, because a master and its workers, each a Java process of its own, are started for real.
"""

import os
import shutil
import signal
import time
from fractions import Fraction

import psutil
import pytest

from tests.cluster import standalone
from tests.footage import NTSC, RECIPE, contents, make_recipe, run_stage, start_stage, write_clip, write_picture

pytestmark = pytest.mark.slow
STAGES = ("ingest", "frames", "features")
SECTIONS = {
    "frames": {"fps": None, "max_side": 200},
    "features": {"size": [96, 128], "engine": "onnxruntime"},
}


def write_footage(root):
    """A dozen clips and some pictures."""
    for seed in range(12):
        rate, codec, suffix = ((NTSC, "libx264", "mp4"), (Fraction(25), "mpeg2video", "mpg"))[seed % 2]
        path = root / "footage" / f"{seed:02d}.{suffix}"
        write_clip(path, frames=100, size=(320, 240), seed=seed, rate=rate, codec=codec)
    for seed in range(6):
        write_picture(root / "footage" / f"p{seed}.png", seed)


def tables(root):
    """Every file of the stages' outputs."""
    return {table: contents(root / "data" / RECIPE / table) for table in ("catalog", "frames", "features")}


@pytest.fixture(scope="module")
def laptop(tmp_path_factory):
    """The workspace after the stages ran on this machine's cores."""
    root = make_recipe(tmp_path_factory.mktemp("laptop"), **SECTIONS)
    write_footage(root)
    for stage in STAGES:
        code, printed = run_stage(root, stage, SPARK_MASTER="local[2]")
        assert code == 0, printed
    return root


def test_a_cluster_gives_the_same_bytes_and_survives_a_lost_worker(laptop, tmp_path):
    """In every stage one of the two workers is killed (-9) with all it runs, and another one joins afterwards."""
    root = make_recipe(tmp_path / "workspace", **SECTIONS)
    shutil.copytree(laptop / "footage", root / "footage")
    lost = 0
    with standalone(tmp_path / "cluster") as cluster:
        for stage in STAGES:
            process = start_stage(root, stage, SPARK_MASTER=cluster.master)
            cluster.wait(lambda: cluster.state()["activeapps"])
            time.sleep(2)
            lost += kill_tree(cluster.workers[-1]) and process.poll() is None
            cluster.add_worker()
            _, printed = process.communicate(timeout=900)
            assert process.returncode == 0, printed
    assert lost >= 2, "the workers were killed after the work was done"
    assert tables(root) == tables(laptop)


def kill_tree(worker) -> bool:
    """Kills a worker, its executors and their Python processes; whether an executor was there."""
    parent = psutil.Process(worker.pid)
    family = parent.children(recursive=True)
    for process in [parent, *family]:
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    worker.wait()
    return bool(family)
