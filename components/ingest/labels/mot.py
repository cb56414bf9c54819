"""MOTChallenge: a folder per sequence with img1/ and gt/gt.txt (Milan et al., "MOT16", arXiv:1603.00831)."""

import re
from pathlib import Path

from components.core.media import VIDEO_SUFFIXES
from components.ingest.labels.common import Box, Found, Label, Names, Refusal, contents, number, track_id

TRUTH = "gt/gt.txt"
PICTURES = "img1"
# The classes' numbers in gt.txt; 2D MOT 2015 has no such column, and only pedestrians.
CLASSES = (
    "pedestrian", "person on vehicle", "car", "bicycle", "motorbike", "non motorized vehicle", "static person",
    "distractor", "occluder", "occluder on the ground", "occluder full", "reflection", "crowd",
)  # fmt: skip
_BOX = ("left", "top", "width", "height")
_WHOLE = re.compile(r"[+-]?\d{1,9}(\.0{0,9})?", re.ASCII)


def read(root: Path, files: list[str], names: Names) -> Found:
    """The boxes of these gt.txt files, with their track identities.

    A sequence's pictures are those in img1/ whose names are frame numbers (from 1); without img1/, its frames are those
    of the one video in its folder, or of the video beside it with its name. Rows whose confidence is 0 have weight 0.
    """
    found = Found()
    pictures = _pictures(names)
    for file, content in contents(root, files, found):
        sequence = f"/{file.rpartition('/')[0]}".removesuffix("/gt").removeprefix("/")
        frames, video = pictures.get(sequence), None
        if frames is None:
            video = _video(sequence, names)
            if video is None:
                reason = f"its sequence has neither numbered pictures in {PICTURES}/ nor one video"
                found.refused.append(Refusal(file, None, reason))
                continue
        for line, text in enumerate(content.decode("utf-8", errors="replace").split("\n"), 1):
            if not text.strip():
                continue
            try:
                found.labels.append(_label(file, line, text.split(","), sequence, frames, video))
            except ValueError as error:
                found.refused.append(Refusal(file, line, str(error)))
    return found


def _label(file: str, line: int, row: list[str], sequence: str, frames, video) -> Label:
    """The box in a row: frame, identity, left, top, width, height, confidence[, class, visibility | x, y, z]."""
    if not 6 <= len(row) <= 10:
        raise ValueError(f"{len(row)} fields, 6 to 10 are needed")
    frame, identity = whole("frame", row[0]), whole("id", row[1])
    left, top, width, height = (number(*field) for field in zip(_BOX, row[2:6], strict=True))
    if frame < 1:
        raise ValueError(f"frame {frame} is before the first, which is 1")
    word = CLASSES[0]
    if len(row) in (8, 9):  # with ten fields these are places in the world, as in 2D MOT 2015
        kind = whole("class", row[7])
        if not 1 <= kind <= len(CLASSES):
            raise ValueError(f"class {kind} is not within 1 to {len(CLASSES)}")
        word = CLASSES[kind - 1]
    weight = 0.0 if len(row) > 6 and number("confidence", row[6]) == 0 else 1.0
    track = None if identity == -1 else track_id(sequence, identity)
    # Pixels are counted from 1 in the files of this benchmark; here the picture's corner is at 0, 0.
    box = Box(left - 1, top - 1, width, height)
    if frames is None:
        return Label(file, line, video, word, index=frame - 1, box=box, track=track, weight=weight)
    if frame not in frames:
        raise ValueError(f"no picture of frame {frame} in {PICTURES}/")
    return Label(file, line, frames[frame], word, box=box, track=track, weight=weight)


def whole(name: str, text: str) -> int:
    """The whole number in `text`, which may be written 3 or 3.0. Raises ValueError naming the field."""
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError(f"{name} {text.strip()!r} is not a whole number")
    return int(text.strip().partition(".")[0])


def _pictures(names: Names) -> dict[str, dict[int, str]]:
    """Folder of a sequence -> frame number -> name of the picture."""
    sequences: dict[str, dict[int, str]] = {}
    for name in sorted(names.all):
        folder, _, last = name.rpartition("/")
        stem = last.rpartition(".")[0]
        if folder.rpartition("/")[2] == PICTURES and stem.isdecimal() and stem.isascii() and len(stem) < 10:
            sequences.setdefault(folder.rpartition("/")[0], {}).setdefault(int(stem), name)
    return sequences


def _video(sequence: str, names: Names) -> str | None:
    videos = [name for name in names.all if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    inside = [name for name in videos if name.rpartition("/")[0] == sequence]
    beside = [name for name in videos if sequence and name.rpartition(".")[0] == sequence]
    return next((found[0] for found in (inside, beside) if len(found) == 1), None)
