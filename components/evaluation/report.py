"""The report: one HTML page with everything inside but the videos, which lie beside it."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from components.core.media import decode_picture, encode_jpeg, fit
from components.core.recipe import Recipe
from components.evaluation import charts, scores
from components.evaluation.moments import Moment
from components.evaluation.scores import Scored
from components.tasks.classification.labels import UNLABELLED

THUMBNAIL, PICTURE = 400, 1280  # longest side in pixels: a moment of a video; a picture, which has no player
MOST_TIMELINES = 60


@dataclass(frozen=True)
class Content:
    """What the report shows. `jpegs`: the encoded frame of each moment; `model`: its version (12 hex digits)."""

    recipe: Recipe
    assets: list[Scored]
    metrics: dict
    moments: list[Moment]
    jpegs: list[bytes]
    model: str


def render(content: Content) -> str:
    """The page. The same content gives the same text: it names no time, machine or path."""
    task, figures = content.recipe.task, content.metrics
    positions = {asset.asset_id: i for i, asset in enumerate(content.assets)}
    rows = scores.video_rows(content.assets)
    held = {content.assets[moment.asset].asset_id for moment in content.moments}
    rows.sort(key=lambda row: row["asset_id"] not in held)  # those with moments first, else the order stays
    videos = [_video(content, content.assets[positions[row["asset_id"]]], row) for row in rows[:MOST_TIMELINES]]
    moments = [_moment(content, moment) for moment in content.moments]
    told, shown = ("rank", "asset", "t", "caption", "alt", "picture"), ("name", "src", "span")
    data = {
        "moments": [{key: moment[key] for key in told} for moment in moments],
        "videos": {video["asset"]: {key: video[key] for key in shown} for video in videos if video["src"]},
    }
    roc, precision_recall = scores.roc_rows(content.assets), scores.precision_recall_rows(content.assets)
    false_rate = _share(figures["false_positives"], figures["false_positives"] + figures["true_negatives"])
    share = _share(figures["true_positives"] + figures["false_negatives"], figures["labelled_frames"])
    page = _template()(
        "report.html",
        task=task, m=figures, model=content.model, name=content.recipe.name, moments=moments, videos=videos,
        left_out=len(rows) - len(videos), confusion=_confusion(content), positive_share=share,
        gap=content.recipe.evaluation.gap_s, all_videos=all(asset.kind == "video" for asset in content.assets),
        roc=Markup(charts.curve(
            roc, "false positive rate", "true positive rate", (false_rate, figures["recall"]), ((0, 0), (1, 1)),
            f"ROC curve; the area under it is {figures['frame_auc']:.3f}. At the threshold, {figures['recall']:.0%} of "
            f"the {task.positive} frames are found and {false_rate:.0%} of the others are called so too.",
        )),
        precision_recall=Markup(charts.curve(
            precision_recall, "recall", "precision", (figures["recall"], figures["precision"]),
            ((0, share), (1, share)),
            f"Precision over recall; average precision {figures['average_precision']:.3f}. At the threshold, precision "
            f"is {figures['precision']:.2f} and recall {figures['recall']:.2f}; by chance, precision is {share:.2f}.",
        )),
        data=Markup(_script_json(data)),
    )  # fmt: skip
    return page.rstrip() + "\n"


def _video(content: Content, asset: Scored, row: dict) -> dict:
    task, span = content.recipe.task, max(asset.duration, float(asset.seconds[-1]), 1e-9)
    here = [moment for moment in content.moments if content.assets[moment.asset] is asset]
    truth = scores.positive_stretches(asset)
    said = ", ".join(f"{clock(begin)} to {clock(end)}" for begin, end in truth[:8]) or "nowhere"
    describes = (
        f"Score over time of {asset.name}: highest {row['top_score']:.2f} at {clock(row['top_time_s'])}; "
        f"labelled {task.positive}: {said}{' and more' if len(truth) > 8 else ''}."
    )
    single = len(asset.pts) < 2
    drawing = charts.timeline(asset.seconds, asset.scores, span, truth, content.metrics["threshold"], describes)
    return row | {
        "asset": asset.asset_id,
        "span": span,
        "length": clock(asset.duration),
        "src": f"videos/{asset.asset_id}.mp4" if here and asset.kind == "video" else None,
        "timeline": None if single else Markup(drawing),
        "pins": [{"rank": moment.rank, "left": f"{100 * moment.seconds / span:.2f}"} for moment in here],
    }


def _moment(content: Content, moment: Moment) -> dict:
    asset, task = content.assets[moment.asset], content.recipe.task
    label, video = asset.labels[moment.row], asset.kind == "video"
    truth = "not labelled" if label == UNLABELLED else f"labelled {task.classes[label]}"
    verdict = "unknown" if label == UNLABELLED else "right" if label == asset.positive else "wrong"
    where = f"{asset.name} at {clock(moment.seconds)}" if video else asset.name
    source = decode_picture(content.jpegs[moment.rank - 1])
    picture = fit(source, THUMBNAIL if video else PICTURE)
    return {
        "rank": moment.rank,
        "asset": asset.asset_id,
        "t": moment.seconds,
        "score": moment.score,
        "clock": clock(moment.seconds) if video else "",
        "name": asset.name,
        "truth": truth,
        "verdict": verdict,
        "called": moment.score >= content.metrics["threshold"],
        "caption": f"score {moment.score:.3f}, {truth}",
        "alt": f"Frame of {where}; score {moment.score:.2f}, {truth}.",
        "href": f"videos/{asset.asset_id}.mp4#t={moment.seconds:.3f}" if video else None,
        "thumbnail": Markup("data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture, 82)).decode()),
        "picture": not video,
    }


def _confusion(content: Content) -> list[dict]:
    """A row per actual class: its name and a cell per called class with count and share of the row."""
    classes = content.recipe.task.classes
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for asset in content.assets:
        keep = asset.labels != UNLABELLED
        np.add.at(counts, (asset.labels[keep], asset.called[keep]), 1)
    return [
        {"name": name, "cells": [{"count": int(n), "share": _share(int(n), int(row.sum())), "right": i == j}
                                 for j, n in enumerate(row)]}
        for i, (name, row) in enumerate(zip(classes, counts, strict=True))
    ]  # fmt: skip


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def clock(seconds: float) -> str:
    """Seconds as a player shows them: 7.4 -> 0:07.4, 3725.0 -> 1:02:05.0."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest / 10:04.1f}" if hours else f"{minutes}:{rest / 10:04.1f}"


def _script_json(value: object) -> str:
    """JSON that may stand inside <script>: nothing in it can end the element."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


@cache
def _template() -> Callable[..., str]:
    """A function (file, **values) -> text of a template beside this file; values are escaped unless they are Markup."""
    folder = Path(__file__).parent
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    inline = {"css": Markup((folder / "report.css").read_text()), "js": Markup((folder / "report.js").read_text())}
    return lambda file, **values: environment.from_string((folder / file).read_text()).render(**inline, **values)
