"""Bundles of a detector that knows four colours and needs no training, and footage of rectangles that move."""

import base64
import math
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import av
import cv2
import numpy as np
import onnx
import torch

from components.core.bundle import GRAPH, Bundle, Pointer, write_manifest, write_pointer
from components.core.recipe import Tracker

RECIPE = "moving"
CLASSES = ("background", "red", "blue")
HEIGHT, WIDTH = 48, 80  # of what the network sees
COLOURS = ((220, 40, 40), (40, 40, 220), (230, 150, 40), (40, 200, 220))  # by object
KINDS = (1, 2, 1, 2)  # their classes
NEAR = 45  # of a colour, in each channel: what an encoder leaves of it
LEAST = 12  # pixels that are an object
TRACKER = Tracker(tuned=False, high_score=0.3, new_score=0.4, lost_frames=10, min_hits=2)


class Finder(torch.nn.Module):
    """uint8 (B, HEIGHT, WIDTH, 3) -> boxes, scores, classes, probabilities and, with `dim`, embeddings: a box around
    all that has one of the colours, of score `best` and below."""

    def __init__(self, dim: int, best: float):
        super().__init__()
        self.dim, self.best = dim, best
        self.register_buffer("colours", torch.tensor(COLOURS, dtype=torch.float32).view(1, 4, 1, 1, 3))
        self.register_buffer("kinds", torch.tensor(KINDS))
        self.register_buffer("rows", torch.arange(HEIGHT, dtype=torch.float32) / HEIGHT)
        self.register_buffer("columns", torch.arange(WIDTH, dtype=torch.float32) / WIDTH)
        self.register_buffer("looks", torch.nn.functional.normalize(torch.randn(4, max(dim, 1)).abs(), dim=1))

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, ...]:
        like = ((frames[:, None].float() - self.colours).abs().amax(-1) < NEAR).float()  # (B, 4, HEIGHT, WIDTH)
        down, across = like.amax(3), like.amax(2)
        sides = [
            1 - ((1 - self.columns) * across).amax(2), 1 - ((1 - self.rows) * down).amax(2),
            (self.columns * across).amax(2) + 1 / WIDTH, (self.rows * down).amax(2) + 1 / HEIGHT,
        ]  # fmt: skip
        there = (like.sum((2, 3)) >= LEAST).float()
        scores, order = (there * (self.best - 0.1 * torch.arange(4))).topk(4, 1)
        there = (scores > 0).float()
        boxes = torch.stack(sides, -1).gather(1, order[..., None].expand(-1, -1, 4)) * there[..., None]
        best = scores[:, :1]
        found = boxes, scores, self.kinds[order] * there.long(), torch.cat([1 - best, best, 0 * best], 1)
        return (*found, self.looks[order] * there[..., None]) if self.dim else found


@cache
def graph(dim: int, best: float) -> bytes:
    """The finder as a graph."""
    names = ["boxes", "scores", "classes", "probabilities", "embeddings"][: 5 if dim else 4]
    file = Path(mkdtemp()) / GRAPH
    torch.manual_seed(dim)
    torch.onnx.export(
        Finder(dim, best).eval(), (torch.zeros((2, HEIGHT, WIDTH, 3), dtype=torch.uint8),), str(file), dynamo=False,
        input_names=["frames"], output_names=names, dynamic_axes={name: {0: "batch"} for name in ("frames", *names)},
        opset_version=17,
    )  # fmt: skip
    onnx.checker.check_model(onnx.load(file), full_check=True)
    content = file.read_bytes()
    shutil.rmtree(file.parent)
    return content


def publish(
    deployed: Path, version: int = 1, dim: int = 8, tracker: Tracker | None = TRACKER, best: float = 0.9, point=True,
    **fields,
) -> Pointer:  # fmt: skip
    """Writes a version's bundle and, with `point`, points to it. `dim`: of embeddings, 0: none."""
    folder = deployed / f"v{version}"
    folder.mkdir(parents=True)
    (folder / GRAPH).write_bytes(graph(dim, best))
    about = {"fps": None, "max_side": None, "threshold": 0.5} | fields
    bundle = Bundle(
        recipe=RECIPE, classes=CLASSES, positive=None, height=HEIGHT, width=WIDTH, window_frames=1, lineage={},
        metrics={}, kind="detection", tracker=tracker and tracker.model_dump(mode="json"), **about,
    )  # fmt: skip
    pointer = Pointer(version, folder.name, write_manifest(folder, bundle).digest)
    if point:
        write_pointer(deployed, pointer)
    return pointer


def boxes(at: int, objects=(0, 1), scale: int = 2) -> dict[int, tuple[int, int, int, int]]:
    """Left, top, width, height in pixels of the objects in the frame at this time; they go to and fro."""
    made = {}
    for one in objects:
        left = round(28 + 24 * math.sin(at / 20 + 1.7 * one))
        made[one] = tuple(scale * side for side in (left, 2 + 11 * one, 16 - 2 * one, 9))
    return made


def frame(at: int, objects=(0, 1), scale: int = 2) -> np.ndarray:
    """What a camera sees at this time: (HEIGHT, WIDTH, 3) times `scale`, uint8 RGB."""
    rgb = np.full((HEIGHT * scale, WIDTH * scale, 3), 120, np.uint8)
    for one, (left, top, wide, high) in boxes(at, objects, scale).items():
        rgb[top : top + high, left : left + wide] = COLOURS[one]
    return rgb


def jpeg(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def base64_of(rgb: np.ndarray) -> str:
    return base64.b64encode(jpeg(rgb)).decode()


def payload(at: int, objects=(0, 1), scale: int = 2, **fields) -> dict:
    """The post's payload of one frame."""
    rgb = frame(at, objects, scale)
    size = {"frame_w": rgb.shape[1], "frame_h": rgb.shape[0], "batch_size": 1}
    return {"frame_id": at, "frame_data": base64_of(rgb)} | size | fields


def write_clip(path: Path, times: list[int], objects=(0, 1), scale: int = 4, rate: int = 25) -> Path:
    """A video of these times of the scene, each its own frame number's time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=rate, options={"crf": "10", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH * scale, HEIGHT * scale, "yuv444p"
        for at in times:
            picture = av.VideoFrame.from_ndarray(frame(at, objects, scale), format="rgb24")
            picture.pts = at
            out.mux(stream.encode(picture))
        out.mux(stream.encode(None))
    return path
