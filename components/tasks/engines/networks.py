"""What runs a network: torch eager or compiled, ONNX Runtime, OpenVINO. Each gives a function of arrays.

A network is a function (arrays) -> (rows, dimension) float32. Whatever runs it, it has the threads it was given and
no more: the cores are Spark's to give.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
from torch import nn

from components.core import paths
from components.core.errors import SightlineError

Network = Callable[..., np.ndarray]
# What each engine needs, its own package first; graphs are exported through onnx.
PACKAGES = {
    "torch": ("torch",),
    "compiled": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "onnx"),
}
BFLOAT16 = "bfloat16"


def installed(engine: str) -> bool:
    """Whether all that an engine needs is there."""
    return all(importlib.util.find_spec(package) is not None for package in PACKAGES[engine])


def version(engine: str) -> str:
    """The version of an engine's package: another one may give other bytes."""
    return importlib.metadata.version(PACKAGES[engine][0])


def device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def eager(network: nn.Module, precision: str, threads: int) -> Network:
    """The network in torch, on the GPU where there is one; channels last, which convolutions are fastest in.

    bfloat16 is torch's autocast: convolutions and matrix products in it, sums in float32.
    """
    return _torch(network, network, precision, threads)


def compiled(network: nn.Module, precision: str, threads: int, rows: int) -> Network:
    """The network by torch.compile, for batches of `rows` pictures: fewer are filled up with black ones.

    The compiled code is kept in the user's cache, where the workers find what the driver compiled. Raises
    SightlineError where there is no C++ compiler.
    """
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SightlineError(
            f"features.engine compiled: no C++ compiler ({compiler}): torch.compile makes its code when it runs",
            "install g++, or name it in CXX, or use another engine",
        )
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.user_cache("inductor")))
    run = _torch(network, torch.compile(network, dynamic=False), precision, threads)

    def padded(pictures: np.ndarray) -> np.ndarray:
        missing = rows - len(pictures)
        filled = np.concatenate([pictures, np.zeros((missing, *pictures.shape[1:]), np.uint8)]) if missing else pictures
        return run(filled)[: len(pictures)]

    return padded


def _torch(network: nn.Module, call: Callable, precision: str, threads: int) -> Network:
    torch.set_num_threads(threads)
    where = device()
    network.to(where, memory_format=torch.channels_last)
    if where == "cuda":  # the same bytes each time, and float32 that is float32
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    low = torch.autocast(where, torch.bfloat16) if precision == BFLOAT16 else nullcontext()

    def run(*arrays: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), low:
            return call(*(torch.from_numpy(array).to(where) for array in arrays)).float().cpu().numpy()

    return run


def onnx_runtime(graph: str, threads: int) -> Network:
    """The graph by ONNX Runtime's CPU kernels, in float32: they have no bfloat16."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    names = [wanted.name for wanted in session.get_inputs()]
    return lambda *arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def openvino(graph: str, precision: str, threads: int) -> Network:
    """The graph by OpenVINO on the CPU, in the precision named: of itself it takes bfloat16 where the CPU has it.

    With several threads the pictures of a batch are shared out between as many streams. Raises SightlineError where
    the CPU has no bfloat16.
    """
    import openvino as ov
    from openvino import properties
    from openvino.properties import hint

    wanted = ov.Type.bf16 if precision == BFLOAT16 else ov.Type.f32
    latency, throughput = hint.PerformanceMode.LATENCY, hint.PerformanceMode.THROUGHPUT
    model = ov.Core().compile_model(
        graph,
        "CPU",
        {
            hint.inference_precision(): wanted,
            hint.performance_mode(): latency if threads == 1 else throughput,
            properties.num_streams(): threads,
            properties.inference_num_threads(): threads,
            # Pinned, every worker's one thread is put on the same first core, and two are no faster than one.
            hint.enable_cpu_pinning(): False,
        },
    )
    given = model.get_property(hint.inference_precision())
    if given != wanted:
        raise SightlineError(
            f"features.precision {precision}: OpenVINO runs in {given.get_type_name()} on this CPU",
            "use float32, or a CPU with bfloat16 arithmetic (AVX-512 BF16 or AMX)",
        )
    if threads == 1:
        request = model.create_infer_request()
        return lambda *arrays: request.infer(list(arrays), share_inputs=True)[0].copy()
    return _streams(ov.AsyncInferQueue(model, threads), threads)


def _streams(queue, count: int) -> Network:
    def run(pictures: np.ndarray) -> np.ndarray:
        made: dict[int, np.ndarray] = {}
        queue.set_callback(lambda request, part: made.__setitem__(part, request.get_output_tensor(0).data.copy()))
        for part, piece in enumerate(np.array_split(pictures, min(count, len(pictures)))):
            queue.start_async([piece], part)
        queue.wait_all()
        return np.concatenate([made[part] for part in sorted(made)])

    return run


def warn(message: str) -> None:
    """One line on stderr."""
    print(message, file=sys.stderr, flush=True)
