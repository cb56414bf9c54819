"""The page that says what is served, and has a form to try it."""

import html
from pathlib import Path
from string import Template
from urllib.parse import urlencode

from components.serving.served import Roster, Served

PAGE = Path(__file__).with_name("page.html")
BOXES = Template(
    '<label>Boxes from a score of <input id="least" type="number" min="0" max="1" step="0.01" value="$least"></label>'
)


def page(roster: Roster, one: Served) -> str:
    """The page of one of the recipes, as HTML; of several it links to the others."""
    model, champion = one.champion.model, one.champion
    facts = {"Serving": "no model yet" if model is None else f"{model.bundle.recipe}, version {model.version}"}
    if champion.problem:
        facts["Problem"] = champion.problem.problem
    base = f"/v1/{one.folder}" if roster.several else "/v1"
    if model:
        bundle = model.bundle
        facts |= {
            "Digest": model.digest,
            "Classes": ", ".join(bundle.classes),
            "Called": f"{bundle.positive} from {bundle.threshold:.3f} on" if bundle.by_threshold else "likeliest",
            "Picture": f"scaled to {bundle.width} x {bundle.height}",
            **({"Boxes": f"from a score of {bundle.box_threshold:.3f} on"} if bundle.finds_boxes else {}),
            **({"Follows": f"what it finds, frame by frame: POST {base}/track"} if bundle.tracks else {}),
        }
    metrics = sorted(model.bundle.metrics.items()) if model else []
    figures = {name.replace("_", " "): _figure(value) for name, value in metrics}
    boxes = BOXES.substitute(least=f"{model.bundle.box_threshold:.2f}") if model and model.bundle.finds_boxes else ""
    filled = {"rows": _rows(facts), "figures": _rows(figures), "boxes": boxes, "base": base}
    return Template(PAGE.read_text()).substitute(filled, others=_others(roster, one))


def _rows(told: dict[str, str]) -> str:
    return "".join(f"<tr><th>{html.escape(key)}</th><td>{html.escape(value)}</td></tr>" for key, value in told.items())


def _figure(value: float) -> str:
    """Three decimals; none of a whole number, such as a count."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.3f}"


def _others(roster: Roster, one: Served) -> str:
    if not roster.several:
        return ""
    links = [
        f"<b>{html.escape(other.name)}</b>"
        if other is one
        else f'<a href="/?{html.escape(urlencode({"recipe": other.name}))}">{html.escape(other.name)}</a>'
        for other in roster.all
    ]
    return f"<p>{' · '.join(links)}</p>"
