"""Real footage, written by the tests themselves: small clips and pictures whose frames can be told apart."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
NTSC = Fraction(30000, 1001)
RECIPE = "made"


def picture(seed: int, width: int = 64, height: int = 48) -> np.ndarray:
    """(height, width, 3) uint8 RGB: soft blobs drawn from a seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def write_clip(
    path: Path,
    frames: int = 30,
    codec: str = "libx264",
    rate: Fraction = NTSC,
    size: tuple[int, int] = (64, 48),
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    seed: int = 0,
    container: dict | None = None,
    pixels: str | None = None,
    **options: str,
) -> Path:
    """A video whose picture drifts sideways. `pts` in `time_base` where the frame rate is to vary.

    `pixels`: FFmpeg's name of the pixel format; by default yuv420p, for odd sizes yuv444p.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    still = picture(seed, *size)
    bare = {"m1v": "mpeg1video", "mpg": "vob"}.get(path.suffix[1:])
    with av.open(str(path), "w", format=bare, options={"fflags": "+bitexact"} | (container or {})) as output:
        stream = output.add_stream(codec, rate=rate, options={"threads": "1", **options})
        stream.width, stream.height = size
        stream.pix_fmt = pixels or ("yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p")
        if time_base:
            stream.codec_context.time_base = time_base
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(still, 3 * index, axis=1), format="rgb24")
            frame.pts, frame.time_base = (index if pts is None else int(pts[index])), time_base or 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    # Run by root, the AV1 encoder gives its caller real-time priority, and all that starts later inherits it: Spark
    # would hold the machine's cores for good.
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def write_picture(path: Path, seed: int = 0, size: tuple[int, int] = (64, 48)) -> Path:
    """A picture in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(seed, *size)[..., ::-1])
    return path


def patched(source: Path, target: Path, box: bytes, offset: int, values: Sequence[int]) -> Path:
    """A copy of an MP4 with big-endian 32-bit `values` at `offset` bytes after the name of its first `box`."""
    content = bytearray(source.read_bytes())
    at = content.index(box) + len(box) + offset
    content[at : at + 4 * len(values)] = struct.pack(f">{len(values)}i", *values)
    target.write_bytes(content)
    return target


def make_recipe(root: Path, **sections) -> Path:
    """A workspace at `root` with one recipe, whose source is the folder `footage` unless the sections say otherwise."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    task = {"classes": ["normal", "suspicious"], "positive": "suspicious"}
    training = {"lr": 0.01, "penalty": 0.001}
    body = {"task": task, "source": "footage", "training": training, **sections}
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    return root


def start_stage(root: Path, stage: str, **environment: str) -> subprocess.Popen:
    """The stage as a process of its own, in a session of its own so that a test can end all of it."""
    return subprocess.Popen(
        [sys.executable, "-m", f"components.{stage}", "--recipe", RECIPE],
        cwd=REPOSITORY,
        env=os.environ | {"SIGHTLINE_WORKSPACE": str(root), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run_stage(root: Path, stage: str, **environment: str) -> tuple[int, str]:
    """(exit code, what it printed on stderr)."""
    process = start_stage(root, stage, **environment)
    _, printed = process.communicate(timeout=900)
    return process.returncode, printed


def kill_stage(process: subprocess.Popen, seconds: float = 30) -> bool:
    """Kills a stage (SIGKILL); whether its JVM and Python workers then end by themselves. Where not, ends them too."""
    process.kill()
    process.communicate()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    return False


def rows(root: Path, table: str) -> list[dict]:
    """The rows of one of the recipe's tables."""
    return pq.read_table(root / "data" / RECIPE / table).to_pylist()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: its name there -> its bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
