"""Generated footage as training pictures: pixels and, per cell of the backbone's map, who does what there."""

from dataclasses import replace
from multiprocessing import get_context

import cv2
import numpy as np

from components.core.media import resize
from components.scenes import ClipSpec, SceneSpec, clip_specs, render_clip

SIZE = (192, 256)
STRIDE = 16
GRID = (SIZE[0] // STRIDE, SIZE[1] // STRIDE)
CLASSES = ("person", "moving", "crouching", "fighting", "falling", "lying", "bag", "abandoned")
GROUPS = {
    "walking": "moving",
    "running": "moving",
    "crouching": "crouching",
    "sitting": "crouching",
    "bending": "crouching",
}
EVERY = 7  # neighbouring frames teach little more than one of them


def clips(seed: int, split: str, count: int, seconds: float = 6.0) -> list[ClipSpec]:
    """Clips of the generator's own split, so that pre-training sees only its training cameras and backgrounds."""
    numbers = {"train_clips": 0, "val_clips": 0, "test_clips": 0} | {f"{split}_clips": count}
    return clip_specs(SceneSpec(seed=seed, seconds=seconds, **numbers))


def cells(truth, height: int, width: int) -> np.ndarray:
    """(classes, h, w) uint8: 1 where a cell's centre lies in a box of that class."""
    grid = np.zeros((len(CLASSES), *GRID), np.uint8)

    def mark(name: str, x: int, y: int, w: int, h: int) -> None:
        left, right = x / width * GRID[1], (x + w) / width * GRID[1]
        top, bottom = y / height * GRID[0], (y + h) / height * GRID[0]
        columns = slice(
            max(0, int(np.floor(left + 0.25))), max(int(np.floor(left + 0.25)) + 1, int(np.ceil(right - 0.25)))
        )
        rows = slice(max(0, int(np.floor(top + 0.25))), max(int(np.floor(top + 0.25)) + 1, int(np.ceil(bottom - 0.25))))
        grid[CLASSES.index(name), rows, columns] = 1

    for _, x, y, w, h, activity in truth.people:
        mark("person", x, y, w, h)
        if (name := GROUPS.get(activity, activity)) in CLASSES:
            mark(name, x, y, w, h)
    for _, _, x, y, w, h, abandoned in truth.objects:
        mark("bag", x, y, w, h)
        if abandoned:
            mark("abandoned", x, y, w, h)
    return grid


def clip_pictures(clip: ClipSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(N, H, W, 3) uint8 RGB, (N, classes, h, w) uint8, (N,) uint8 suspicious: every seventh frame of a clip."""
    cv2.setNumThreads(1)
    pictures, grids, labels = [], [], []
    for rgb, truth in render_clip(clip, every=EVERY):
        pictures.append(resize(rgb, *SIZE))
        grids.append(cells(truth, clip.height, clip.width))
        labels.append(truth.suspicious)
    return np.stack(pictures), np.stack(grids), np.asarray(labels, np.uint8)


def load(specs: list[ClipSpec], workers: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`clip_pictures` of all clips, concatenated."""
    with get_context("spawn").Pool(workers) as pool:
        parts = pool.map(clip_pictures, [replace(clip) for clip in specs], chunksize=4)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
