"""An ONNX file of the same bytes wherever and whenever it is made."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import Message

# Where exporters write the Python stack, file names and module names of whoever exported.
NOTES = ("doc_string", "metadata_props")


@dataclass(frozen=True)
class Graph:
    """What is known of a graph that was written: the model's `threshold`; `window`, how many frames it looks at for
    one; the digest of its `weights`; `difference`, the largest from the trained model in any probability; of a detector
    whose boxes are followed, the `tracker`'s parameters."""

    threshold: float | None
    window: int
    weights: str
    difference: float
    tracker: dict | None = None


def canonical_export(export: Callable[[Path], None], target: Path) -> None:
    """Writes to `target` what `export` writes to a path that it is given, in canonical form."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / target.name
        export(raw)
        canonical(raw, target)


def canonical(source: Path, target: Path) -> None:
    """Writes the graph of `source` to `target`: weights inside, no notes of where and how it was exported.

    Raises onnx.checker.ValidationError where what is left is not a valid graph.
    """
    model = onnx.load(source)  # reads external weights too
    _strip(model)
    onnx.checker.check_model(model, full_check=True)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _strip(message: Message) -> None:
    """Clears the notes of a message and of all messages inside it."""
    for note in NOTES:
        if note in message.DESCRIPTOR.fields_by_name:
            message.ClearField(note)
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if field.is_repeated else [value]:
                _strip(inner)
