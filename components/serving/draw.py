"""Boxes drawn into a picture, for people to look at. Pure."""

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.core.media import fit

LARGEST, SMALLEST = 1280, 640  # pixels of the longer side: enough to read, little enough to hold and to keep
COLOURS = (
    (255, 212, 0), (60, 210, 255), (255, 120, 110), (140, 235, 90), (235, 140, 255), (255, 160, 60), (150, 175, 255),
)  # fmt: skip
DARK = (28, 36, 48)


def canvas(rgb: np.ndarray) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, scaled so that its longer side is from SMALLEST to LARGEST pixels."""
    height, width = rgb.shape[:2]
    if max(height, width) >= SMALLEST:
        return fit(rgb, LARGEST)
    scale = SMALLEST / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)


def drawn(rgb: np.ndarray, boxes: list[dict], size: tuple[int, int], classes: tuple[str, ...]) -> np.ndarray:
    """A copy of the canvas `rgb` with boxes, each in its class's colour with class and score; the best on top.

    `boxes`: class, score, x, y, w, h in pixels of the source, whose (height, width) `size` is.
    """
    image = Image.fromarray(rgb)
    pen = ImageDraw.Draw(image)
    down, across = image.height / size[0], image.width / size[1]
    line = max(3, round(max(image.size) / 320))
    font = ImageFont.load_default(max(14, round(max(image.size) / 48)))
    for box in sorted(boxes, key=lambda box: box["score"]):
        colour = COLOURS[(classes.index(box["class"]) - 1) % len(COLOURS)]  # the first is the background
        left, top = round(box["x"] * across), round(box["y"] * down)
        right = max(left, round((box["x"] + box["w"]) * across) - 1)
        bottom = max(top, round((box["y"] + box["h"]) * down) - 1)
        # A dark edge on either side, so that the line is seen on any background.
        pen.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=DARK, width=line + 2)
        pen.rectangle((left, top, right, bottom), outline=colour, width=line)
        _label(pen, image.size, (left, top), f"{box['class']} {box['score']:.2f}", font, colour)
    return np.asarray(image)


def _label(pen: ImageDraw.ImageDraw, size: tuple[int, int], corner: tuple[int, int], text: str, font, colour) -> None:
    """The text on a bar of this colour above a box's upper left corner; where there is no room, within the picture."""
    _, _, wide, high = pen.textbbox((0, 0), text, font=font)
    wide, high = wide + 6, high + 4
    left = max(0, min(corner[0], size[0] - wide))
    top = corner[1] - high if corner[1] >= high else max(0, corner[1])
    pen.rectangle((left, top, left + wide, top + high), fill=colour)
    pen.text((left + 3, top + 1), text, font=font, fill=DARK)
