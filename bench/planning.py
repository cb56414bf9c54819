"""What `sightline plan` has to know and no other measurement tells: a core's seconds and a row's bytes.

`python -m bench planning` takes the workspace's recipe `suspicious` as `sightline demo` leaves it, and prints

    training   frames through an epoch of the head per second of a core: the stage for EPOCHS[1] epochs less EPOCHS[0],
               validation's loss after each epoch included
    scoring    frames per second of a core through `sightline predict`: all videos given with --footage less the first
    bytes      of a row of each table, of what a model version keeps; of a frame of those videos, one a second, as the
               frames stage would keep it

Seconds are those that processors worked (user and system, of all processes that were started): other work on the
machine does not count among them, and what is fixed falls out of the differences.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import pyarrow.compute as pc
import yaml

from components.core import paths
from components.core.media import encode_jpeg, fit
from components.core.recipe import load_recipe
from components.core.tables import read_table, shards

RECIPE = "suspicious"
EPOCHS = (4, 104)
TABLES = ("frames", "features", "evaluation/predictions")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench planning", description=__doc__.splitlines()[0])
    parser.add_argument("--footage", nargs="*", default=[], metavar="FILE", help="videos whose frames are encoded")
    arguments = parser.parse_args()
    root = paths.workspace()
    if not paths.data(RECIPE, "model").is_dir():
        sys.exit(f"{root}: recipe {RECIPE} was not run here: sightline demo")
    with tempfile.TemporaryDirectory(dir=paths.state("bench") if paths.state("bench").is_dir() else None) as scratch:
        training(root, Path(scratch))
        if arguments.footage:
            scoring(root, Path(scratch), [str(Path(file).absolute()) for file in arguments.footage])
    sizes(root)
    footage(arguments.footage)


def seconds(command: list[str], workspace: Path) -> float:
    """Seconds that processors worked for a command that must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(workspace)}
    done = subprocess.run(command, env=environment, cwd=workspace, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def training(root: Path, scratch: Path) -> None:
    """The training stage in a copy of the workspace's tables, for few epochs and for many."""
    copy = scratch / "workspace"
    shutil.copytree(root / "data" / RECIPE, copy / "data" / RECIPE, symlinks=True)
    shutil.copy(root / "dvc.yaml", copy)
    catalog = read_table(copy / "data" / RECIPE / "catalog", ["asset_id", "split", "status"])
    wanted = catalog.filter(pc.equal(catalog["split"], "train"))["asset_id"]
    features = read_table(copy / "data" / RECIPE / "features", ["asset_id"])
    frames = pc.sum(pc.is_in(features["asset_id"], value_set=wanted.combine_chunks())).as_py()
    taken = []
    for epochs in EPOCHS:
        body = yaml.safe_load((root / "params.yaml").read_text())
        body["recipes"][RECIPE]["training"] |= {"epochs": epochs, "patience": None, "refit": False}
        (copy / "params.yaml").write_text(yaml.safe_dump(body))
        shutil.rmtree(copy / ".sightline", ignore_errors=True)
        taken.append(seconds([sys.executable, "-m", "components.training", "--recipe", RECIPE], copy))
    spent = taken[1] - taken[0]
    count = frames * (EPOCHS[1] - EPOCHS[0])
    print(
        f"training: {count} frames x epochs in {spent:.1f} s of a core, {count / spent:.0f} a second ({taken})",
        flush=True,
    )


def scoring(root: Path, scratch: Path, files: list[str]) -> None:
    """Batch scoring of the first file, and of all: frames are those that the recipe keeps."""
    taken, counts = [], []
    for number, chosen in enumerate((files[:1], files)):
        output = scratch / f"scores-{number}"
        command = [sys.executable, "-m", "components.serving.batch", "--recipe", RECIPE, "-o", str(output)]
        taken.append(seconds([*command, *chosen], root))
        counts.append(read_table(output / "predictions", ["score"]).num_rows)
    spent, count = taken[1] - taken[0], counts[1] - counts[0]
    print(f"scoring: {count} frames in {spent:.1f} s of a core, {count / spent:.1f} a second ({taken})", flush=True)


def sizes(root: Path) -> None:
    """Bytes of rows, of footage, and of what a version keeps."""
    data = root / "data" / RECIPE
    for table in TABLES:
        files = shards(data / table)
        rows = read_table(data / table, ["asset_id"]).num_rows
        size = sum(file.stat().st_size for file in files)
        print(f"{table}: {size} bytes, {rows} rows, {size / rows:.0f} a row")
    for name in ("bundle", "model", "evaluation/report"):
        print(f"{name}: {total(data / name)} bytes")
    for name in ("deployed", "mlflow", "prefect"):
        print(f".sightline/{name}: {total(paths.state(name))} bytes")
    pointer = json.loads(paths.state("deployed", RECIPE, "champion.json").read_text())
    print(f"champion: version {pointer['version']}")


def footage(files: list[str]) -> None:
    """Bytes of a frame a second of each file, scaled and encoded as the recipe says."""
    params = load_recipe(RECIPE).frames
    count = size = 0
    for file in files:
        kept = {}
        with av.open(file) as container:
            stream = container.streams.video[0]
            for frame in container.decode(stream):
                kept.setdefault(int(frame.pts * stream.time_base), frame)
        for frame in kept.values():
            picture = fit(frame.to_ndarray(format="rgb24"), params.max_side)
            size += len(encode_jpeg(picture, params.jpeg_quality))
        count += len(kept)
        print(f"{Path(file).name}: {frame.width}x{frame.height}, {len(kept)} frames")
    if count:
        print(f"footage: {size} bytes, {count} frames, {size / count:.0f} a frame")


def total(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
