"""The report's moments and its rows of videos, as the templates take them."""

import base64

from markupsafe import Markup

from components.core.media import decode_picture, encode_jpeg, fit
from components.evaluation import charts, scores
from components.evaluation.boxes import drawn
from components.evaluation.content import Content, clock
from components.evaluation.moments import MISTAKE, PAIR, PEAK, UNSURE, Moment
from components.evaluation.scores import Scored
from components.tasks.classification.labels import UNLABELLED

THUMBNAIL, PICTURE = 400, 1280  # longest side in pixels: a moment of a video; a picture, which has no player


def groups(content: Content) -> list[dict]:
    """The moments by kind: id, title, text, cards; of confused classes a group each, below the title of the first."""
    found = []
    for kind in (PEAK, MISTAKE, PAIR, UNSURE):
        cards = [card(content, moment) for moment in content.moments if moment.kind == kind]
        if not cards:
            continue
        if kind == PAIR:
            parts = [(content.called(pair), [one for one in cards if one["pair"] == (pair.actual, pair.called)])
                     for pair in content.pairs]  # fmt: skip
        else:
            parts = [("", cards)]
        title, text = _heading(content, kind, len(cards))
        small = all(one["small"] for one in cards)
        found.append(
            {
                "kind": kind,
                "title": title,
                "text": text,
                "dense": small or kind == PAIR,
                "parts": [part for part in parts if part[1]],
            }
        )
    return found


def _heading(content: Content, kind: str, count: int) -> tuple[str, str]:
    unit, gap = content.unit, content.recipe.evaluation.gap_s
    apart = f", at least {gap:g} s apart within a video" if gap > 0 and not content.pictures else ""
    choose = {"videos": "open the video at that second", "pictures": "see it whole"}.get(content.files, "look at it")
    if kind == PEAK and content.pictures:
        title, text = "Highest scores", f"The {count} pictures likeliest to be {content.recipe.task.positive}."
    elif kind == PEAK:
        title, text = "Ranked moments", f"The {count} highest peaks of the score{apart}."
    elif kind == MISTAKE:
        title = "Most confident mistakes"
        text = f"Wrong calls, those first that the model was surest of{apart}. Some may be wrong labels."
    elif kind == PAIR:
        return "Confused classes", f"The commonest confusions, with {unit}s of each; the surest first{apart}."
    else:
        title = "Least sure"
        text = f"The {unit}s whose two likeliest classes are nearest to each other{apart}: worth labelling more of."
    if content.recipe.finds_boxes:
        text += " Orange: true boxes; blue: boxes found."
    return title, f"{text} Choose one to {choose}."


def card(content: Content, moment: Moment) -> dict:
    """One moment: its picture as a data URI, where it is, what it is by its label and by the model."""
    asset, task = content.assets[moment.asset], content.recipe.task
    label, called, video = int(asset.labels[moment.row]), int(asset.called[moment.row]), asset.kind == "video"
    truth = "not labelled" if label == UNLABELLED else f"labelled {task.classes[label]}"
    right = label == (called if asset.positive is None or moment.kind != PEAK else asset.positive)
    verdict = "unknown" if label == UNLABELLED else "right" if right else "wrong"
    where = f"{asset.name} at {clock(moment.seconds)}" if video else asset.name
    said = f"score {moment.score:.3f}" if moment.kind == PEAK else f"called {task.classes[called]}"
    sure = float(asset.probabilities[moment.row, called])
    source = decode_picture(content.jpegs[moment.rank - 1])
    picture = fit(source, THUMBNAIL if video or moment.kind == PAIR else PICTURE)
    if asset.boxes is not None:
        picture = drawn(picture, asset.boxes, moment.row, content.box_threshold)
    below = moment.kind == PEAK and content.threshold is not None and moment.score < content.threshold
    return {
        "rank": moment.rank,
        "asset": asset.asset_id,
        "t": moment.seconds,
        "figure": f"{moment.score:.3f}" if moment.kind == PEAK else f"called {task.classes[called]}",
        "detail": "" if moment.kind == PEAK else f"{sure:.2f}",
        "width": f"{100 * (moment.score if moment.kind == PEAK else sure):.1f}",
        "clock": clock(moment.seconds) if video else "",
        "name": asset.name,
        "truth": truth,
        "verdict": verdict,
        "below": below,
        "pair": (label, called),
        "caption": f"{said}{'' if moment.kind == PEAK else f' with {sure:.2f}'}, {truth}",
        "alt": f"{'Frame of ' if video else ''}{where}; {said}, {truth}.",
        "href": f"videos/{asset.asset_id}.mp4#t={moment.seconds:.3f}" if video else f"#moment-{moment.rank}",
        "small": max(source.shape[:2]) < 128,
        "thumbnail": Markup("data:image/jpeg;base64," + base64.b64encode(encode_jpeg(picture, 82)).decode()),
        "picture": not video,
    }


def video_row(content: Content, asset: Scored, row: dict) -> dict:
    """A row of `scores.video_rows` with its timeline and the pins of its moments."""
    task, span = content.recipe.task, max(asset.duration, float(asset.seconds[-1]), 1e-9)
    here = [moment for moment in content.moments if content.assets[moment.asset] is asset]
    pinned = [moment for moment in here if moment.kind in (PEAK, MISTAKE)]  # of one kind: pins must not lie on pins
    marked = scores.marked_stretches(asset)
    said = ", ".join(f"{clock(begin)} to {clock(end)}" for begin, end in marked[:8]) or "nowhere"
    top = int(asset.scores.argmax())
    describes = (
        f"Score over time of {asset.name}: highest {asset.scores[top]:.2f} at {clock(float(asset.seconds[top]))}; "
        f"{marks(content)}: {said}{' and more' if len(marked) > 8 else ''}."
    )
    drawing = charts.timeline(asset.seconds, asset.scores, span, marked, content.threshold, describes)
    return row | {
        "asset": asset.asset_id,
        "span": span,
        "length": clock(asset.duration),
        "src": f"videos/{asset.asset_id}.mp4" if here and asset.kind == "video" else None,
        "timeline": None if len(asset.pts) < 2 else Markup(drawing),
        "pins": [{"rank": moment.rank, "left": f"{100 * moment.seconds / span:.2f}"} for moment in pinned],
        "marked": f"{row['wrong']}" if task.positive is None else f"{row['positives']}",
    }


def marks(content: Content) -> str:
    """What the coloured stretches of a timeline are."""
    positive = content.recipe.task.positive
    return "called wrongly" if positive is None else f"labelled {positive}"
