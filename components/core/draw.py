"""Boxes drawn into a picture, for people to look at. Pure."""

import colorsys
from collections.abc import Iterable
from functools import cache, lru_cache

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from components.core.media import fit

LARGEST, SMALLEST = 1280, 640  # pixels of the longer side: enough to read, little enough to hold and to keep
COLOURS = (
    (255, 212, 0), (60, 210, 255), (255, 120, 110), (140, 235, 90), (235, 140, 255), (255, 160, 60), (150, 175, 255),
)  # fmt: skip
DARK = (28, 36, 48)
LABELS = 256  # kept for the next frame: most are the same there, and identities only grow
TURN = (5**0.5 - 1) / 2  # of the circle of hues, from one identity to the next: the golden section, so none comes twice
LIGHT = (0.299, 0.587, 0.114)  # how light red, green and blue are (ITU-R BT.601)
LEAST_LIGHT = 0.55  # of the colour of an identity, white being 1
Colour = tuple[int, int, int]  # RGB
Corners = tuple[int, int, int, int]  # left, top, right, bottom in pixels, the last ones within


def canvas(rgb: np.ndarray) -> np.ndarray:
    """A picture, (H, W, 3) uint8 RGB, scaled so that its longer side is from SMALLEST to LARGEST pixels."""
    height, width = rgb.shape[:2]
    if max(height, width) >= SMALLEST:
        return fit(rgb, LARGEST)
    scale = SMALLEST / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)


def identity_colour(identity: int) -> Colour:
    """The colour of an identity, the same in every frame, file and run: light enough for DARK letters on it, and those
    of neighbouring numbers far apart."""
    strength = (0.55, 0.9, 0.75)[identity % 3]
    rgb = np.array(colorsys.hsv_to_rgb(identity * TURN % 1, strength, 1.0))
    light = float(rgb @ LIGHT)
    if light < LEAST_LIGHT:
        rgb += (1 - rgb) * (LEAST_LIGHT - light) / (1 - light)
    return tuple(round(255 * part) for part in rgb.tolist())


def outlined(rgb: np.ndarray, boxes: Iterable[tuple[Corners, str, Colour]]) -> np.ndarray:
    """A copy of the canvas `rgb`, (H, W, 3) uint8, with boxes, each with its text, if any, on a bar of its colour; the
    last on top."""
    image, longer = rgb.copy(), max(rgb.shape[:2])
    line, size = max(3, round(longer / 320)), max(14, round(longer / 48))
    for (left, top, right, bottom), text, colour in boxes:
        # A dark edge on either side, so that the line is seen on any background.
        _frame(image, (left - 1, top - 1, right + 1, bottom + 1), line + 2, DARK)
        _frame(image, (left, top, right, bottom), line, colour)
        if text:
            _stamp(image, (left, top), _label(text, size, colour))
    return image


def _frame(image: np.ndarray, box: Corners, line: int, colour: Colour) -> None:
    left, top, right, bottom = box
    for rows, columns in (
        ((top, top + line), (left, right + 1)), ((bottom - line + 1, bottom + 1), (left, right + 1)),
        ((top, bottom + 1), (left, left + line)), ((top, bottom + 1), (right - line + 1, right + 1)),
    ):  # fmt: skip
        image[max(0, rows[0]) : max(0, rows[1]), max(0, columns[0]) : max(0, columns[1])] = colour


def _stamp(image: np.ndarray, corner: tuple[int, int], label: np.ndarray) -> None:
    """Puts a label above a box's upper left corner; where there is no room, within the picture."""
    high, wide = label.shape[:2]
    left = max(0, min(corner[0], image.shape[1] - wide + 1))
    top = corner[1] - high + 1 if corner[1] >= high - 1 else max(0, corner[1])
    place = image[top : top + high, left : left + wide]
    place[:] = label[: place.shape[0], : place.shape[1]]


@lru_cache(LABELS)
def _label(text: str, size: int, colour: Colour) -> np.ndarray:
    """The text, `size` pixels high, in DARK on a bar of this colour, (H, W, 3) uint8."""
    font = _font(size)
    _, _, wide, high = font.getbbox(text)
    bar = Image.new("RGB", (round(wide) + 7, round(high) + 5), colour)
    ImageDraw.Draw(bar).text((3, 1), text, font=font, fill=DARK)
    return np.asarray(bar)


@cache
def _font(size: int) -> ImageFont.ImageFont:
    return ImageFont.load_default(size)
