"""The frames stage against a plain decode loop and against seeking, on the same files and cores, in one run.

Footage is generated once: 1280x720 at 25 frames/s, H.264 with B-frames (a key frame every 250) and MPEG-2 as CCTV
recorders write it (every 12), a noisy scene with moving things, a minute of it repeated to the length asked for.

- decode: the ceiling. PyAV decodes every frame and drops it; one process per core, each with a file of its own.
- seek: what is commonly done. OpenCV is set to each second in turn and reads one frame, written as JPEG.
- frames: the stage as a command, Spark's start included, at one frame per second and with every frame.
- ingest: the same files probed segment by segment, a process per core: every frame decoded, and more to try things out.
- memory: the peak of a worker that decodes one video, and one eight times as long.
"""

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import yaml

from components.core import paths
from components.core.files import atomic_path, file_sha256
from components.core.progress import progress
from components.core.tables import CATALOG, read_table, write_table
from components.frames.sample import sample_unit
from components.frames.units import units
from components.ingest import video

RECIPE, RATE, SIZE = "measured", 25, (1280, 720)
KINDS = {
    "h264.mp4": ("libx264", {"preset": "fast", "crf": "23", "g": "250", "bf": "3"}),
    "mpeg2.mpg": ("mpeg2video", {"b": "6000000", "g": "12", "bf": "2"}),
}


def scene(seconds: int):
    """Frames of the scene, (H * 3 / 2, W) uint8 in yuv420p."""
    random = np.random.default_rng(7)
    width, height = SIZE
    still = cv2.resize(random.integers(40, 200, (45, 80), dtype=np.uint8), SIZE, interpolation=cv2.INTER_CUBIC)
    still = cv2.add(still, random.normal(8, 6, (height, width)).clip(0, 30).astype(np.uint8))
    noise = random.normal(6, 2, (8, height, width)).clip(0, 12).astype(np.uint8)
    things = [
        (
            random.integers(0, 256, (size, size // 2), dtype=np.uint8),
            random.uniform(-5, 5, 2),
            random.uniform(0, 500, 2),
        )
        for size in random.integers(60, 200, 8)
    ]
    colour = np.full((height // 2, width), 128, np.uint8)
    for number in range(seconds * RATE):
        grey = still.copy()
        for picture, speed, start in things:
            (h, w), (y, x) = picture.shape, start + speed * number
            y, x = int(y) % (height - h), int(x) % (width - w)
            grey[y : y + h, x : x + w] = picture
        yield np.concatenate([cv2.add(grey, noise[number * 5 % 8]), colour])


def make_footage(folder: Path, minutes: int) -> list[Path]:
    """Two files of each kind, `minutes` long; made once."""
    minute = folder / "minute"
    for name, (codec, options) in KINDS.items():
        if (minute / name).exists():
            continue
        with progress(f"footage {name}", 60 * RATE, "frames") as ticker, atomic_path(minute / name) as target:
            with av.open(str(target), "w", format="vob" if name.endswith("mpg") else None) as output:
                stream = output.add_stream(codec, rate=RATE, options=options)
                stream.width, stream.height = SIZE
                for picture in scene(60):
                    output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
                    ticker.advance()
                output.mux(stream.encode(None))
    made = []
    for name in KINDS:
        for copy in range(2):
            # A copy is longer by a minute: no two files are the same.
            made.append(folder / f"{minutes + copy}-{name}")
            if not made[-1].exists():
                repeat(minute / name, made[-1], minutes + copy)
    return made


def repeat(source: Path, target: Path, times: int) -> None:
    """The packets of `source` again and again, one minute later each time."""
    with atomic_path(target) as temporary, av.open(str(source)) as first:
        with av.open(str(temporary), "w", format="vob" if target.suffix == ".mpg" else None) as output:
            stream = output.add_stream_from_template(first.streams.video[0])
            for number in range(times):
                with av.open(str(source)) as again:
                    given = again.streams.video[0]
                    later = number * round(60 / given.time_base)
                    for packet in again.demux(given):
                        if packet.size:
                            packet.pts, packet.dts, packet.stream = packet.pts + later, packet.dts + later, stream
                            output.mux(packet)


def decode(path: Path) -> int:
    """Decodes every frame of a file; returns how many there were."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        return sum(1 for _ in container.decode(stream))


def seek(path: Path) -> int:
    """Sets OpenCV to each second and writes the frame it reads as JPEG; returns how many there were."""
    count = 0
    with tempfile.TemporaryDirectory(dir=paths.state("bench")) as folder:
        capture = cv2.VideoCapture(str(path))
        while True:
            capture.set(cv2.CAP_PROP_POS_MSEC, count * 1000)
            read, picture = capture.read()
            if not read:
                return count
            cv2.imwrite(f"{folder}/{count}.jpg", picture)
            count += 1


def probe(task: tuple[Path, dict, int]) -> dict:
    """One part of one file."""
    return video.part(*task)


def on_cores(work: Callable, items: list, cores: int) -> tuple[float, list]:
    """(seconds, results) of `work` over the items, a process per core."""
    with multiprocessing.get_context("spawn").Pool(cores) as pool:
        pool.map(abs, range(cores))  # the processes are there, with what they import
        begin = time.monotonic()
        results = pool.map(work, items, chunksize=1)
        return time.monotonic() - begin, results


def catalog_row(path: Path, facts: dict) -> dict:
    """The row that ingest would write of a file."""
    digest = file_sha256(path)
    row = {name: facts[name] for name in ("codec", "width", "height", *video.FIGURES, "segment_pts", "segment_index")}
    pts = facts["pts"]
    row |= {"frame_count": len(pts), "first_pts": pts[0], "last_pts": pts[-1], "kind": "video", "status": "ok"}
    row["time_base_num"], row["time_base_den"] = facts["time_base"]
    row |= {"uri": str(path), "name": path.name, "sha256": digest, "asset_id": digest[:16]}
    return row | {"bytes": path.stat().st_size}


def ingest(files: list[Path], cores: int) -> tuple[float, list[dict]]:
    """(seconds, catalog rows): every file's parts on the cores; facts are kept beside the file."""
    begin = time.monotonic()
    plans = {path: video.outline(path) for path in files}
    tasks = [(path, plans[path], number) for path in files for number in range(video.parts(plans[path]))]
    _, found = on_cores(probe, tasks, cores)
    rows = []
    for path in files:
        parts = [one for one, (owner, *_) in zip(found, tasks, strict=True) if owner == path]
        rows.append(catalog_row(path, video.merged(path, plans[path], parts)))
    return time.monotonic() - begin, rows


def stage(rows: list[dict], fps: int | None, cores: int) -> tuple[float, int]:
    """(seconds, frames) of the frames stage as a command in a new workspace."""
    root = paths.state("bench", "frames-workspace")
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    task = {"classes": ["normal", "suspicious"], "positive": "suspicious"}
    body = {"task": task, "source": "footage", "frames": {"fps": fps}, "training": {"lr": 0.01, "penalty": 0.01}}
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))
    write_table(root / "data" / RECIPE / "catalog", rows, CATALOG)
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root), "SPARK_MASTER": f"local[{cores}]"}
    begin = time.monotonic()
    command = [sys.executable, "-m", "components.frames", "--recipe", RECIPE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - begin
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    count = len(read_table(root / "data" / RECIPE / "frames", ["frame_index"]))
    shutil.rmtree(root)
    return seconds, count


def peak_memory(folder: Path, minutes: int, whole: bool) -> int:
    """MiB at most in a process that makes all the shards of a video at one frame per second, one after another."""
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        path = Path(temporary) / "long.mpg"
        repeat(folder / "minute" / "mpeg2.mpg", path, minutes)
        row = dict.fromkeys(CATALOG.names) | {
            "kind": "video",
            "status": "ok",
            "time_base_num": 1,
            "time_base_den": 90000,
        }
        row |= {"uri": str(path), "sha256": file_sha256(path), "asset_id": "0" * 16, "bytes": path.stat().st_size}
        if not whole:
            plan = video.outline(path)
            row |= {name: plan[name] for name in ("segment_pts", "segment_index")} | {"frame_count": plan["count"]}
        code = "import sys; from bench.frames import decode_units; decode_units(sys.argv[1])"
        done = subprocess.run([sys.executable, "-c", code, json.dumps(row)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def decode_units(row: str) -> None:
    """Makes a video's shards in a temporary folder; prints this process's peak memory in MiB."""
    with tempfile.TemporaryDirectory(dir=paths.state("bench")) as folder:
        for unit in units([json.loads(row)]):
            params = {"fps": "1", "max_side": 640, "jpeg_quality": 92}
            result = sample_unit(unit.item({}, entry=f"{folder}/{unit.name}.parquet", params=params))
            assert "rows" in result, result
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=int, default=20, help="of each file")
    parser.add_argument("--cores", type=int, default=os.cpu_count())
    parser.add_argument("--every", action="store_true", help="the stage with every frame too: many gigabytes")
    arguments = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = paths.state("bench", "frames")
    files = make_footage(folder, arguments.minutes)
    probed, rows = ingest(files, arguments.cores)
    frames = sum(row["frame_count"] for row in rows)

    def show(name: str, seconds: float, more: str = "") -> None:
        print(f"{name:20}{seconds:8.1f} s {frames / seconds:8.0f} frames/s   {more}", flush=True)

    size = sum(row["bytes"] for row in rows) / 1e6
    print(f"{len(files)} files, {frames} frames, {size:.0f} MB, {arguments.cores} cores")
    show("ingest", probed)
    plain, _ = on_cores(decode, files, arguments.cores)
    show("decode", plain)
    taken = {}
    for fps in (1, None) if arguments.every else (1,):
        taken[fps], count = stage(rows, fps, arguments.cores)
        show(f"frames, fps {fps or 'all'}", taken[fps], f"{count} rows, {plain / taken[fps]:.2f} x decode")
    sought, count = on_cores(seek, files, arguments.cores)
    show("seek", sought, f"{sum(count)} JPEGs, frames at fps 1 is {sought / taken[1]:.2f} x seek")
    # A full row group of JPEGs (32 MiB) is held in memory: the shorter of the two fills one as well.
    lengths = max(1, arguments.minutes // 2), 4 * arguments.minutes
    for whole in (False, True):
        peaks = [peak_memory(folder, minutes, whole) for minutes in lengths]
        print(f"memory, {'whole' if whole else 'in segments'}: {peaks} MiB at {lengths} minutes", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
