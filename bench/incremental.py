"""One new clip among 200: what ingest, frames and features cost then, against the full run.

The same three commands run on a source of one clip, of all the clips, and once more after one clip was added. From the
first two follow a clip's share and the fixed start-up (three Python processes, three Spark sessions):

    start-up = T(1) - share,   share = (T(N) - T(1)) / (N - 1)

The bound: T(one more) <= 3 % of T(N) + start-up. Removing the clip again is timed too; it must leave no row of it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from components import scenes
from components.core import paths
from components.core.media import VIDEO_SUFFIXES
from components.core.progress import progress
from components.core.tables import read_table

STAGES = ("ingest", "frames", "features")
RECIPE = "incremental"
BOUND = 0.03


def make_clips(folder: Path, count: int, seconds: float) -> list[Path]:
    """`count` generated clips below `folder`; made once."""
    spec = scenes.SceneSpec(seed=17, train_clips=count, val_clips=1, test_clips=1, seconds=seconds)
    if not (folder / "scene.json").is_file():
        with progress("clips", count + 2, "clips") as ticker:
            scenes.generate(spec, folder, progress=lambda done, total: ticker.update(done))
    return sorted(path for path in (folder / "videos" / "train").iterdir() if path.suffix in VIDEO_SUFFIXES)


def make_workspace(root: Path) -> Path:
    """An empty workspace with the recipe; returns its folder of footage."""
    shutil.rmtree(root, ignore_errors=True)
    (root / "footage").mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    body = {
        "task": {"classes": ["normal", "suspicious"], "positive": "suspicious"},
        "source": "footage",
        "frames": {"fps": 10},
        "features": {"engine": "onnxruntime"},
        "training": {"lr": 0.01, "penalty": 0.01},
    }
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    return root / "footage"


def run(root: Path) -> dict[str, float]:
    """Seconds of each stage's command."""
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root)}
    taken = {}
    for stage in STAGES:
        begin = time.monotonic()
        command = [sys.executable, "-m", f"components.{stage}", "--recipe", RECIPE]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{stage} failed:\n{done.stderr[-3000:]}")
        taken[stage] = time.monotonic() - begin
    return taken


def assets(root: Path) -> set[str]:
    """Asset ids that the features table has rows of."""
    return set(read_table(root / "data" / RECIPE / "features", ["asset_id"])["asset_id"].to_pylist())


def show(name: str, taken: dict[str, float]) -> float:
    """Prints one measurement; returns its total in seconds."""
    total = sum(taken.values())
    print(f"{name:24} {total:8.1f} s   " + "  ".join(f"{stage} {seconds:.1f}" for stage, seconds in taken.items()))
    return total


def main() -> int:
    """Measures, prints, returns 0 where the bound holds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each clip")
    arguments = parser.parse_args()
    bench = paths.state("bench")
    cached = bench / f"clips-{arguments.clips}-{arguments.seconds:g}s"
    files = make_clips(cached, arguments.clips + 1, arguments.seconds)
    *archive, new = files

    root = bench / "incremental"
    footage = make_workspace(root)
    os.link(archive[0], footage / archive[0].name)
    one = show("one clip alone", run(root))

    footage = make_workspace(root)
    for file in archive:
        os.link(file, footage / file.name)
    full = show(f"{arguments.clips} clips", run(root))
    nothing = show("nothing new", run(root))
    before = assets(root)

    os.link(new, footage / new.name)
    added = show("one more clip", run(root))
    after = assets(root)
    (footage / new.name).unlink()
    show("that clip removed", run(root))
    assert before < after and len(after) == len(before) + 1 and assets(root) == before

    share = (full - one) / (arguments.clips - 1)
    start_up = one - share
    bound = BOUND * full + start_up
    print(f"\na clip's share {share:.2f} s, fixed start-up {start_up:.1f} s, {os.cpu_count()} cores")
    print(f"nothing new {nothing:.1f} s; one more clip {added:.1f} s, bound {bound:.1f} s")
    print(f"one more clip = start-up + {(added - start_up) / full:.2%} of the full run (at most {BOUND:.0%})")
    shutil.rmtree(root)
    return 0 if added <= bound else 1


if __name__ == "__main__":
    sys.exit(main())
