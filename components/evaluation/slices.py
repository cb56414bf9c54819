"""The test assets in parts: by site, by day or night, by camera; and the figures of each part. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np

from components.evaluation.boxes import box_precision
from components.tasks.classification.labels import UNLABELLED
from components.tasks.classification.metrics import Calls, defined

DIMENSIONS = ("site", "light", "camera")
DAY, NIGHT = "day", "night"
UNKNOWN = "unknown"
# Infra-red pictures are grey: mean saturation (of 255) 2.7 to 2.8 on 300 of a tunnel camera, 0 to 1.1 on four of trail
# cameras; the greyest in colour of 319 photographs has 15.7. Of these the darkest by daylight has a mean brightness of
# 51, and those taken by flash in the dark begin at 37. A black-and-white photograph counts as night.
INFRARED_SATURATION = 10.0
DARK = 40.0


def asset_slices(row: Mapping) -> dict[str, str | None]:
    """The slice of each dimension that a row of the catalog belongs to; None where the catalog does not say."""
    return {"site": row.get("site"), "light": light(row), "camera": row.get("camera_model")}


def light(row: Mapping) -> str | None:
    """`night` where the asset is grey (infra-red) or dark by the catalog's mean statistics, else `day`.

    None where the catalog has none of it.
    """
    saturation, brightness = row.get("saturation"), row.get("brightness")
    if saturation is None or brightness is None:
        return None
    return NIGHT if saturation < INFRARED_SATURATION or brightness < DARK else DAY


def parts(slices: Sequence[Mapping[str, str | None]], dimension: str) -> dict[str, list[int]]:
    """Positions of the assets in each slice of a dimension, by name; empty where nothing is known of any asset.

    An asset of which nothing is known is in the slice `unknown`.
    """
    if all(one.get(dimension) is None for one in slices):
        return {}
    found: dict[str, list[int]] = {}
    for position, one in enumerate(slices):
        value = one.get(dimension)
        found.setdefault(UNKNOWN if value is None else value, []).append(position)
    return dict(sorted(found.items()))


def slice_metrics(assets: Sequence, threshold: float | None) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """{dimension: {slice: figures}} of `scores.Scored` assets, for each dimension that has two slices or more.

    Figures: assets, labelled_frames and accuracy; with a positive class also positives, average_precision and
    frame_auc, without one f1_macro; of a detector ap50. None where one is undefined: no labels, labels of one side
    only, no true box.
    """
    kinds = [asset.slices for asset in assets]
    return {
        dimension: {name: _figures([assets[at] for at in places], threshold) for name, places in found.items()}
        for dimension in DIMENSIONS
        if len(found := parts(kinds, dimension)) > 1
    }


def _figures(assets: Sequence, threshold: float | None) -> dict[str, float | int | None]:
    positive = assets[0].positive
    labels = np.concatenate([asset.labels for asset in assets])
    kept = labels != UNLABELLED
    labels, probabilities = labels[kept], np.concatenate([asset.probabilities for asset in assets])[kept]
    calls = Calls(labels, probabilities, positive, threshold)
    body: dict[str, float | int | None] = {"assets": len(assets), "labelled_frames": len(labels)}
    if assets[0].boxes is not None:
        body["ap50"] = box_precision(assets)
    if positive is None:
        return body | {name: calls.figure(name) if len(labels) else None for name in ("accuracy", "f1_macro")}
    both = defined(labels, positive)
    return body | {
        "positives": int((labels == positive).sum()),
        "average_precision": calls.figure("average_precision") if both else None,
        "frame_auc": calls.figure("frame_auc") if both else None,
        "accuracy": calls.figure("accuracy") if len(labels) else None,
    }


def near_duplicates(test: Sequence[Mapping], train: Sequence[Mapping]) -> int:
    """How many of these test rows of the catalog look nearly like one of these training rows (equal `near_group`)."""
    groups = {row.get("near_group") for row in train} - {None}
    return sum(row.get("near_group") in groups for row in test)
