"""What runs a graph: ONNX Runtime or OpenVINO. Imports no torch, which takes a worker seconds.

A network is a function (arrays) -> (rows, dimension) float32. Whatever runs it, it has the threads it was given and
no more: the cores are Spark's to give.
"""

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable

import numpy as np

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
