"""Labels with a box -> rows of the annotations table."""

import math

from components.ingest.labels.common import Box, Label, Refusal
from components.ingest.match import Asset, frames_of, where


def box_row(label: Label, asset: Asset, words: dict[str, str], label_source: str) -> dict:
    """The row of a box. Raises ValueError where it has no frame, or lies not in the picture."""
    first, _ = frames_of(label, asset)
    if label.size is not None and label.size != (asset.width, asset.height):
        stated = f"{label.size[0]}x{label.size[1]}"
        raise ValueError(f"the box is for a picture of {stated}, but {label.media} is {asset.width}x{asset.height}")
    x, y, w, h = _inside(label.box, asset)
    pts = int(asset.pts[first])
    return {
        "asset_id": asset.asset_id, "first_pts": pts, "last_pts": pts, "class": words.get(label.word, label.word),
        "x": x, "y": y, "w": w, "h": h, "track_id": label.track, "source": label.said_by or label_source,
        "weight": label.weight,
    }  # fmt: skip


def _inside(box: Box, asset: Asset) -> tuple[float, float, float, float]:
    """Left, top, width and height of the part of the box that is in the picture. Raises ValueError where none is."""
    across, down = (asset.width, asset.height) if box.relative else (1, 1)
    x, y, w, h = box.x * across, box.y * down, box.w * across, box.h * down
    if not (math.isfinite(x) and math.isfinite(y) and 0 < w < math.inf and 0 < h < math.inf):
        raise ValueError(f"the box at {x:g}, {y:g} has no area: {w:g} x {h:g}")
    left, top, right, bottom = max(x, 0), max(y, 0), min(x + w, asset.width), min(y + h, asset.height)
    if left >= right or top >= bottom:
        raise ValueError(f"the box {x:g}, {y:g}, {w:g} x {h:g} is outside the picture of {asset.width}x{asset.height}")
    return left, top, (w if right - left == w else right - left), (h if bottom - top == h else bottom - top)


def settle_boxes(boxes: list[tuple[Label, dict]]) -> tuple[list[dict], list[Refusal], int]:
    """(rows, refused, labels accepted) of labels with their rows. A row that is there already is not added again.

    An identity is in one place at a time: where it has several boxes in a frame, all of them are refused.
    """
    rows, refused, seen, accepted = [], [], set(), 0
    keyed = [(label, row, tuple(row.values())) for label, row in boxes]
    holder: dict[tuple, tuple] = {}
    rival: dict[tuple, Label] = {}
    for label, row, key in keyed:
        if label.track is not None:
            place = (row["asset_id"], row["first_pts"], label.track)
            if holder.setdefault(place, (label, key))[1] != key:
                rival.setdefault(place, label)
    for label, row, key in keyed:
        place = (row["asset_id"], row["first_pts"], label.track)
        if label.track is not None and place in rival:
            first, its = holder[place]
            other = where(rival[place] if key == its else first, label)
            refused.append(Refusal(label.file, label.line, f"its identity has another box in this frame, {other}"))
            continue
        accepted += 1
        if key not in seen:
            seen.add(key)
            rows.append(row)
    return rows, refused, accepted
