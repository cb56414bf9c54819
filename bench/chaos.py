"""Kills and crowds: does a run that was killed end in the same bytes, and do runs beside one another ever lose a lock?

`python -m bench chaos kills` brings a small recipe up to date once undisturbed, then in a second clone with kill -9 at
random instants, each of a process drawn from all that work there (the flow, DVC, the stage, a worker, Spark's Java),
with a run started anew after each. dvc.lock and all outputs must be the same in the end.

`python -m bench chaos crowd` has flow runs of short stages in one workspace, three at a time, often two of the
same recipe; none may fail.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
import yaml

from bench.orchestration import clone, environment
from components.core.files import file_sha256
from components.core.progress import progress

RECIPE = "suspicious"
SMALL = {
    "ingest": {"scenes": {"seed": 3, "train_clips": 6, "val_clips": 3, "test_clips": 4, "seconds": 4.0}},
    "tuning": {"trials": 2},
    "training": {"epochs": 6},
    "promotion": {"gates": {"metric": "frame_auc", "minimum": 0.1}},
}
SHORT = "import pathlib, sys, time; time.sleep(.3); p = pathlib.Path(sys.argv[1]); p.write_text(p.name)"


def start(root: Path, recipe: str) -> subprocess.Popen:
    """The flow of a recipe as a process of its own."""
    command = [sys.executable, "-m", "flows.cli", "run", recipe]
    # A file, not a pipe: the server that the flow brings outlives its kill, and would hold a pipe open.
    output = tempfile.NamedTemporaryFile("w+", delete=False)
    process = subprocess.Popen(
        command, cwd=root, env=environment(root), start_new_session=True, stdout=output, stderr=subprocess.STDOUT
    )
    process.said = Path(output.name)
    return process


def finish(process: subprocess.Popen) -> str:
    """Waits for the flow, ends the server that it may have left, and returns what it said."""
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # stages have groups of their own: they go on
    text = process.said.read_text(errors="replace")
    process.said.unlink()
    return text


def workers(root: Path) -> list[psutil.Process]:
    """Every process that works in the workspace."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def locked(root: Path) -> dict[str, dict]:
    """What dvc.lock says of each stage, whatever the order in which they were written."""
    return yaml.safe_load((root / "dvc.lock").read_text())["stages"]


def kills(folder: Path, count: int, seed: int) -> None:
    """Ends with an error where the outputs differ."""
    calm, stormy = (clone(folder / name, RECIPE, SMALL) for name in ("calm", "stormy"))
    began = time.monotonic()
    _must(start(calm, RECIPE))
    took = time.monotonic() - began
    print(f"undisturbed: {took:.1f} s", flush=True)
    moments, killed, runs = random.Random(seed), [], 0
    while len(killed) < count:
        process, runs = start(stormy, RECIPE), runs + 1
        while process.poll() is None and len(killed) < count:
            # Mostly within the time of one stage, so that the runs get on and every stage is hit.
            time.sleep(moments.uniform(1.0, took / 4))
            victims = workers(stormy)
            if process.poll() is None and victims:
                victim = moments.choice(victims)
                try:
                    name = " ".join(victim.cmdline()[:6])
                    victim.kill()
                except psutil.Error:
                    continue
                killed.append(name)
                print(f"  {len(killed):3} run {runs}: kill -9 {victim.pid} {name[:100]}", flush=True)
        finish(process)
        if process.returncode == 0 and len(killed) < count:  # done before all kills were: once more from the start
            _clear(stormy)
    _must(start(stormy, RECIPE))
    left = [" ".join(process.cmdline())[:100] for process in workers(stormy)]
    print(f"{len(killed)} kills in {runs} runs, {len(left)} processes left")
    different = differences(calm, stormy)
    print("dvc.lock and data: " + ("\n  ".join(["DIFFERENT", *different]) if different else "the same"))
    if different or left:
        sys.exit(1)


def differences(calm: Path, stormy: Path) -> list[str]:
    """Stages of dvc.lock and files below data/, hidden ones too, that are not the same in both."""
    locks, trees = [locked(root) for root in (calm, stormy)], [_files(root / "data") for root in (calm, stormy)]
    return [
        f"{name}: {'differs' if name in one and name in other else 'only in one'}"
        for one, other in (locks, trees)
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    ]


def _files(folder: Path) -> dict[str, str]:
    return {file.relative_to(folder).as_posix(): file_sha256(file) for file in folder.rglob("*") if file.is_file()}


def _clear(root: Path) -> None:
    """Removes everything made, so that the next run has all its work before it."""
    for made in ("data", ".sightline", "dvc.lock"):
        path = root / made
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def crowd(folder: Path, count: int, at_once: int) -> None:
    """Ends with an error where a run failed."""
    root = clone(folder / "crowd", RECIPE)
    file = root / "params.yaml"
    body = yaml.safe_load(file.read_text())["recipes"][RECIPE]
    names = ["one", "two"]
    file.write_text(yaml.safe_dump({"recipes": {name: body for name in names}, "explained": []}))
    (root / "short.py").write_text(SHORT)
    stages = {}
    for stage, upstream in {"first": None, "left": "first", "right": "first", "last": "left"}.items():
        out = f"data/${{key}}-{stage}"
        deps = [f"data/${{key}}-{upstream}"] if upstream else []
        do = {"cmd": f"mkdir -p data && python short.py {out}", "deps": deps, "outs": [out]}
        stages[stage] = {"foreach": "${recipes}", "do": do | ({} if upstream else {"always_changed": True})}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"vars": ["params.yaml"], "stages": stages}, sort_keys=False))
    failed, began = [], time.monotonic()

    def one(number: int) -> None:
        process = start(root, names[number % len(names)])
        said = finish(process)
        if process.returncode:
            failed.append(said)

    with progress("runs", count, "runs") as ticker, ThreadPoolExecutor(at_once) as pool:
        for done, _ in enumerate(pool.map(one, range(count)), 1):
            ticker.update(done)
    print(f"{count} runs, {at_once} at a time, in {time.monotonic() - began:.0f} s: {len(failed)} failed")
    if failed:
        print(failed[0][-3000:])
        sys.exit(1)


def _must(process: subprocess.Popen) -> None:
    said = finish(process)
    if process.returncode:
        sys.exit(f"a run that nobody disturbed failed:\n{said[-3000:]}")


def main() -> int:
    """Runs the one that is named."""
    parser = argparse.ArgumentParser(prog="python -m bench chaos", description=__doc__.split("\n\n")[0])
    parser.add_argument("what", choices=["kills", "crowd"])
    parser.add_argument("--count", type=int, help="kills (30) or runs (100)")
    parser.add_argument("--at-once", type=int, default=3, help="runs at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of the instants and the victims")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.what == "kills":
            kills(Path(folder), arguments.count or 30, arguments.seed)
        else:
            crowd(Path(folder), arguments.count or 100, arguments.at_once)
    return 0


if __name__ == "__main__":
    sys.exit(main())
