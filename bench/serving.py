"""The model service beside others, on the same cores and with the same model.

`python -m bench serving [--keep DIR] [--seconds S] [--soak MINUTES] [speed] [swaps] [soak]` runs these parts, all
without a name:

    speed   requests a second and latencies with 1, 8 and 64 clients on loopback, beside `mlflow models serve` and a
            plain FastAPI and torch handler; and what one client waits for beyond decoding, scaling and the network
    swaps   a hundred champion swaps under load: requests that failed, and answers by version
    soak    memory of the service under load for so many minutes

The model is the champion of `suspicious` on generated footage, made once; the picture is one of its frames, in the
size they have. The load comes from the same machine and takes its share of the cores from all alike: take a quiet one.
"""

import argparse
import asyncio
import base64
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq

from bench.load import HEAD_END, Load, loaded, request
from bench.orchestration import clone, environment
from components.core.bundle import Pointer, model_tag, read_bundle, read_pointer, write_manifest, write_pointer
from components.serving.load import load_model
from components.serving.pictures import Limits, decode
from flows import services

RECIPE, HOST = "suspicious", "127.0.0.1"
CLIENTS = (1, 8, 64)
SWAPS, READY_S = 100, 120
TURNS, IN_A_TURN, UNCOUNTED = 60, 22, 2  # requests, and passes of the bare engine; the first of a turn find cold caches
HEADER = "x-sightline-model"


def workspace(folder: Path) -> Path:
    """A clone whose recipe has a champion."""
    root = folder / "workspace"
    if not (root / ".sightline" / "deployed" / RECIPE).is_dir():
        clone(root, RECIPE)
        command = [sys.executable, "-m", "flows.cli", "run", RECIPE]
        subprocess.run(command, cwd=root, env=environment(root), stdout=sys.stderr, check=True)
    return root


def picture(root: Path) -> bytes:
    """A JPEG of one of the frames."""
    shard = sorted((root / "data" / RECIPE / "frames").glob("*.parquet"))[0]
    return pq.read_table(shard, columns=["jpeg"])["jpeg"][10].as_py()


@contextmanager
def running(root: Path, command: list[str], port: int, path: str):
    """A server, from when it answers; ended with all that it started."""
    process = subprocess.Popen(
        command, cwd=root, env=environment(root), start_new_session=True, stdout=sys.stderr, stderr=sys.stderr
    )
    try:
        deadline = time.monotonic() + READY_S
        while not services.answers(f"http://{HOST}:{port}{path}"):
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"{command[:4]}: does not answer")
            time.sleep(0.2)
        yield process
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.terminate()
        process.wait()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def speed(root: Path, seconds: float) -> None:
    """Ours beside two peers, and beside what it cannot do without."""
    jpeg = picture(root)
    exported = root / "exported"
    if not exported.is_dir():
        command = [sys.executable, "-m", "components.pyfunc", "--recipe", RECIPE, "-o", str(exported)]
        subprocess.run(command, cwd=root, env=environment(root), stdout=sys.stderr, check=True)
    ports = [_port() for _ in range(3)]
    mlflow = json.dumps({"inputs": [base64.b64encode(jpeg).decode()]}).encode()
    peers = {
        "sightline": (services.serving_command(RECIPE, HOST, ports[0]), "/readyz", ("/v1/predict", jpeg, "image/jpeg")),
        "FastAPI and torch": (
            [sys.executable, "-m", "bench.plain_service", str(ports[1])], "/docs", ("/predict", jpeg, "image/jpeg")
        ),
        "mlflow models serve": (
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(exported), "--env-manager", "local",
             "-h", HOST, "-p", str(ports[2])],
            "/ping", ("/invocations", mlflow, "application/json"),
        ),
    }  # fmt: skip
    print(f"{'':22}{'clients':>8}{'requests/s':>12}{'p50 ms':>10}{'p99':>9}{'p99.9':>9}{'failed':>8}")
    rates: dict[str, float] = {}
    for (name, (command, ready, (path, body, kind))), port in zip(peers.items(), ports, strict=True):
        with running(root, command, port, ready):
            content = request(HOST, path, body, kind)
            asyncio.run(loaded(HOST, port, content, 4, 3.0))  # warm
            for clients in CLIENTS:
                load = asyncio.run(loaded(HOST, port, content, clients, seconds))
                low, high, highest = load.milliseconds(50, 99, 99.9)
                row = f"{name:22}{clients:8d}{load.rate:12.1f}{low:10.2f}{high:9.2f}{highest:9.2f}{load.failed:8d}"
                print(row, flush=True)
            if name == "sightline":
                _beside_the_engine(root, jpeg, content, port)
            rates[name] = load.rate
    for name in list(peers)[1:]:
        print(f"with {CLIENTS[-1]} clients {rates['sightline'] / rates[name]:.1f}x of {name}")


def _beside_the_engine(root: Path, jpeg: bytes, content: bytes, port: int) -> None:
    """Prints what one client waits for, beside what decoding, scaling and the network take in a loop on one thread, by
    the service's own model. They take turns, so that all of them meet the machine as it is at that moment."""
    deployed = root / ".sightline" / "deployed" / RECIPE
    model, limits = load_model(deployed, read_pointer(deployed), 1), Limits()
    prepared = model.prepare(decode(jpeg, limits))
    with socket.create_connection((HOST, port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        acts = {
            "answered": lambda: _ask(connection, content),
            "decoded, scaled and scored": lambda: model.predict([model.prepare(decode(jpeg, limits))]),
            "scored": lambda: model.predict([prepared]),
        }
        times: dict[str, list[float]] = {name: [] for name in acts}
        for _ in range(TURNS):
            for name, act in acts.items():
                for number in range(IN_A_TURN):
                    began = time.perf_counter()
                    act()
                    if number >= UNCOUNTED:
                        times[name].append(1000 * (time.perf_counter() - began))
    middle = {name: float(np.median(found)) for name, found in times.items()}
    told = ", ".join(f"{name} {value:.2f} ms" for name, value in middle.items())
    beyond = middle["answered"] - middle["decoded, scaled and scored"]
    print(f"{'':22}one client, at p50: {told}; the service itself {beyond:.2f} ms", flush=True)


def _ask(connection: socket.socket, content: bytes) -> None:
    """Sends a request and reads the answer; a client of few words, whose own time is hardly in the figure."""
    connection.sendall(content)
    head = b""
    while HEAD_END not in head:
        head += connection.recv(1 << 16)
    head, _, body = head.partition(HEAD_END)
    missing = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1]) - len(body)
    while missing > 0:
        missing -= len(connection.recv(1 << 16))


def swaps(root: Path, seconds: float) -> None:
    """Swaps between two versions while 8 clients ask."""
    deployed = root / ".sightline" / "deployed" / RECIPE
    first, port = read_pointer(deployed), _port()
    folder = deployed / "v1000"
    shutil.copytree(deployed / first.folder, folder, dirs_exist_ok=True)
    bundle = read_bundle(deployed / first.folder)
    made = write_manifest(folder, replace(bundle, metrics=bundle.metrics | {"swapped": 1.0}))
    pointers = [Pointer(1000, folder.name, made.digest), first]
    done = 0

    async def during() -> None:
        nonlocal done
        for number in range(SWAPS):
            pointer = pointers[number % 2]
            tag = model_tag(RECIPE, pointer)
            wanted = load.seen[tag] + 2 * 8 + 1  # more than 8 clients can have under way
            write_pointer(deployed, pointer)
            deadline = time.monotonic() + 60
            while load.seen[tag] < wanted:
                if time.monotonic() > deadline:
                    return
                await asyncio.sleep(0.02)
            done += 1

    load = Load()
    with running(root, services.serving_command(RECIPE, HOST, port), port, "/readyz"):
        content = request(HOST, "/v1/predict", picture(root), "image/jpeg")
        try:
            asyncio.run(loaded(HOST, port, content, 8, seconds, HEADER, during, load))
        finally:
            write_pointer(deployed, first)
    answers = ", ".join(f"{tag} {count}" for tag, count in load.seen.items())
    requests = sum(load.statuses.values())
    print(f"{done} swaps in {load.seconds:.0f} s: {load.failed} of {requests} requests failed; {answers}")


def soak(root: Path, minutes: float) -> None:
    """Memory while 8 clients ask."""
    port, sizes = _port(), []

    async def during() -> None:
        until = time.monotonic() + 60 * minutes
        while time.monotonic() < until:
            await asyncio.sleep(min(10.0, 6 * minutes))
            sizes.append(psutil.Process(process.pid).memory_info().rss / 2**20)

    with running(root, services.serving_command(RECIPE, HOST, port), port, "/readyz") as process:
        content = request(HOST, "/v1/predict", picture(root), "image/jpeg")
        load = asyncio.run(loaded(HOST, port, content, 8, 0.0, "", during))
    sizes_then = ", ".join(f"{sizes[len(sizes) * at // 100]:.1f}" for at in (5, 25, 50, 75, 99))
    print(f"{load.seconds / 60:.1f} minutes, {len(load.latencies)} requests, {load.failed} failed")
    print(f"resident memory after 5, 25, 50, 75 and 99 % of it: {sizes_then} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench serving", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=["speed", "swaps", "soak", []], help="which (default: all)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="the workspace, kept; there already: used again")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of each load (default 10)")
    parser.add_argument("--soak", type=float, default=10.0, metavar="MINUTES", help="of the soak (default 10)")
    arguments = parser.parse_args()
    os.environ["NO_PROXY"] = "*"
    with tempfile.TemporaryDirectory() as temporary:
        root = workspace((arguments.keep or Path(temporary)).resolve())
        parts = arguments.parts or ["speed", "swaps", "soak"]
        for name in parts:
            if name == "soak":
                soak(root, arguments.soak)
            else:
                {"speed": speed, "swaps": swaps}[name](root, arguments.seconds)


if __name__ == "__main__":
    main()
