"""Which engine: the one named, or the fastest sound one on this machine. The choice is kept, so that it never flips.

Sound means: on a probe its vectors are within a cosine distance of torch's in float32, in every part of the vector.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np

from components.core import paths
from components.core.errors import SightlineError
from components.core.files import atomic_json, read_json, value_sha256
from components.core.recipe import Features
from components.tasks import engines
from components.tasks.backbones import KINDS
from components.tasks.engines import Engine, Plan, check_precision, graph, pytorch, runtimes
from components.tasks.featurizer import Featurizer, build_featurizer, featurizer_digest, part_sizes

SOUND = {"float32": 1e-3, "bfloat16": 1e-2}  # the largest cosine distance from torch in float32
PROBE = 4  # pictures
MEASURE_FROM_S = 240.0  # of work for torch on one core; for less, measuring costs more than the choice gains
TIMED_S = 0.3
CLEARLY = 1.03  # times as fast: less is noise, and the engine that is preferred is taken


def planned(params: Features, pictures: int) -> Plan:
    """How to compute the vectors of about `pictures` pictures. Raises as `build_featurizer` and `engines.load`.

    An engine is probed when a workspace first uses it: one that is named and not sound is an error, of `auto` it is
    passed over and said so. What was found is kept in `.sightline/engines`, by machine, versions and parameters.
    """
    check_precision(params)
    digest = featurizer_digest(params)
    asked = {
        "params": params.model_dump(mode="json", include={"backbone", "size", "parts", "precision", "engine"}),
        "digest": digest,
        "machine": _machine(),
        "versions": {name: runtimes.version(name) for name in runtimes.PACKAGES if runtimes.installed(name)},
    }
    if params.engine != "auto" and params.engine not in asked["versions"]:
        needed = " or ".join(runtimes.PACKAGES[params.engine])
        raise SightlineError(f"features.engine {params.engine}: {needed} is not installed", "run `make setup`")
    record = paths.state("engines", f"{value_sha256(asked)[:32]}.json")
    with _locked(record):
        if not record.is_file():
            atomic_json(record, asked | _found(params, digest, pictures))
        engine = read_json(record, "remove it")["engine"]
    return _plan(params, engine, digest)


def _plan(params: Features, engine: str, digest: str) -> Plan:
    where = pytorch.device() if engine in ("torch", "compiled") else "cpu"
    version = runtimes.version(engine)
    if engine == "openvino" and "motion" in params.parts and runtimes.installed("onnxruntime"):
        version += f" with onnxruntime {runtimes.version('onnxruntime')}"
    channels = 0 if set(params.parts) == {"motion"} else KINDS[params.backbone].channels
    sizes = part_sizes(params.parts, channels)
    return Plan(params.model_copy(update={"engine": engine}), sizes, digest, version, where)


def _found(params: Features, digest: str, pictures: int) -> dict:
    """{"engine": its name, "measured": whether speeds decided, "probes": what was found of each}."""
    model = build_featurizer(params)
    shown = probe_pictures(params.size)
    reference = engines.load(_plan(params.model_copy(update={"precision": "float32"}), "torch", digest), 1, model)
    wanted, seconds = _timed(reference, shown)
    measure = params.engine == "auto" and pictures * seconds >= MEASURE_FROM_S
    probes: dict[str, dict] = {}
    for engine in _candidates(params):
        try:
            probes[engine] = _probed(_plan(params, engine, digest), model, shown, wanted)
        except SightlineError as error:
            if params.engine != "auto":
                raise
            runtimes.warn(f"features: {error.problem}; another engine is used")
            continue
        if not measure:
            break
    if not probes:
        raise SightlineError("features.engine auto: no engine is sound here", "see the reasons above")
    return {"engine": fastest({name: probe["rate"] for name, probe in probes.items()}), "measured": measure} | {
        "probes": probes
    }


def fastest(rates: dict[str, float]) -> str:
    """Of engines in order of preference, with their pictures/s: the first that no other clearly outruns."""
    best = max(rates.values())
    return next(name for name, rate in rates.items() if rate * CLEARLY >= best)


def _candidates(params: Features) -> list[str]:
    """Engines to try, the preferred first.

    torch.compile takes half a minute or more per network and was outrun by ONNX Runtime and OpenVINO on every CPU
    tried, so `auto` has it only where they are not to be had.
    """
    if params.engine != "auto":
        return [params.engine]
    plain = ["onnxruntime", "openvino"] if params.precision == "float32" else ["openvino"]
    plain = [name for name in plain if runtimes.installed(name)]
    compiled = ["compiled"] if shutil.which(os.environ.get("CXX", "g++")) else []
    if pytorch.device() == "cuda":
        return ["torch", *compiled, *plain]
    return [*(plain or compiled), "torch"]


def _probed(plan: Plan, model: Featurizer, shown: np.ndarray, wanted: np.ndarray) -> dict:
    engine = engines.load(graph.ready(plan, model), 1, model)
    vectors, seconds = _timed(engine, shown)
    distance = largest_distance(vectors, wanted, engine.places)
    allowed = SOUND[plan.params.precision]
    if not distance <= allowed:
        raise SightlineError(
            f"{plan.name}: its vectors are up to {distance:.1e} in cosine distance from torch's in float32, "
            f"more than {allowed:.0e}",
            "name another engine, or leave the choice to auto",
        )
    return {"rate": round(1 / seconds, 2), "distance": float(f"{distance:.1e}")}


def largest_distance(vectors: np.ndarray, wanted: np.ndarray, parts: dict[str, slice]) -> float:
    """The largest cosine distance between rows, part by part; infinite where a number is not finite."""
    if not np.isfinite(vectors).all():
        return float("inf")
    worst = 0.0
    for place in parts.values():
        a, b = vectors[:, place].astype(np.float64), wanted[:, place].astype(np.float64)
        norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        apart = np.where(norms > 0, 1 - (a * b).sum(1) / np.maximum(norms, 1e-300), np.any(a != b, axis=1))
        worst = max(worst, float(apart.max()))
    return worst


def probe_pictures(size: tuple[int, int], count: int = PROBE, seed: int = 0) -> np.ndarray:
    """(count, height, width, 3) uint8 RGB: smooth noise that moves sideways."""
    height, width = size
    random = np.random.default_rng(seed)
    still = cv2.resize(
        random.integers(0, 256, (8, 11, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC
    )
    still = cv2.add(still, random.integers(0, 32, still.shape, dtype=np.uint8))
    return np.stack([np.roll(still, 2 * i, axis=1) for i in range(count)])


def before(count: int) -> np.ndarray:
    """What each frame of a sequence is matched against: the frame before it, the first against the second."""
    return np.array([min(1, count - 1), *range(count - 1)][:count], np.int64)


def _timed(engine: Engine, shown: np.ndarray) -> tuple[np.ndarray, float]:
    """(its vectors of the pictures as one sequence, seconds per picture: the best pass after the first)."""
    arguments = shown, np.arange(len(shown)), before(len(shown))
    vectors, passes, start = engine(*arguments), [], time.perf_counter()
    while not passes or (len(passes) < 2 or time.perf_counter() - start < TIMED_S):
        began = time.perf_counter()
        engine(*arguments)
        passes.append(time.perf_counter() - began)
    return vectors, min(passes) / len(shown)


def _machine() -> str:
    """Processor model and a digest of what it can do: virtual machines give many CPUs one name."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    name = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^flags\s*:\s*(.+)$", text, re.MULTILINE)
    digest = hashlib.sha256((flags.group(1) if flags else "").encode()).hexdigest()[:8]
    return f"{name.group(1) if name else platform.processor()} {digest} {pytorch.device()}"


@contextmanager
def _locked(record: Path) -> Iterator[None]:
    """Two stages at the same time choose one after the other: the second takes what the first has found."""
    record.parent.mkdir(parents=True, exist_ok=True)
    with open(record.with_suffix(".lock"), "w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
