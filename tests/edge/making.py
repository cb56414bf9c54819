"""A workspace with a champion and its tables, archives of it, and what runs them."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow.parquet as pq

from components.core import tables
from components.core.bundle import Pointer, read_bundle, write_pointer
from components.core.files import file_sha256, json_text
from components.core.media import decode_picture
from components.core.recipe import Detector, Recipe, Training
from components.deployment.build import build_bundle
from components.edge.archive import write_archive
from components.edge.device.release import MANIFEST, unpack
from components.edge.device.update import environment
from components.serving.detector import ServedDetector
from components.serving.model import ServedModel
from components.tasks.detection.learner import Learner
from components.tasks.detection.model import save_detector
from tests.deployment import detecting, making
from tests.tasks.detection import drawn
from tests.workspaces import catalog_row

RECIPE, FRAMES = making.RECIPE, making.FRAMES
HELD_OUT = ("test", "test", "train", "train", "val", "train")  # splits of the assets of the tables
PATIENCE_S = 120


def champion(root: Path, features: dict | None = None, kind: str = "temporal") -> Recipe:
    """A workspace at `root` (which must be the current one) whose champion is version 3, and its tables."""
    recipe = making.write_params(root, features=features)
    data = root / "data" / RECIPE
    making.write_tables(data)
    making.write_model(data, recipe, 1)
    bundle = root / ".sightline" / "deployed" / RECIPE / "v3"
    bundle.mkdir(parents=True)
    build_bundle(recipe, data, bundle, {"frame_auc": 0.875})
    write_pointer(bundle.parent, Pointer(3, "v3", read_bundle(bundle).digest))
    label(root, recipe)
    return recipe


def label(root: Path, recipe: Recipe) -> None:
    """Catalog and annotations of the tables: most frames are labelled as the model ranks them."""
    data, deployed = root / "data" / RECIPE, root / ".sightline" / "deployed" / RECIPE / "v3"
    catalog, annotations = [], []
    for number, split in enumerate(HELD_OUT):
        asset = f"{number:016x}"
        catalog.append(catalog_row(asset, split))
        scores = asset_scores(deployed, data / "frames" / f"{asset}.parquet")[:, 1]
        for index, score in enumerate(scores):
            right = (number + index) % 5 != 0
            name = recipe.task.classes[int((score >= np.median(scores)) == right)]
            annotations.append({
                "asset_id": asset, "first_pts": index * 1001, "last_pts": index * 1001, "class": name,
                "source": "human", "weight": 1.0,
            })  # fmt: skip
    tables.write_shard(data / "catalog" / "part-00000.parquet", catalog, tables.CATALOG)
    tables.write_shard(data / "annotations" / "part-00000.parquet", annotations, tables.ANNOTATIONS)


def detector_champion(root: Path) -> Recipe:
    """A workspace at `root` (the current one) whose champion is a detector that was not trained: it finds anything."""
    drawn.make_workspace(root, {"test": 4})
    recipe = detecting.write_params(root)
    data = root / "data" / recipe.name
    tables.write_shard(data / "features" / "part-00000.parquet", [], tables.QUARANTINE)
    params = Training(head="detector", lr=0.004, detector=Detector(model="light", precision="float32", max_boxes=6))
    learner = Learner(recipe, params, 1)
    meta = {"detector": learner.form, "classes": list(recipe.task.classes), "positive": None, "threshold": 0.01}
    save_detector(data / "model", learner.state(), meta)
    bundle = root / ".sightline" / "deployed" / recipe.name / "v1"
    bundle.mkdir(parents=True)
    build_bundle(recipe, data, bundle, {"ap50": 0.0})
    write_pointer(bundle.parent, Pointer(1, "v1", read_bundle(bundle).digest))
    return recipe


def asset_scores(bundle: Path, shard: Path) -> np.ndarray:
    """What the model service makes of an asset's frames as one sequence, (T, C)."""
    model = served(bundle)
    pictures = [decode_picture(row["jpeg"]) for row in pq.read_table(shard).to_pylist()]
    return model.sequence([model.prepare(rgb) for rgb in pictures])


@cache
def served(bundle: Path) -> ServedModel:
    """The model of a bundle as the service has it, without what the service checks."""
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    body = read_bundle(bundle)
    return (ServedDetector if body.finds_boxes else ServedModel)(Pointer(3, "v3", "0" * 64), body, session)


def changed(archive: Path, target: Path, files: dict[str, str], **manifest) -> Path:
    """An archive like another one, with other files or other words in its manifest, that is whole nevertheless."""
    folder = target.with_name(f"{target.name}-unpacked")
    unpack(archive, folder)
    for name, content in files.items():
        (folder / name).write_text(content)
    body = json.loads((folder / MANIFEST).read_text()) | manifest
    body["files"] = {name: file_sha256(folder / name) for name in body["files"]}
    (folder / MANIFEST).write_text(json_text(body))
    write_archive(folder, target)
    shutil.rmtree(folder)
    return target


def edge(folder: Path, *arguments: str, **more) -> subprocess.Popen:
    """`python -m edge` by the code of an unpacked archive, as a process; or, with `code`, that beside it."""
    code = more.pop("code", None)
    command = [sys.executable, *(["-c", code] if code else ["-m", "edge"]), *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment(folder) | more.pop("env", {}), **streams | more)


def ended(process: subprocess.Popen, code: int = 0) -> str:
    """What a process said until it ended, with this exit code."""
    said, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, said
    return said


def peak_mb(process: subprocess.Popen) -> float:
    """The most memory that a process held at once, VmHWM, until it ended."""
    peak = 0
    while process.poll() is None:
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                peak = max(peak, int(line.split()[1]))
        time.sleep(0.01)
    return peak / 1024


def wait_for(condition: Callable[[], object]) -> None:
    """Waits until it is so."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


class Receiver:
    """A receiver as a process of its own: `url`, `store`."""

    def __init__(self, folder: Path, *options: str, port: int = 0, token: str = ""):
        self.store, self._log = folder / "store", folder / f"receiver-{time.monotonic_ns()}.txt"
        command = [sys.executable, "-m", "components.edge", "receive", f"--store={self.store}", f"--port={port}"]
        with open(self._log, "w") as log:
            environ = os.environ | ({"SIGHTLINE_EDGE_TOKEN": token} if token else {})
            self.process = subprocess.Popen([*command, *options], cwd=making_root(), env=environ, stderr=log)
        wait_for(lambda: "listening on" in self._log.read_text() or self.process.poll() is not None)
        assert self.process.poll() is None, self._log.read_text()
        self.url = self._log.read_text().split("listening on ")[1].split()[0]
        self.port = int(self.url.rpartition(":")[2])

    def said(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(PATIENCE_S) == 0, self._log.read_text()


def making_root() -> Path:
    """The project's folder."""
    return Path(__file__).resolve().parents[2]
