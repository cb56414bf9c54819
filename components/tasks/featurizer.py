"""From a sequence of frames to a vector per frame: backbone, pooling and motion in one module that exports whole."""

import json
from functools import cache

import numpy as np
import torch
from torch import nn

from components.core.media import resize
from components.core.recipe import Features
from components.tasks.backbones import load_backbone
from components.tasks.motion import Motion

CONTEXT = 1  # frames before a chunk that its first vector depends on


class Featurizer(nn.Module):
    """(B, T, H, W, 3) uint8 RGB, neighbouring frames of one source along T -> (B, T, dimension) float32."""

    def __init__(self, backbone: nn.Module | None, parts: tuple[str, ...], channels: int, mean, std, digest: str):
        super().__init__()
        self.backbone, self.parts, self.weights_digest = backbone, parts, digest
        self.motion = Motion() if "motion" in parts else None
        sizes = {"mean": channels, "max": channels, "motion": Motion.dimension}
        self.dimension = sum(sizes[part] for part in parts)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        batch, time = frames.shape[:2]
        pixels = frames.permute(0, 1, 4, 2, 3).float() / 255
        made = {}
        if self.backbone is not None:
            maps = self.backbone((pixels.flatten(0, 1) - self.mean) / self.std)
            made["mean"] = maps.mean((2, 3)).reshape(batch, time, -1)
            made["max"] = maps.amax((2, 3)).reshape(batch, time, -1)
        if self.motion is not None:
            made["motion"] = self.motion(pixels)
        return torch.cat([made[part] for part in self.parts], dim=-1)


def identity(params: Features, weights_digest: str) -> dict[str, str]:
    """What makes two vectors comparable, as text: noted beside the features and compared before a model is exported."""
    size = "x".join(map(str, params.size))
    return {"backbone": params.backbone, "weights": weights_digest, "size": size, "parts": ",".join(params.parts)}


def build_featurizer(params: Features) -> Featurizer:
    """The featurizer these parameters describe, weights loaded, in evaluation mode. Raises as `load_backbone`."""
    if set(params.parts) == {"motion"}:
        return Featurizer(None, params.parts, 0, (0.0,) * 3, (1.0,) * 3, "no-backbone").eval()
    backbone, kind, digest = load_backbone(params.backbone, params.weights)
    return Featurizer(backbone, params.parts, kind.channels, kind.mean, kind.std, digest).eval()


@cache
def cached_featurizer(params_json: str) -> Featurizer:
    """`build_featurizer`, once per process: what a Spark worker calls for every asset it is given."""
    torch.set_num_threads(1)
    return build_featurizer(Features.model_validate(json.loads(params_json)))


@torch.inference_mode()
def featurize(featurizer: Featurizer, pictures, size: tuple[int, int], batch_size: int) -> np.ndarray:
    """Vectors, (frames, dimension) float32, of an iterable of (H, W, 3) uint8 RGB pictures of one source in order.

    Works through chunks of `batch_size`, each with the frame before it, so memory does not grow with the sequence and
    the same sequence gives the same bytes.
    """
    vectors: list[np.ndarray] = []
    chunk: list[np.ndarray] = []
    context: list[np.ndarray] = []

    def flush() -> None:
        nonlocal context, chunk
        if chunk:
            frames = torch.from_numpy(np.stack(context + chunk))[None]
            vectors.append(featurizer(frames)[0, len(context) :].numpy())
            context, chunk = chunk[-CONTEXT:], []

    # The first frame looks ahead at the second, so a lone frame must not end up in a chunk of its own at the start.
    for picture in pictures:
        chunk.append(resize(picture, *size))
        if len(chunk) >= max(2, batch_size):
            flush()
    flush()
    return np.concatenate(vectors) if vectors else np.empty((0, featurizer.dimension), np.float32)
