"""Pictures per second while 20,000 small pictures are catalogued, beside a raw loop that reads, hashes, decodes them.

The ingest stage is timed as the command that DVC runs, start-up of Python, Spark and the decoders' processes included:
once with nothing known, again with nothing changed, and with one new picture. The raw loop (read, SHA-256,
cv2.imdecode, in a process per core, started beforehand) is the ceiling: ingest also proves that each picture is whole,
reads its EXIF, takes its statistics and perceptual hash, finds near-duplicates, matches a label to each, splits, and
writes the tables.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import yaml

from components.core import paths
from components.core.media import encode_jpeg
from components.core.progress import progress
from components.core.tables import read_table

RECIPE = "catalogue"
SIZE = (160, 120)
SHAPES = 4
CLASSES = 10


def draw(seed: int) -> bytes:
    """JPEG bytes of one picture: a few shapes over a shaded ground, with a sensor's noise."""
    random = np.random.default_rng(seed)
    width, height = SIZE
    ground = random.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    rgb = cv2.resize(ground, SIZE, interpolation=cv2.INTER_CUBIC)
    for _ in range(SHAPES):
        centre = int(random.integers(width)), int(random.integers(height))
        cv2.circle(rgb, centre, int(random.integers(4, 40)), random.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
    return encode_jpeg(np.clip(rgb + random.normal(0, 4, rgb.shape), 0, 255).astype(np.uint8), 90)


def make_pictures(folder: Path, count: int) -> list[Path]:
    """`count` pictures below `folder`, a hundred to a folder; those that are there already stay."""
    files = [folder / f"{number // 100:04d}" / f"{number:06d}.jpg" for number in range(count)]
    with progress("pictures", count, "pictures") as ticker:
        for number, path in enumerate(files):
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(draw(number))
            ticker.advance()
    return files


def raw(path: str) -> int:
    """What nobody can do without: read, hash, decode. Returns the picture's pixels, so that nothing is left undone."""
    content = Path(path).read_bytes()
    hashlib.sha256(content).digest()
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).size


def raw_seconds(files: list[Path], processes: int) -> float:
    """Seconds of the raw loop over all files, in `processes` that run already."""
    names = [str(path) for path in files]
    with multiprocessing.get_context("spawn").Pool(processes, cv2.setNumThreads, (1,)) as pool:
        pool.map(raw, names[: 16 * processes])
        start = time.perf_counter()
        pool.map(raw, names, chunksize=64)
        return time.perf_counter() - start


def write_labels(footage: Path) -> None:
    """A label of each picture below `footage`, in one file."""
    lines = [f"{path.relative_to(footage)},c{index % CLASSES}" for index, path in enumerate(footage.rglob("*.jpg"))]
    (footage / "labels.csv").write_text("\n".join(["image,label", *lines, ""]))


def make_workspace(root: Path, footage: Path) -> None:
    """An empty workspace whose recipe reads the folder `footage`."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    task = {"classes": [f"c{index}" for index in range(CLASSES)], "positive": "c0"}
    training = {"lr": 0.01, "penalty": 0.01}
    body = {"task": task, "source": str(footage), "training": training}
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))


def ingest_seconds(root: Path, count: int) -> float:
    """Seconds of the ingest stage as a command. Raises where the catalog then does not hold `count` sound pictures."""
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "components.ingest", "--recipe", RECIPE]
    start = time.perf_counter()
    subprocess.run(command, env=environment, check=True)
    seconds = time.perf_counter() - start
    status = read_table(root / "data" / RECIPE / "catalog", ["status"])["status"].to_pylist()
    if status != ["ok"] * count:
        raise SystemExit(f"{count} sound pictures expected, the catalog has {status.count('ok')} of {len(status)}")
    return seconds


def main() -> None:
    """Measures and prints the figures as JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench catalogue", description=__doc__)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    count = arguments.pictures
    home = paths.state("bench", "catalogue")
    files = make_pictures(home / "pictures", count)
    footage, root = home / "footage", home / "workspace"
    shutil.rmtree(footage, ignore_errors=True)
    for path in files:
        link = footage / path.relative_to(home / "pictures")
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, link)
    write_labels(footage)
    ceiling = raw_seconds(files, arguments.processes)
    make_workspace(root, footage)
    whole = ingest_seconds(root, count)
    unchanged = ingest_seconds(root, count)
    (footage / "new.jpg").write_bytes(draw(count + 1))
    one_new = ingest_seconds(root, count + 1)
    figures = {
        "pictures": count,
        "processes": arguments.processes,
        "ingest_seconds": round(whole, 2),
        "ingest_per_second": round(count / whole),
        "raw_loop_seconds": round(ceiling, 2),
        "raw_loop_per_second": round(count / ceiling),
        "share_of_ceiling": round(ceiling / whole, 3),
        "nothing_changed_seconds": round(unchanged, 2),
        "one_new_seconds": round(one_new, 2),
    }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
