"""Result files of the MOTChallenge: one line a box, `frame,id,left,top,width,height,score,-1,-1,-1`.

Frames count from 1. Pixel coordinates in the file count from 1 too, those given and returned here from 0.
"""

import math
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from components.core.errors import SightlineError
from components.core.files import atomic_path

ROWS = np.dtype(
    [("frame", np.int64), ("track_id", np.int64)]
    + [(name, np.float64) for name in ("left", "top", "width", "height", "score")]
)
WHOLE = re.compile(r"-?[0-9]{1,15}")
NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")
REMEDY = "each line: frame,id,left,top,width,height,score and up to three more numbers"


def mot_line(frame: int, track_id: int, left: float, top: float, width: float, height: float, score: float) -> str:
    """One line with its end, to a thousandth of a pixel and a millionth of a score.

    `frame` from 1; `left`, `top` in pixels from 0. Raises SightlineError for what no frame can show.
    """
    if frame < 1 or track_id < 1:
        raise SightlineError(f"frame {frame}, track {track_id}: both count from 1", "give them from 1 on")
    if not all(map(math.isfinite, (left, top, width, height, score))) or width < 0 or height < 0:
        box = f"left {left}, top {top}, width {width}, height {height}, score {score}"
        raise SightlineError(f"frame {frame}, track {track_id}: {box}", "give finite numbers and sides from 0 on")
    return f"{frame:d},{track_id:d},{left + 1:.3f},{top + 1:.3f},{width:.3f},{height:.3f},{score:.6f},-1,-1,-1\n"


def write_mot(path: str | Path, rows: Iterable[tuple]) -> None:
    """Writes a file of rows as `mot_line` takes them, as they come, whole or not at all.

    What `read_mot` returns are such rows. Raises SightlineError as `mot_line` does.
    """
    with atomic_path(path) as temporary, open(temporary, "w", encoding="ascii", newline="\n") as file:
        file.writelines(mot_line(*row) for row in rows)


def read_mot(path: str | Path) -> np.ndarray:
    """The rows of a file, (N,) of ROWS in the order of the file: frames from 1, `left` and `top` in pixels from 0.

    Reads results, detections (id -1) and ground truth alike: 7 to 10 numbers a line, of which the first 7 count. Raises
    SightlineError naming the line that is none, or that has an id twice in a frame.
    """
    rows, known = [], set()
    try:
        with open(path, encoding="ascii") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = _row(line.rstrip("\n").split(","))
                    if row[1] > 0 and row[:2] in known:
                        raise ValueError(f"track {row[1]} is in frame {row[0]} twice")
                except ValueError as error:
                    raise SightlineError(f"{path}, line {number}: {error}", REMEDY) from None
                known.add(row[:2])
                rows.append(row)
    except (OSError, UnicodeDecodeError) as error:
        raise SightlineError(f"{path}: cannot be read: {error}", REMEDY) from None
    return np.array(rows, ROWS)


def _row(parts: list[str]) -> tuple:
    """A line's values, of 0-based pixels. Raises ValueError."""
    parts = [part.strip(" ") for part in parts]
    if not 7 <= len(parts) <= 10:
        raise ValueError(f"{len(parts)} values in place of 7 to 10")
    for part, form in zip(parts, [WHOLE] * 2 + [NUMBER] * 8, strict=False):
        if not form.fullmatch(part):
            raise ValueError(f"{part!r} is not a {'whole ' if form is WHOLE else ''}number")
    frame, track_id = int(parts[0]), int(parts[1])
    left, top, width, height, score = map(float, parts[2:7])
    if frame < 1 or (track_id < 1 and track_id != -1):
        raise ValueError(f"frame {frame}, id {track_id}: both count from 1")
    if not all(map(math.isfinite, (left, top, width, height, score))) or width < 0 or height < 0:
        raise ValueError("a number is out of range, or a side below 0")
    return frame, track_id, left - 1, top - 1, width, height, score
