"""Pictures as the training saw them: the same steps as `components.core.media` has, without its video decoder.

That decoder brings 100 MB of FFmpeg, and OpenCV brings one of its own. The tests hold both to the same pixels.
"""

import cv2
import numpy as np

cv2.setNumThreads(1)


def decode(content: bytes) -> np.ndarray | None:
    """An encoded picture's pixels, (H, W, 3) uint8 RGB, EXIF orientation applied; None where it is no picture."""
    try:
        bgr = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if bgr is None else cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)


def scaled(rgb: np.ndarray, max_side: int | None, height: int, width: int) -> np.ndarray:
    """The picture, (H, W, 3) uint8, with its longer side at most `max_side`, and then as (height, width, 3)."""
    longer = max(rgb.shape[:2])
    if max_side is not None and longer > max_side:
        scale = max_side / longer
        size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    if rgb.shape[:2] == (height, width):
        return rgb
    smaller = height * width < rgb.shape[0] * rgb.shape[1]
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
