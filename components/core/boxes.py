"""Boxes in the pixels of a picture. Pure."""

import numpy as np


def placed(box: np.ndarray, size: tuple[int, int]) -> dict[str, float]:
    """Left `x`, top `y`, `w` and `h` in pixels of a picture of this (height, width), of a box (4,) left, top, right,
    bottom in units of the picture."""
    (left, top, right, bottom), (height, width) = box, size
    return {
        "x": float(left) * width, "y": float(top) * height, "w": float(right - left) * width,
        "h": float(bottom - top) * height,
    }  # fmt: skip
