"""A device: memory, start, speed and accuracy of its two graphs, and power cuts.

`python -m bench edge` builds the archive of a recipe's champion in this workspace (`--archive FILE` takes one that is
there), unpacks it, and prints:

    accuracy    of float32 and int8 on the held-out frames, as the archive's manifest has it
    speed       frames a second of each through the runner's model, one thread, and their ratio
    int8 for VNNI   the same of int8 with weights of 8 bits, not of 7, which x86 processors without VNNI get wrong; not
                    with `--archive`
    runner      peak memory (VmHWM) and seconds from the start of the process to its first word, the least of five
    cuts        kill -9 of the runner, and now and then of the receiver, at `--points` random instants: how many records
                were stored, came, were missing or came twice. None may be missing or doubled.

A kill is a power cut but for what the system has not yet written: that is SQLite's synchronous=FULL, which the tests
look at.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from components.core.recipe import load_recipe
from components.edge.build import build
from components.edge.device.model import load
from components.edge.device.release import INT8, VNNI, Release, unpack
from components.edge.device.update import environment
from components.edge.ledger import records

PROJECT = Path(__file__).resolve().parents[1]
FRAMES, SIZE = 300, (640, 480)
RUNS, WARM, SECONDS = 5, 5, 5.0
RECEIVER_SHARE = 0.25  # of the cuts hit the receiver too
WAIT_S = 600


class Receiver:
    """A receiver as a process, which can be killed and comes back on its port."""

    def __init__(self, folder: Path):
        self.store, self._log, self._port = folder / "store", folder / "receiver.txt", 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "components.edge", "receive", f"--store={self.store}", f"--port={self._port}"]
        with open(self._log, "w") as log:
            self.process = subprocess.Popen(command, cwd=PROJECT, stderr=log)
        _wait(lambda: "listening on" in self._log.read_text() or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise RuntimeError(self._log.read_text())
        self.url = self._log.read_text().split("listening on ")[1].split()[0]
        self._port = int(self.url.rpartition(":")[2])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def write_clip(path: Path, frames: int = FRAMES, size: tuple[int, int] = SIZE, seed: int = 0) -> Path:
    """A video of 25 frames a second whose picture drifts sideways."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    still = cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.roll(still, 3 * index, axis=1), format="rgb24")))
        output.mux(stream.encode(None))
    return path


def start(release: Release, *arguments: object, **streams) -> subprocess.Popen:
    """`python -m edge run`, by the archive's own code."""
    command = [sys.executable, "-m", "edge", "run", *map(str, arguments)]
    return subprocess.Popen(command, cwd=release.folder, env=environment(release.folder), **streams)


def cuts(release: Release, clip: Path, points: int, seed: int, folder: Path) -> dict[str, int]:
    """Runs clip after clip through a runner that is killed at random instants until `points` kills are done, each clip
    to its end in the last; returns counts: cuts, receiver_cuts, clips, wanted, came, missing, doubled, altered.

    `altered`: records of a clip that differ in their score from those of the first, which nobody disturbed.
    """
    receiver, moments, state = Receiver(folder), random.Random(seed), folder / "state"
    counts = {"cuts": 0, "receiver_cuts": 0, "clips": 0}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        took = None
        while took is None or counts["cuts"] < points:
            copy = Path(shutil.copyfile(clip, folder / f"{counts['clips']:05d}{clip.suffix}"))
            arguments, began, done = (
                ["--camera", copy, "--state", state, "--uplink", receiver.url],
                time.monotonic(),
                False,
            )
            while not done:
                runner = start(release, *arguments, **quiet)
                if took is not None and counts["cuts"] < points:
                    done = _ended(runner, moments.uniform(0, took))
                    if not done:
                        os.kill(runner.pid, signal.SIGKILL)
                        counts["cuts"] += 1
                        if moments.random() < RECEIVER_SHARE:
                            receiver.kill()
                            receiver.start()
                            counts["receiver_cuts"] += 1
                    runner.wait()
                else:
                    done = _ended(runner, WAIT_S)
            if runner.returncode:
                raise RuntimeError(f"a runner that nobody disturbed ended with {runner.returncode}")
            took = took or time.monotonic() - began
            counts["clips"] += 1
            copy.unlink()
    finally:
        receiver.kill()
    return counts | _delivered(receiver.store)


def _delivered(store: Path) -> dict[str, int]:
    """What came, clip by clip, beside what came of the first."""
    scores: dict[str, dict[int, list[float]]] = {}
    for row in records(store):
        scores.setdefault(row["file"], {}).setdefault(row["frame"], []).append(row["score"])
    first = scores[min(scores)]
    counts = dict.fromkeys(("wanted", "came", "missing", "doubled", "altered"), 0)
    for found in scores.values():
        counts["wanted"] += len(first)
        counts["came"] += sum(map(len, found.values()))
        counts["missing"] += len(first.keys() - found.keys())
        counts["doubled"] += sum(len(given) - 1 for given in found.values())
        counts["altered"] += sum(given[0] != first[frame][0] for frame, given in found.items() if frame in first)
    return counts


def speed(release: Release, precision: str) -> float:
    """Frames a second, scaling included, one thread."""
    model = load(release, precision, 1)
    pictures = np.random.default_rng(0).integers(0, 256, (8, SIZE[1], SIZE[0], 3), dtype=np.uint8)
    ends, count = None, 0

    def frames() -> Iterator[np.ndarray]:
        number = 0
        while ends is None or time.monotonic() < ends:
            yield model.prepare(pictures[number % len(pictures)])
            number += 1

    for count, _ in enumerate(model.probabilities(frames()), -WARM + 1):  # noqa: B007
        if count == 0:
            ends = time.monotonic() + SECONDS
    return max(count, 1) / SECONDS


def runner_figures(release: Release, precision: str, clip: Path, folder: Path) -> tuple[float, float]:
    """(peak memory in MB, seconds to its first word), each the least of RUNS runs."""
    peaks, starts = [], []
    for number in range(RUNS):
        arguments = ["--camera", clip, "--state", folder / f"{precision}-{number}", "--precision", precision]
        began, peak = time.monotonic(), 0
        runner = start(release, *arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        runner.stderr.readline()
        starts.append(time.monotonic() - began)
        while runner.poll() is None:
            for line in Path(f"/proc/{runner.pid}/status").read_text().splitlines():
                peak = max(peak, int(line.split()[1])) if line.startswith("VmHWM") else peak
            time.sleep(0.01)
        runner.stderr.close()
        peaks.append(peak / 1024)
    return min(peaks), min(starts)


def _ended(process: subprocess.Popen, seconds: float) -> bool:
    try:
        process.wait(seconds)
        return True
    except subprocess.TimeoutExpired:
        return False


def _wait(condition) -> None:
    until = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError("waited in vain")
        time.sleep(0.05)


def _for_vnni(recipe: str, folder: Path) -> None:
    """Prints what int8 with weights of 8 bits does here."""
    archive = folder / "vnni.tar.gz"
    model = build(load_recipe(recipe), archive, 0.01, int8_for=VNNI)["model"]
    if INT8 in model:
        rate = speed(unpack(archive, folder / "vnni"), INT8)
        print(f"int8 for VNNI: {json.dumps(model[INT8])}, {rate:.1f} frames/s", flush=True)


@contextmanager
def _release(archive: Path | None, recipe: str) -> Iterator[tuple[Release, Path]]:
    with tempfile.TemporaryDirectory(prefix="edge-") as name:
        folder = Path(name)
        if archive is None:
            archive = folder / "made.tar.gz"
            build(load_recipe(recipe), archive, 0.01)
        yield unpack(archive, folder / "release"), folder


def main() -> int:
    """Prints the figures; 1 where a record was lost, doubled or altered."""
    parser = argparse.ArgumentParser(prog="python -m bench edge", description=__doc__.split("\n\n")[0])
    parser.add_argument("--recipe", default="sensor", help="whose champion (default sensor)")
    parser.add_argument("--archive", type=Path, metavar="FILE", help="an archive that is there already")
    parser.add_argument("--points", type=int, default=200, help="instants of a power cut (default 200; 0: none)")
    parser.add_argument("--seed", type=int, default=0, help="of the instants")
    arguments = parser.parse_args()
    with _release(arguments.archive, arguments.recipe) as (release, folder):
        model = release.manifest["model"]
        print(f"{release.tag(release.default)}: {model['why']}")
        print(f"accuracy: {json.dumps({name: model.get(name) for name in release.manifest['graphs']})}", flush=True)
        rates = {precision: speed(release, precision) for precision in release.manifest["graphs"]}
        told = ", ".join(f"{precision} {rate:.1f}" for precision, rate in rates.items())
        ratio = f", int8 {rates['int8'] / rates['float32']:.2f} times float32" if "int8" in rates else ""
        print(f"speed, frames/s, one thread: {told}{ratio}", flush=True)
        if arguments.archive is None:
            _for_vnni(arguments.recipe, folder)
        clip = write_clip(folder / "clip.mp4")
        for precision in rates:
            peak, seconds = runner_figures(release, precision, clip, folder)
            print(f"runner, {precision}: {peak:.0f} MB at most, first word after {seconds:.2f} s", flush=True)
        if not arguments.points:
            return 0
        found = cuts(
            release, write_clip(folder / "small.mp4", size=(160, 120)), arguments.points, arguments.seed, folder
        )
        print(f"power cuts: {json.dumps(found)}")
    return int(bool(found["missing"] or found["doubled"] or found["altered"]))


if __name__ == "__main__":
    sys.exit(main())
