"""int8: the convolutions of a graph and what lies between them, calibrated on pictures (ONNX Runtime, static QDQ).

Weights are signed, a scale per channel; activations unsigned, one scale per tensor. The first convolution stays in
float32: it has three channels, so there is little to win, and what is rounded there is lost to all that follows. So do
pooling, motion and head, which cost nothing beside.

An x86 processor without VNNI adds products of uint8 and int8 two by two in 16 bits, and cuts off what is more than
these hold: scores are wrong there, and nobody is told. Weights of 7 bits (`ANY`) never get there: 2 * 255 * 64 < 2**15.
"""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

ANY, VNNI = "any", "vnni"  # the processors that an int8 graph is for: all, or those that add its products in 32 bits
BETWEEN = ("Relu", "Add", "Clip", "MaxPool")
PICTURE_WEIGHTS = 4  # dimensions of the weights of a convolution over pictures


def quantise(source: Path, target: Path, pictures: Iterator[np.ndarray], processors: str = ANY) -> bool:
    """Writes the int8 graph of the float32 graph `source`; False, and nothing is written, where it has no convolution
    that could be quantised. `pictures`: uint8 (height, width, 3) RGB as the graph takes them; `processors`: ANY or
    VNNI."""
    nodes = _chosen(onnx.load(source))
    if not nodes:
        return False
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / target.name
        with _quiet():
            quantize_static(
                source,
                raw,
                _Reader(pictures),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=processors == ANY,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                op_types_to_quantize=["Conv", *BETWEEN],
                nodes_to_quantize=nodes,
            )
        model = onnx.load(raw)
    del model.metadata_props[:]
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """ONNX Runtime advises to fold a graph before; the deployment's export did."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _chosen(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes: convolutions over pictures but for the first, and what takes only what these make."""
    weights = {one.name: len(one.dims) for one in model.graph.initializer}
    over_pictures = [
        node for node in model.graph.node if node.op_type == "Conv" and weights.get(node.input[1]) == PICTURE_WEIGHTS
    ]
    chosen, made = [], {name for node in over_pictures for name in node.output}
    for node in model.graph.node:
        if node in over_pictures[1:]:
            chosen.append(node.name)
        elif node.op_type in BETWEEN and all(name in made or name in weights for name in node.input if name):
            chosen.append(node.name)
            made |= set(node.output)
    return chosen if len(over_pictures) > 1 else []


class _Reader(CalibrationDataReader):
    """Each picture as a sequence of one."""

    def __init__(self, pictures: Iterator[np.ndarray]):
        self._pictures = pictures

    def get_next(self) -> dict[str, np.ndarray] | None:
        picture = next(self._pictures, None)
        return None if picture is None else {"frames": picture[None, None]}
