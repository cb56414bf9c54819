"""A classifier's graph, cut in two where a frame has become a vector: featurizer and head, as the export names them."""

from pathlib import Path

import onnx
from onnx.utils import Extractor

from components.core.errors import SightlineError

FEATURIZER, HEAD = "/featurizer/", "/head/"  # scopes of components.tasks.classification.export.Scorer
FRAMES, VECTORS, PROBABILITIES = "frames", "vectors", "probabilities"


def cut(source: Path, vectors: Path, head: Path) -> None:
    """Writes the two graphs: `frames` (B, T, H, W, 3) uint8 -> `vectors` (B, T, D) float32 -> `probabilities`.

    Raises SightlineError where featurizer and head do not hang together by one tensor.
    """
    model = onnx.shape_inference.infer_shapes(onnx.load(source))
    made = {name for node in model.graph.node if node.name.startswith(FEATURIZER) for name in node.output}
    between = {name for node in model.graph.node if node.name.startswith(HEAD) for name in node.input} & made
    if len(between) != 1:
        raise SightlineError(
            f"{source}: featurizer and head hang together by {len(between)} tensors, not by one",
            "see components/tasks/classification/export.py, whose names edge/cut.py goes by",
        )
    (seam,) = between
    _renamed(model, seam)
    whole = Extractor(model)
    for target, given, wanted in ((vectors, FRAMES, VECTORS), (head, VECTORS, PROBABILITIES)):
        part = whole.extract_model([given], [wanted])
        onnx.checker.check_model(part, full_check=True)
        target.write_bytes(part.SerializeToString(deterministic=True))


def _renamed(model: onnx.ModelProto, seam: str) -> None:
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == seam:
                    names[place] = VECTORS
    for info in model.graph.value_info:
        if info.name == seam:
            info.name = VECTORS
    for info in [given for given in model.graph.output if given.name == VECTORS]:  # within, not at the end
        model.graph.output.remove(info)
        model.graph.value_info.append(info)
