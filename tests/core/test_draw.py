"""Boxes drawn into pictures: colours of identities, labels where there is room, boxes without one."""

import numpy as np
import pytest

from components.core.draw import DARK, canvas, identity_colour, outlined


def luminance(colour) -> float:
    """Relative luminance, as the Web Content Accessibility Guidelines have it."""
    parts = np.array(colour) / 255
    return float(np.where(parts <= 0.03928, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722))


def test_an_identitys_colour_is_its_own_and_letters_are_read_on_it():
    colours = [identity_colour(number) for number in range(300)]
    assert colours == [identity_colour(number) for number in range(300)]
    assert all(0 <= part <= 255 and type(part) is int for colour in colours for part in colour)
    for colour in colours:
        assert (luminance(colour) + 0.05) / (luminance(DARK) + 0.05) > 4.5
    for number, colour in enumerate(colours[:-5]):
        others = np.array(colours[number + 1 : number + 5]).astype(int)
        assert (np.abs(others - colour).sum(1) > 90).all(), number


@pytest.mark.parametrize(("corners", "text"), [((40, 60, 120, 160), "7"), ((0, 0, 319, 199), "12"), ((0, 0, 9, 9), "")])
def test_a_box_has_its_colour_and_the_picture_is_left_alone(corners, text):
    rgb = np.full((200, 320, 3), 90, np.uint8)
    copy = outlined(rgb, [(corners, text, (60, 210, 255))])
    assert (rgb == 90).all() and copy.shape == rgb.shape
    left, top, right, bottom = corners
    for down, across in ((bottom - 1, (left + right) // 2), ((top + bottom) // 2, right - 1)):
        assert copy[down, across].tolist() == [60, 210, 255]
    written = (copy == (60, 210, 255)).all(2)[max(0, top - 14) : top + 20, left : left + 10].mean()
    assert written > 0.5 if text else written < 0.5


def test_the_last_box_is_on_top():
    same = (30, 30, 90, 90)
    copy = outlined(np.zeros((120, 120, 3), np.uint8), [(same, "1", (255, 0, 0)), (same, "2", (0, 255, 0))])
    assert (copy[60, 30] == (0, 255, 0)).all()


@pytest.mark.parametrize(
    ("shape", "expected"), [((48, 80), (384, 640)), ((700, 500), (700, 500)), ((100, 2560), (50, 1280))]
)
def test_the_canvas_has_a_size_to_read_on(shape, expected):
    assert canvas(np.zeros((*shape, 3), np.uint8)).shape[:2] == expected
