"""The report: one HTML page with everything inside but the videos, which lie beside it."""

import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sklearn.metrics import auc

from components.evaluation import cards, charts, curves, matrix, scores, slices
from components.evaluation.content import Content, clock, share
from components.evaluation.tiles import tiles

MOST_TIMELINES = 60


def render(content: Content) -> str:
    """The page. The same content gives the same text: it names no time, machine or path."""
    groups = cards.groups(content)
    found = sorted((card for group in groups for _, part in group["parts"] for card in part), key=_rank)
    rows = [] if content.pictures else _videos(content)
    told, shown = ("rank", "asset", "t", "caption", "alt", "picture"), ("name", "src", "span")
    data = {
        "moments": [{key: card[key] for key in told} for card in found],
        "videos": {row["asset"]: {key: row[key] for key in shown} for row in rows if row["src"]},
    }
    environment = _environment()
    page = environment.get_template("report.html").render(
        c=content, task=content.recipe.task, m=content.metrics, name=content.recipe.name, clock=clock,
        tiles=tiles(content), groups=groups, videos=rows, marks=cards.marks(content),
        left_out=len(content.assets) - len(rows), positive_share=_positive_share(content),
        slices=slice_tables(content), constant=_constant(content), missing=_missing(content),
        roc=Markup(roc(content)) if content.two_sided else None, precision_recall=Markup(precision_recall(content)),
        confusion=Markup(confusion(content)), data=Markup(_script_json(data)), most_sequences=MOST_TIMELINES,
    )  # fmt: skip
    return page.rstrip() + "\n"


def _rank(card: dict) -> int:
    return card["rank"]


def _videos(content: Content) -> list[dict]:
    """The first rows of videos, those with moments before the others."""
    by_id = {asset.asset_id: asset for asset in content.assets}
    held = {content.assets[moment.asset].asset_id for moment in content.moments}
    rows = sorted(scores.video_rows(content.assets), key=lambda row: row["asset_id"] not in held)
    return [cards.video_row(content, by_id[row["asset_id"]], row) for row in rows[:MOST_TIMELINES]]


def _positive_share(content: Content) -> float:
    m = content.metrics
    return share(m.get("true_positives", 0) + m.get("false_negatives", 0), m["labelled_frames"])


def roc(content: Content) -> str:
    """The ROC curve as SVG; of many classes without a positive one the micro-average, and each class's faintly."""
    m, rows = content.metrics, curves.roc_rows(content.assets)
    positive = content.recipe.task.positive
    if positive is None:
        wrong = share(m["labelled_frames"] - int(content.counts.trace()), m["labelled_frames"])
        point = wrong / (len(content.recipe.task.classes) - 1), m["accuracy"]
        area = auc([row[0] for row in rows], [row[1] for row in rows])
        says = f"ROC curve over all classes; the area under it is {area:.3f}. Behind it, faint, one of each class."
    else:
        point = share(m["false_positives"], m["false_positives"] + m["true_negatives"]), m["recall"]
        says = (
            f"ROC curve; the area under it is {m['frame_auc']:.3f}. As called, {m['recall']:.0%} of the {positive} "
            f"{content.unit}s are found and {point[0]:.0%} of the others are called so too."
        )
    others = list(curves.class_roc_rows(content.assets).values()) if positive is None else []
    return charts.curve(rows, "false positive rate", "true positive rate", point, ((0, 0), (1, 1)), says, others)


def precision_recall(content: Content) -> str:
    """Precision over recall as SVG; without a positive class the micro-average, and each class's faintly; of boxes
    where frames cannot be ranked."""
    if not content.two_sided:
        return _boxes_precision_recall(content)
    m, rows = content.metrics, curves.precision_recall_rows(content.assets)
    if content.recipe.task.positive is None:
        point, chance = (m["accuracy"], m["accuracy"]), 1 / len(content.recipe.task.classes)
        says = f"Precision over recall, over all classes; as called both are {m['accuracy']:.2f}."
        others = list(curves.class_precision_recall_rows(content.assets).values())
    else:
        point, chance, others = (m["recall"], m["precision"]), _positive_share(content), []
        says = (
            f"Precision over recall; average precision {m['average_precision']:.3f}. As called, precision is "
            f"{m['precision']:.2f} and recall {m['recall']:.2f}; by chance, precision is {chance:.2f}."
        )
    return charts.curve(rows, "recall", "precision", point, ((0, chance), (1, chance)), says, others)


def _boxes_precision_recall(content: Content) -> str:
    m = content.metrics
    says = (
        f"Precision over recall of boxes; average precision {m['ap50']:.3f}. As called, precision is "
        f"{m['box_precision']:.2f} and recall {m['box_recall']:.2f}."
    )
    point = m["box_recall"], m["box_precision"]
    return charts.curve(content.matches.curve(), "recall of boxes", "precision of boxes", point, None, says)


def confusion(content: Content) -> str:
    """The confusion matrix as SVG."""
    right, count = int(content.counts.trace()), content.metrics["labelled_frames"]
    said = "; ".join(f"{content.called(pair)} {pair.count} times" for pair in content.pairs)
    describes = f"Confusion matrix of {count} {content.unit}s, {right} of them called rightly. {said}"
    return matrix.picture(content.counts, content.recipe.task.classes, describes.strip())


def slice_tables(content: Content) -> list[dict]:
    """A table for each dimension with two slices or more: title, heads of its columns, and rows: the slice's name and a
    value for each head."""
    titles = {"site": "By site", "light": "By day and night", "camera": "By camera"}
    columns = _slice_columns(content)
    return [
        {
            "title": titles[dimension],
            "heads": [head for head, _ in columns],
            "rows": [(name, [figures[key] for _, key in columns]) for name, figures in found.items()],
        }
        for dimension, found in content.metrics.get("slices", {}).items()
    ]


def _slice_columns(content: Content) -> list[tuple[str, str]]:
    """(head, name of the figure) of each column of a table of slices."""
    positive = content.recipe.task.positive
    columns = [(content.files.capitalize(), "assets")]
    columns += [] if content.pictures else [("Frames", "labelled_frames")]
    columns += [("AP of boxes", "ap50")] if content.matches is not None else []
    if positive is None:
        return [*columns, ("Accuracy", "accuracy"), *([("F1", "f1_macro")] if content.two_sided else [])]
    ranked = [("Average precision", "average_precision"), ("AUC", "frame_auc")] if content.two_sided else []
    return [*columns, (positive.capitalize(), "positives"), *ranked, ("Accuracy", "accuracy")]


def _constant(content: Content) -> list[str]:
    """What all test assets have in common, of the slices' dimensions, in words."""
    words = {"site": "of site {}", "light": "taken by {}", "camera": "by camera {}"}
    kinds = [asset.slices for asset in content.assets]
    found = [(dimension, list(slices.parts(kinds, dimension))) for dimension in slices.DIMENSIONS]
    return [words[dimension].format(names[0]) for dimension, names in found if len(names) == 1]


def _missing(content: Content) -> list[str]:
    """Names of the classes without a labelled frame here."""
    return [row["class"] for row in content.classes if not row["frames"]]


def _script_json(value: object) -> str:
    """JSON that may stand inside <script>: nothing in it can end the element."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("&", "\\u0026")


@cache
def _environment() -> Environment:
    """The templates beside this file; values are escaped unless they are Markup; css and js are the page's own."""
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["css"] = Markup((folder / "report.css").read_text())
    environment.globals["js"] = Markup((folder / "report.js").read_text())
    return environment
