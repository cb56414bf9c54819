"""From a published bundle to a model in memory."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnxruntime

from components.core.bundle import GRAPH, Bundle, Pointer, read_bundle
from components.core.errors import SightlineError
from components.serving.detector import ServedDetector
from components.serving.model import ServedModel


def load_model(
    deployed: Path, pointer: Pointer, threads: int, told: Callable[[str, int, float], None] | None = None
) -> ServedModel:
    """The model that a pointer names, every digest checked, and warmed up with one black picture.

    `threads`: how many one prediction may use; `told`: hears of every pass after that (recipe, pictures, seconds).
    Raises SightlineError where the bundle is not the one the pointer names, is damaged, or does not give what the graph
    of its kind must give.
    """
    folder = deployed / pointer.folder
    bundle = read_bundle(folder)
    if bundle.digest != pointer.digest:
        raise SightlineError(f"{folder}: is not the bundle that the pointer names", "run the deployment stage again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads leave the cores to others
    try:
        session = onnxruntime.InferenceSession(str(folder / GRAPH), options, providers=["CPUExecutionProvider"])
        model = _kind(bundle)(pointer, bundle, session)
        model.check()
    except Exception as error:  # ONNX Runtime's exceptions have no common class but this
        raise SightlineError(f"{folder / GRAPH}: cannot be run: {error}", "run the deployment stage again") from error
    if told:
        model.watch(partial(told, bundle.recipe))
    return model


def _kind(bundle: Bundle) -> type[ServedModel]:
    if bundle.tracks:
        from components.serving.tracker import ServedTracker  # and SciPy with it, which the others do without

        return ServedTracker
    return ServedDetector if bundle.finds_boxes else ServedModel
