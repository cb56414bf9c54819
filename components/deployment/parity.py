"""Does the graph give what the trained model gives? Asked on real frames, in the shapes that the service uses."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from components.core import tables
from components.core.errors import SightlineError
from components.core.media import decode_picture, resize

CLIPS = 3
PICTURES = 8  # of a shard
LONGEST_WINDOW = 16  # frames: enough to see a temporal head work, short enough to hold in memory


def sequences(frames: Path, size: tuple[int, int], window: int) -> Iterator[np.ndarray]:
    """uint8 (B, T, height, width, 3) RGB from a frames table: of up to CLIPS assets, spread over the table, the first
    `window` frames as one sequence; and the first frames of these assets as a batch of single pictures.
    """
    clips = list(_clips(frames, size, min(max(window, 2), LONGEST_WINDOW)))
    for clip in clips:
        yield clip[None]
    yield np.stack([clip[:1] for clip in clips])


def _clips(frames: Path, size: tuple[int, int], window: int) -> Iterator[np.ndarray]:
    for shard in _spread(frames):
        clip: list[np.ndarray] = []
        asset = None
        for row in tables.iter_rows(shard, ["asset_id", "jpeg"], batch_rows=window):
            asset = asset or row["asset_id"]
            if row["asset_id"] != asset or len(clip) == window:
                break
            clip.append(resize(decode_picture(row["jpeg"]), *size))
        if clip:
            yield np.stack(clip)


def pictures(frames: Path, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """uint8 (B, height, width, 3) RGB from a frames table: the first PICTURES frames of up to CLIPS shards, spread over
    the table, a shard's as one batch; and the first frames of these shards one by one.
    """
    batches = []
    for shard in _spread(frames):
        rows = islice(tables.iter_rows(shard, ["jpeg"], batch_rows=PICTURES), PICTURES)
        batches.append([resize(decode_picture(row["jpeg"]), *size) for row in rows])
    yield from (np.stack(batch) for batch in batches if batch)
    yield from (np.stack(batch[:1]) for batch in batches if batch)


def _spread(frames: Path) -> list[Path]:
    shards = tables.shards(frames)
    if not shards:
        raise SightlineError(f"{frames}: the table has no shards", "run the frames stage")
    return [shards[place] for place in sorted({0, len(shards) // 2, len(shards) - 1})[:CLIPS]]


Outputs = list[np.ndarray]


def answers(
    graph: Path, model: torch.nn.Module, batches: Iterator[np.ndarray], names: list[str] | None = None
) -> Iterator[tuple[Outputs, Outputs]]:
    """For each batch the outputs of ONNX Runtime on `graph`, those of these `names` (None: all), and the outputs of
    `model` in torch, in the same shapes.

    Raises SightlineError where shapes differ, and where there is no batch.
    """
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    seen = 0
    for frames in batches:
        exported = session.run(names, {"frames": frames})
        with torch.inference_mode():
            given = model(torch.from_numpy(frames))
        trained = [part.numpy() for part in ([given] if isinstance(given, torch.Tensor) else given)]
        shapes = [[part.shape for part in parts] for parts in (exported, trained)]
        if shapes[0] != shapes[1]:
            raise SightlineError(f"{graph}: gives {shapes[0]}, the model {shapes[1]}", "see export.py")
        yield exported, trained
        seen += 1
    if not seen:
        raise SightlineError(f"{graph}: no frames to compare it with the model on", "run the frames stage")


def largest_difference(graph: Path, scorer: torch.nn.Module, batches: Iterator[np.ndarray]) -> float:
    """The largest absolute difference in probability between ONNX Runtime on `graph` and `scorer` in torch."""
    both = answers(graph, scorer, batches, ["probabilities"])
    return max(gap(*parts) for pair in both for parts in zip(*pair, strict=True))


def gap(ours: np.ndarray, others: np.ndarray) -> float:
    """The largest absolute difference between two arrays; infinite where it is no number."""
    difference = np.abs(ours - others).max(initial=0)
    return float(difference) if np.isfinite(difference) else float("inf")
