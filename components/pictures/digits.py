"""Pictures of handwritten-like digits, a folder per class: strokes, bent and drawn anew for every picture."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from components.core.files import atomic_bytes, atomic_json
from components.pictures.draw import curve, fixed, grid, noise, stream

SCALE = 4  # drawn this much larger, then averaged down

# Ways of writing each digit: strokes as points to bend a line through, x to the right and y down, in a unit square.
FORMS: dict[str, tuple[tuple[tuple[tuple[float, float], ...], ...], ...]] = {
    "0": (
        (((0.5, 0.05), (0.22, 0.25), (0.2, 0.7), (0.5, 0.95), (0.8, 0.7), (0.78, 0.25), (0.5, 0.05)),),
        (((0.62, 0.07), (0.3, 0.2), (0.24, 0.75), (0.5, 0.94), (0.76, 0.74), (0.74, 0.24), (0.42, 0.06)),),
    ),
    "1": (
        (((0.5, 0.05), (0.5, 0.5), (0.5, 0.95)),),
        (((0.3, 0.25), (0.52, 0.05)), ((0.52, 0.05), (0.52, 0.95))),
        (((0.34, 0.22), (0.54, 0.06)), ((0.54, 0.06), (0.52, 0.94)), ((0.32, 0.95), (0.72, 0.94))),
    ),
    "2": (
        (((0.24, 0.25), (0.45, 0.06), (0.74, 0.22), (0.6, 0.55), (0.24, 0.92)), ((0.24, 0.92), (0.8, 0.92))),
        (((0.25, 0.22), (0.5, 0.05), (0.74, 0.26), (0.5, 0.65), (0.26, 0.88), (0.34, 0.76), (0.55, 0.9), (0.8, 0.86)),),
    ),
    "3": (
        (((0.26, 0.14), (0.55, 0.06), (0.72, 0.24), (0.46, 0.46)),
         ((0.46, 0.46), (0.76, 0.62), (0.6, 0.92), (0.24, 0.86))),
        (((0.26, 0.08), (0.74, 0.08)), ((0.74, 0.08), (0.48, 0.42)),
         ((0.48, 0.42), (0.78, 0.6), (0.62, 0.92), (0.24, 0.88))),
    ),
    "4": (
        (((0.62, 0.05), (0.2, 0.66)), ((0.2, 0.66), (0.84, 0.66)), ((0.62, 0.05), (0.62, 0.95))),
        (((0.3, 0.06), (0.24, 0.5)), ((0.24, 0.5), (0.76, 0.5)), ((0.72, 0.06), (0.68, 0.95))),
    ),
    "5": (
        (((0.74, 0.08), (0.3, 0.08)), ((0.3, 0.08), (0.27, 0.45)),
         ((0.27, 0.45), (0.6, 0.4), (0.77, 0.64), (0.56, 0.92), (0.24, 0.86))),
        (((0.76, 0.1), (0.34, 0.08), (0.28, 0.42), (0.62, 0.44), (0.74, 0.7), (0.5, 0.93), (0.22, 0.82)),),
    ),
    "6": (
        (((0.66, 0.06), (0.36, 0.3), (0.24, 0.66), (0.46, 0.94), (0.74, 0.74), (0.56, 0.5), (0.28, 0.64)),),
        (((0.56, 0.05), (0.28, 0.5), (0.3, 0.86), (0.6, 0.94), (0.72, 0.68), (0.5, 0.54), (0.28, 0.74)),),
    ),
    "7": (
        (((0.22, 0.09), (0.78, 0.08)), ((0.78, 0.08), (0.54, 0.5), (0.42, 0.95))),
        (((0.22, 0.1), (0.78, 0.08)), ((0.78, 0.08), (0.56, 0.5), (0.46, 0.95)), ((0.34, 0.52), (0.72, 0.48))),
    ),
    "8": (
        (((0.66, 0.16), (0.46, 0.06), (0.3, 0.24), (0.5, 0.46), (0.74, 0.72), (0.5, 0.94), (0.26, 0.74), (0.5, 0.48),
          (0.7, 0.26), (0.6, 0.1)),),
        (((0.5, 0.06), (0.3, 0.24), (0.5, 0.45), (0.7, 0.24), (0.5, 0.06)),
         ((0.5, 0.45), (0.24, 0.7), (0.5, 0.95), (0.76, 0.7), (0.5, 0.45))),
    ),
    "9": (
        (((0.7, 0.26), (0.46, 0.06), (0.27, 0.28), (0.46, 0.5), (0.7, 0.3)), ((0.71, 0.16), (0.68, 0.6), (0.62, 0.95))),
        (((0.7, 0.3), (0.52, 0.06), (0.28, 0.22), (0.42, 0.5), (0.7, 0.34), (0.72, 0.62), (0.5, 0.92), (0.28, 0.86)),),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class DigitSpec:
    """A data set of digits: `per_class` pictures of each of the ten, `size` pixels square."""

    seed: int
    per_class: int
    size: int


def generate(spec: DigitSpec, folder: Path, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes CLASS/NNN.png for the ten classes to `folder`, spec.json last; returns the folder.

    A picture depends on seed, size, class and number only. `progress(done, total)` is called after each.
    """
    folder, total = Path(folder), len(FORMS) * spec.per_class
    (folder / "spec.json").unlink(missing_ok=True)
    for name in FORMS:
        for number in range(spec.per_class):
            grey = picture(name, spec.size, stream(spec.seed, int(name), number))
            content = cv2.imencode(".png", grey)[1].tobytes()
            atomic_bytes(folder / name / f"{number:03d}.png", content)
            if progress:
                progress(int(name) * spec.per_class + number + 1, total)
    atomic_json(folder / "spec.json", asdict(spec))
    return folder


def picture(name: str, size: int, rng: np.random.Generator) -> np.ndarray:
    """One digit, (size, size) uint8 grey: dark ink on light paper or the reverse."""
    side = size * SCALE
    strokes = _bent(FORMS[name][rng.integers(len(FORMS[name]))], side, rng)
    ink = np.zeros((side, side), np.uint8)
    width = side * rng.uniform(0.045, 0.12)
    for stroke in strokes:
        # A pen presses harder in places, so the line's width runs along the stroke.
        widths = np.maximum(
            1, np.rint(width * rng.uniform(0.75, 1.25) * np.linspace(1, rng.uniform(0.6, 1.2), len(stroke)))
        )
        for a, b, thick in zip(stroke[:-1], stroke[1:], widths[1:], strict=True):
            cv2.line(ink, fixed(a), fixed(b), 255, int(thick), cv2.LINE_AA, 4)
    x, y = grid(side, side)
    wobble = [noise(x, y, side * 0.22, rng) * np.float32(side * rng.uniform(0.0, 0.045)) for _ in range(2)]
    ink = cv2.remap(ink, x + wobble[0], y + wobble[1], cv2.INTER_LINEAR)
    alpha = cv2.resize(ink, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    paper, tone = rng.uniform(170, 250), rng.uniform(5, 110)
    if rng.random() < 0.2:
        paper, tone = tone, paper
    x, y = grid(size, size)
    tilt = rng.uniform(-18, 18, 2)
    ground = paper + (tilt[0] * (x / size - 0.5) + tilt[1] * (y / size - 0.5)) + 8 * noise(x, y, size / 3, rng)
    out = ground * (1 - alpha) + tone * alpha
    out = cv2.GaussianBlur(out.astype(np.float32), (0, 0), rng.uniform(0.3, 0.9))
    out += rng.normal(0, rng.uniform(2, 14), out.shape)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def _bent(strokes: tuple, side: int, rng: np.random.Generator) -> list[np.ndarray]:
    """The strokes as lines in pixels: points moved a little, then turned, slanted, stretched and shifted together."""
    angle, slant = rng.normal(0, 0.16), rng.normal(0, 0.16)
    stretch = rng.uniform(0.5, 0.82, 2) * (1, 1.05)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, -slant], [0, 1]]) * stretch
    place = 0.5 + rng.uniform(-0.1, 0.1, 2)
    moved: dict[tuple[float, float], np.ndarray] = {}  # an end that two strokes share stays shared
    lines = []
    for stroke in strokes:
        for point in stroke:
            if point not in moved:
                moved[point] = np.asarray(point) + rng.normal(0, 0.028, 2)
        bent = curve(np.array([moved[point] for point in stroke]))
        lines.append(((bent - 0.5) @ matrix.T + place) * side)
    return lines
