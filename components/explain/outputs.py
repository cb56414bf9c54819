"""What the stage writes: explanations, boxes as annotations, and the page to look at."""

import base64
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

import cv2
import numpy as np

from components.core.files import atomic_text
from components.core.heat import over
from components.core.media import decode_picture, encode_jpeg, fit
from components.core.tables import ANNOTATIONS, EXPLANATIONS, write_table
from components.explain.select import Chosen, Selection

SOURCE = "lime"
COVERED = 0.5  # of a box that lies in another: it is that object again
SHOWN, SIDE = 60, 320  # pictures on the page, and their longer side in pixels
BOX, PAGE = (255, 214, 10), Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Explained:
    """A frame with what was found in it. `size`: (width, height) of its source.

    `boxes`: (left, top, right, bottom) in shares of its sides, with their confidences; `heat`: PNG, of the first round;
    `merit`, `area`: of the boxes of that round, None where it has none.
    """

    frame: Chosen
    name: str
    size: tuple[int, int]
    fit: float
    heat: bytes
    boxes: tuple[tuple[tuple[float, ...], float], ...]
    merit: float | None
    area: float | None


def explained(frame: Chosen, name: str, size: tuple[int, int], rounds: Sequence[dict], threshold: float) -> Explained:
    """The frame with the boxes of all rounds at this threshold; a round's that mostly lie in an earlier one's go."""
    boxes: list[tuple[tuple[float, ...], float]] = []
    for one in rounds:
        for part in one["candidates"]:
            if part.threshold == threshold:
                weighed = zip(part.boxes, part.confidences(one["probability"]), strict=True)
                boxes += [each for each in weighed if not any(covered(each[0], kept) > COVERED for kept, _ in boxes)]
    first = next((part for part in rounds[0]["candidates"] if part.threshold == threshold), None)
    merit, area = (first.merit, first.area) if first else (None, None)
    return Explained(frame, name, size, rounds[0]["fit"], rounds[0]["heat"], tuple(boxes), merit, area)


def covered(box: Sequence[float], other: Sequence[float]) -> float:
    """The share of a box that lies in another."""
    wide, high = min(box[2], other[2]) - max(box[0], other[0]), min(box[3], other[3]) - max(box[1], other[1])
    return max(0.0, wide) * max(0.0, high) / ((box[2] - box[0]) * (box[3] - box[1]))


def write(
    folder: Path,
    recipe: str,
    found: Sequence[Explained],
    empty: Sequence[Chosen],
    classes: tuple[str, ...],
    threshold: float,
    jpeg: Callable[[Chosen], bytes],
) -> None:
    """Writes explanations/, boxes/ and report/index.html below `folder`; `empty` are frames that show nothing.

    `jpeg` gives a frame as it is stored: only those that the page shows are asked for.
    """
    write_table(folder / "explanations", [explanation_row(one, classes) for one in found], EXPLANATIONS)
    boxes = [row for one in found for row in box_rows(one, classes)] + [empty_row(one, classes) for one in empty]
    write_table(folder / "boxes", boxes, ANNOTATIONS)
    atomic_text(folder / "report" / "index.html", page(recipe, found, classes, threshold, jpeg))


def explanation_row(one: Explained, classes: tuple[str, ...]) -> dict:
    """The frame's row of the explanations table."""
    frame = one.frame
    return {
        "frame_id": frame.frame_id, "asset_id": frame.asset_id, "frame_index": frame.frame_index, "pts": frame.pts,
        "split": frame.split, "class": classes[frame.kind], "probability": frame.probability, "fit": one.fit,
        "heat": one.heat,
    }  # fmt: skip


def box_rows(one: Explained, classes: tuple[str, ...]) -> list[dict]:
    """Its boxes as rows of the annotations table, in pixels of the source; the weight is the confidence."""
    (width, height), frame, rows = one.size, one.frame, []
    for (left, top, right, bottom), weight in one.boxes:
        place = {"x": left * width, "y": top * height, "w": (right - left) * width, "h": (bottom - top) * height}
        row = {"asset_id": frame.asset_id, "first_pts": frame.pts, "last_pts": frame.pts, "class": classes[frame.kind]}
        rows.append(row | place | {"track_id": None, "source": SOURCE, "weight": weight})
    return rows


def empty_row(frame: Chosen, classes: tuple[str, ...]) -> dict:
    """A frame that shows nothing, by label and model: a row without a box."""
    row = {"asset_id": frame.asset_id, "first_pts": frame.pts, "last_pts": frame.pts, "class": classes[frame.kind]}
    return row | {"source": SOURCE, "weight": frame.probability}


def summary(found: Sequence[Explained], threshold: float, chosen: Selection) -> dict:
    """Counts and means: what `dvc metrics` and the closing line say."""
    boxed = [one for one in found if one.boxes]
    return {
        "frames": len(found),
        "boxes": sum(len(one.boxes) for one in boxed),
        "frames_with_several": sum(len(one.boxes) > 1 for one in boxed),
        "empty_frames": len(chosen.empty),
        "left_out": chosen.disputed,
        "threshold": threshold,
        "mean_fit": float(np.mean([one.fit for one in found])),
        "mean_merit": _mean(one.merit for one in found),
        "mean_area": _mean(one.area for one in found),
    }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def page(
    recipe: str,
    found: Sequence[Explained],
    classes: tuple[str, ...],
    threshold: float,
    jpeg: Callable[[Chosen], bytes],
) -> str:
    """The page: the frames whose boxes carry most of the score, each beside its map."""

    def order(one: Explained) -> tuple:
        return (-max((weight for _, weight in one.boxes), default=0.0), one.frame.frame_id)

    cards = [_card(one, jpeg(one.frame), classes) for one in sorted(found, key=order)[:SHOWN]]
    boxes = sum(len(one.boxes) for one in found)
    said = f"{len(found)} frames explained, {boxes} boxes from {threshold:g} of each map's highest value on"
    if len(found) > SHOWN:
        said += f"; the {SHOWN} most certain are shown"
    return Template(PAGE.read_text()).substitute(recipe=recipe, said=said, cards="\n".join(cards))


def overlay(one: Explained, jpeg: bytes) -> np.ndarray:
    """The frame beside itself under its map and boxes, (H, 2 W, 3) uint8 RGB."""
    picture = fit(decode_picture(jpeg), SIDE)
    height, width = picture.shape[:2]
    shown = over(picture, cv2.imdecode(np.frombuffer(one.heat, np.uint8), cv2.IMREAD_GRAYSCALE))
    for (left, top, right, bottom), _ in one.boxes:
        corners = [(round(x * (width - 1)), round(y * (height - 1))) for x, y in ((left, top), (right, bottom))]
        cv2.rectangle(shown, *corners, (0, 0, 0), 4)
        cv2.rectangle(shown, *corners, BOX, 2)
    return np.concatenate([picture, shown], axis=1)


def _card(one: Explained, jpeg: bytes, classes: tuple[str, ...]) -> str:
    source = "data:image/jpeg;base64," + base64.b64encode(encode_jpeg(overlay(one, jpeg), 80)).decode()
    kind, count = classes[one.frame.kind], len(one.boxes)
    said = f"{kind} {one.frame.probability:.2f}, {count} {'box' if count == 1 else 'boxes'}, fit {one.fit:.2f}"
    name = escape(one.name)
    alt = f"{name} beside the same picture under its map of heat; {said}"
    return f'<figure><img src="{source}" alt="{alt}" loading="lazy"><figcaption>{name}<br>{said}</figcaption></figure>'
