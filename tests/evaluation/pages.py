"""Made-up held-out assets for the report: pictures or videos, with a positive class or without."""

import numpy as np

from components.core.media import encode_jpeg
from components.core.recipe import parse_recipe
from components.evaluation import curves, scores
from components.evaluation.content import Content
from components.evaluation.moments import PAIRS, chosen_moments
from components.tasks.classification.samples import Samples
from components.tasks.detection.boxes import Detections
from components.tasks.detection.found import FoundSamples
from components.tasks.detection.samples import NOTHING, Boxes

SITES = ("fjord", "ridge & moor", "ø 3")


def made_content(classes, positive=None, pictures=60, videos=0, labels=None, twins=0, seed=3, boxes=False) -> Content:
    """Content of a recipe with these classes; `twins`: how many test assets look like one of training.

    Pictures are of three sites in turn, every third by night; videos have 80 frames at 10 a second. `labels` (N,).
    `boxes`: of a detector, whose first class is the background; a frame of another shows one box.
    """
    random, count = np.random.default_rng(seed), len(classes)
    body = {"task": {"classes": list(classes), "positive": positive}, "source": "x"}
    body["training"] = {"lr": 0.1, "penalty": 0.1}
    if boxes:
        body["task"]["kind"], body["training"]["head"] = "detection", "detector"
        body["features"] = {"parts": ["mean"]}
    recipe = parse_recipe("made", body)
    sizes = [80] * videos + [1] * (0 if videos else pictures)
    total = sum(sizes)
    if labels is None:
        labels = np.repeat(random.integers(0, count, total // 10), 10) if videos else np.arange(total) % count
    labels = np.asarray(labels)
    logits = random.normal(0, 1, (total, count))
    logits[np.arange(total), labels] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    ids, starts = [f"asset{i:03d}" for i in range(len(sizes))], np.cumsum([0, *sizes])
    index = np.concatenate([np.arange(size) for size in sizes])
    frame_ids = [f"{asset}-{i:08d}" for asset, size in zip(ids, sizes, strict=True) for i in range(size)]
    catalog = [_row(asset, i, sizes[i], i < twins) for i, asset in enumerate(ids)]
    catalog.append(_row("train", 1, 1, True) | {"split": "train"})
    samples = Samples(ids, starts, np.zeros((total, 1), np.float32), labels, index, index * 100, frame_ids)
    if boxes:
        samples = FoundSamples(**vars(samples), **_boxes(labels, probabilities, random))
    threshold = None if positive is None else 0.5
    assets = scores.scored_assets(samples, probabilities.astype(np.float32), catalog, recipe.task, threshold)
    metrics = scores.measured(assets, catalog, threshold)
    pairs = curves.confused_pairs(curves.confusion_counts(assets, recipe.task), PAIRS)
    moments = chosen_moments(assets, pairs, recipe.evaluation.moments, recipe.evaluation.gap_s)
    jpegs = [encode_jpeg(np.full((24, 32, 3), 5 * moment.rank, np.uint8), 90) for moment in moments]
    return Content(recipe, assets, metrics, moments, jpegs, "0123456789ab")


def _boxes(labels: np.ndarray, probabilities: np.ndarray, random: np.random.Generator) -> dict:
    """A true box where a frame is of no background, and two found ones: one near it, and a stray one."""
    corners = random.uniform(0.1, 0.4, (len(labels), 2)).astype(np.float32)
    true = np.concatenate([corners, corners + 0.4], 1)
    scores = np.stack([probabilities[:, 1:].max(1), random.uniform(0.05, 0.4, len(labels))], 1).astype(np.float32)
    near = true + random.normal(0, 0.03, true.shape).astype(np.float32)
    classes = np.stack([np.where(labels > 0, labels, 1), np.ones_like(labels)], 1)
    found = Detections(np.stack([near, np.full_like(true, 0.5) + [0, 0, 0.3, 0.3]], 1), scores, classes, probabilities)
    truths = [
        Boxes(true[[row]], labels[[row]], np.ones(1, np.float32)) if labels[row] > 0 else NOTHING
        for row in range(len(labels))
    ]
    return {"found": found, "truths": truths}


def _row(asset: str, number: int, size: int, twin: bool) -> dict:
    """A row of the catalog."""
    return {
        "asset_id": asset, "name": f"{asset}.mp4" if size > 1 else f"{asset}.jpg", "uri": asset, "sha256": asset,
        "kind": "video" if size > 1 else "picture", "status": "ok", "split": "test", "time_base_num": 1,
        "time_base_den": 1000, "first_pts": 0, "last_pts": 100 * size, "near_group": "twins" if twin else None,
        "site": SITES[number % 3], "camera_model": "Browning", "brightness": 90.0,
        "saturation": 2.0 if number % 3 == 0 else 60.0,
    }  # fmt: skip
