"""Does the graph give what the trained model gives? Asked on real frames, in the shapes that the service uses."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from components.core import tables
from components.core.errors import SightlineError
from components.core.media import decode_picture, resize

CLIPS = 3
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
    shards = tables.shards(frames)
    if not shards:
        raise SightlineError(f"{frames}: the table has no shards", "run the frames stage")
    for place in sorted({0, len(shards) // 2, len(shards) - 1})[:CLIPS]:
        pictures: list[np.ndarray] = []
        asset = None
        for row in tables.iter_rows(shards[place], ["asset_id", "jpeg"], batch_rows=window):
            asset = asset or row["asset_id"]
            if row["asset_id"] != asset or len(pictures) == window:
                break
            pictures.append(resize(decode_picture(row["jpeg"]), *size))
        if pictures:
            yield np.stack(pictures)


def largest_difference(graph: Path, scorer: torch.nn.Module, batches: Iterator[np.ndarray]) -> float:
    """The largest absolute difference in probability between ONNX Runtime on `graph` and `scorer` in torch."""
    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    largest, seen = 0.0, 0
    for frames in batches:
        exported = session.run(["probabilities"], {"frames": frames})[0]
        with torch.inference_mode():
            trained = scorer(torch.from_numpy(frames)).numpy()
        if exported.shape != trained.shape:
            raise SightlineError(f"{graph}: gives {exported.shape}, the model {trained.shape}", "see export.py")
        difference = np.abs(exported - trained).max()
        largest, seen = max(largest, float(difference) if np.isfinite(difference) else float("inf")), seen + 1
    if not seen:
        raise SightlineError(f"{graph}: no frames to compare it with the model on", "run the frames stage")
    return largest
