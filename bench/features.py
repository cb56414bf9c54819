"""The features stage against the raw loop of each engine, on the same pictures.

`python -m bench features` writes a frames table of generated pictures, runs each engine in a bare loop over decoded
batches on all cores (one process with as many threads, and as many processes with one thread), then the stage as a
command in float32 and in bfloat16, and prints what each makes of the other. Take a quiet machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml

from components.core import media, tables
from components.core.files import json_text
from components.core.recipe import Features
from components.tasks import engines
from components.tasks.engines import choice, graph
from components.tasks.featurizer import build_featurizer, featurizer_digest

RECIPE = "bench"
SHARD = 32  # pictures
PICTURE = (480, 640)  # height, width of the JPEGs
RAW = {  # name -> engine, precision; `plain` is torch as most write it: float32, contiguous (N, 3, H, W)
    "torch eager, plain": ("plain", "float32"),
    "torch eager": ("torch", "float32"),
    "torch.compile": ("compiled", "float32"),
    "ONNX Runtime": ("onnxruntime", "float32"),
    "OpenVINO": ("openvino", "float32"),
    "torch eager bf16": ("torch", "bfloat16"),
    "torch.compile bf16": ("compiled", "bfloat16"),
    "OpenVINO bf16": ("openvino", "bfloat16"),
}


def picture(seed: int) -> np.ndarray:
    """(480, 640, 3) uint8 RGB: soft blobs with some grain, so that the JPEG is as large as a photograph's."""
    random = np.random.default_rng(seed)
    height, width = PICTURE
    soft = cv2.resize(
        random.integers(0, 226, (15, 20, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    return cv2.add(soft, random.integers(0, 30, soft.shape, dtype=np.uint8))


def write_frames(root: Path, count: int, shard: int = SHARD) -> None:
    """A workspace's frames table of `count` pictures, each an asset of its own, in shards of `shard`."""
    names = [field.name for field in tables.FRAMES]
    height, width = PICTURE
    for number, first in enumerate(range(0, count, shard)):
        rows = []
        for index in range(first, min(first + shard, count)):
            asset, jpeg = f"{index:016x}", media.encode_jpeg(picture(index + shard), 92)
            values = (f"{asset}-{0:08d}", asset, 0, 0, 1, 1, width, height, jpeg, 1.0, 1.0, 1.0, 0)
            rows.append(dict(zip(names, values, strict=True)))
        tables.write_shard(root / "data" / RECIPE / "frames" / f"pictures-{number:05d}.parquet", rows, tables.FRAMES)


def write_recipe(root: Path, features: Features) -> None:
    """params.yaml of the workspace."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dvc.yaml").write_text("stages: {}\n")
    task = {"classes": ["normal", "suspicious"], "positive": "suspicious"}
    body = {"task": task, "source": "none", "training": {"lr": 0.01, "penalty": 0.001}}
    body["features"] = features.model_dump(mode="json")
    (root / "params.yaml").write_text(yaml.safe_dump({"recipes": {RECIPE: body}}))


def raw(text: str, threads: int, seconds: float) -> None:
    """One process of a raw loop: says `ready`, waits for a line, prints pictures and seconds."""
    params = Features.model_validate_json(text)
    batch = np.stack([media.resize(picture(i), *params.size) for i in range(params.batch_size)])
    run = _plain(params, threads) if os.environ.get("PLAIN") else _engine(params, threads)
    run(batch)
    run(batch)
    print("ready", flush=True)
    sys.stdin.readline()
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        run(batch)
        done += len(batch)
    print(json.dumps([done, time.perf_counter() - start]), flush=True)


def _engine(params: Features, threads: int):
    plan = graph.ready(choice._plan(params, params.engine, featurizer_digest(params)))
    engine = engines.load(plan, threads)
    rows = np.arange(params.batch_size)
    return lambda batch: engine(batch, rows, rows)


def _plain(params: Features, threads: int):
    torch.set_num_threads(threads)
    model = build_featurizer(params)

    @torch.inference_mode()
    def run(batch: np.ndarray) -> np.ndarray:
        pixels = torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous().float() / 255
        return model.backbone((pixels - model.mean) / model.std).mean((2, 3)).numpy()

    return run


def raw_rate(root: Path, params: Features, plain: bool, processes: int, threads: int, seconds: float) -> float:
    """Pictures per second of all processes together."""
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root), "OMP_NUM_THREADS": str(threads)}
    environment |= {"PLAIN": "1"} if plain else {}
    command = [sys.executable, "-W", "ignore", "-m", "bench.features", "--raw", params.model_dump_json()]
    command += ["--threads", str(threads), "--seconds", str(seconds)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
    for process in running:
        if process.stdout.readline().strip() != "ready":
            raise SystemExit(f"{params.engine} {params.precision} did not start")
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    counts = [json.loads(process.communicate()[0]) for process in running]
    return sum(done / took for done, took in counts)


def stage_seconds(root: Path) -> tuple[float, str]:
    """(wall-clock seconds of the features stage as a command, its last line)."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "components.features", "--recipe", RECIPE]
    environment = os.environ | {"SIGHTLINE_WORKSPACE": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start, done.stdout.strip().splitlines()[-1]


def measure(arguments: argparse.Namespace, root: Path) -> dict:
    """Raw rates, the stage's, and their ratios."""
    cores = os.cpu_count()
    size = (arguments.size, arguments.size)
    base = Features(backbone=arguments.backbone, weights="none", size=size, parts=("mean",))
    loops = {}
    for name, (engine, precision) in RAW.items():
        if engine == "compiled" and not arguments.compiled:
            continue
        plain = engine == "plain"
        params = base.model_copy(update={"engine": "torch" if plain else engine, "precision": precision})
        shapes = {"threads": (1, cores), "processes": (cores, 1)}
        loops[name] = {
            shape: round(raw_rate(root, params, plain, *how, arguments.seconds), 2) for shape, how in shapes.items()
        }
        print(f"{name:22} {loops[name]['threads']:7.1f} pictures/s, as processes {loops[name]['processes']:7.1f}")
    best = {name: max(rates.values()) for name, rates in loops.items()}
    stages = {}
    os.environ["SIGHTLINE_WORKSPACE"] = str(root)
    for precision in ("float32", "bfloat16"):
        params = base.model_copy(update={"precision": precision})
        write_recipe(root, params)
        began = time.perf_counter()
        plan = choice.planned(params, 10**9)  # measured once per machine, apart from the stage
        chosen = time.perf_counter() - began
        seconds, line = stage_seconds(root)
        small = root / f"start-{precision}"  # a picture per core: what the stage costs before it works
        write_recipe(small, params)
        write_frames(small, cores, shard=1)
        (small / ".sightline").symlink_to(root / ".sightline")
        start, _ = stage_seconds(small)
        fastest = max(rate for name, rate in best.items() if RAW[name][1] == precision)
        rate, bare = arguments.pictures / seconds, arguments.pictures / (seconds - start)
        stages[precision] = {
            "engine": plan.name,
            "choosing_s": round(chosen, 1),
            "wall_s": round(seconds, 1),
            "start_s": round(start, 1),
            "rate": round(rate, 2),
            "rate_without_start": round(bare, 2),
            "fastest_raw": fastest,
            "of_fastest": round(rate / fastest, 3),
            "of_fastest_without_start": round(bare / fastest, 3),
            "times_plain_eager": round(rate / best["torch eager, plain"], 2),
            "times_plain_eager_without_start": round(bare / best["torch eager, plain"], 2),
            "times_eager": round(rate / best["torch eager"], 2),
        }
        print(f"stage {precision}: {line}")
        print("  " + ", ".join(f"{key} {value}" for key, value in stages[precision].items()))
    return {"cores": cores, "pictures": arguments.pictures, "raw": loops, "stage": stages}


def main() -> int:
    """Runs the measurement; prints it, or JSON where `--json` asks for it."""
    parser = argparse.ArgumentParser(prog="python -m bench features", description=__doc__.split("\n\n")[0])
    parser.add_argument("--backbone", default="inception_v3")
    parser.add_argument("--size", type=int, default=299, help="side of the pictures, pixels")
    parser.add_argument("--pictures", type=int, default=2560, help="in the stage's table: over a minute of work")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each raw loop")
    parser.add_argument("--compiled", action="store_true", help="torch.compile too: a minute more per precision")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--raw", help=argparse.SUPPRESS)
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.raw:
        raw(arguments.raw, arguments.threads, arguments.seconds)
        return 0
    with tempfile.TemporaryDirectory(prefix="sightline-features-") as folder:
        root = Path(folder)
        write_recipe(root, Features())
        write_frames(root, arguments.pictures)
        found = measure(arguments, root)
    if arguments.json:
        print(json_text(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
