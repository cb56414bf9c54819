"""The confusion matrix as a picture: inline SVG for the report, and a file that stands alone."""

from collections.abc import Sequence
from html import escape

import numpy as np

SIDE, LARGEST, SMALLEST = 420, 110, 30  # of the whole square, and of one cell, in pixels
LETTER, LONGEST = 7.0, 22  # width of a letter in pixels, and letters of a class's name that are shown
FEW = 5  # classes up to which a cell also says its share
_MIDDLE = 'text-anchor="middle"'
# As report.css has it for a light page: a file on its own has no page to follow.
STYLE = """text{fill:#16191d;font:12px system-ui,"Segoe UI",Roboto,sans-serif}.soft{fill:#59616b}
.count{font-weight:600}.right{fill:#0072b2}.wrong{fill:#d55e00}.cell{stroke:#fff;stroke-width:2}"""


def picture(counts: np.ndarray, classes: Sequence[str], describes: str) -> str:
    """SVG of a confusion matrix (C, C): a row per actual class, a column per called one, darker for more of the row."""
    size = len(classes)
    cell = min(LARGEST, max(SMALLEST, SIDE // size))
    names = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in classes]
    longest = LETTER * max(map(len, names))
    upright = longest > cell - 6  # the columns' names do not fit side by side
    left, top = 26 + longest + 8, 26 + (longest + 8 if upright else 18)
    width, height = left + size * cell + 6, top + size * cell + 6
    totals = counts.sum(1)
    marks = []
    for (i, j), count in np.ndenumerate(counts):
        share = count / totals[i] if totals[i] else 0.0
        x, y = left + j * cell, top + i * cell
        side = "right" if i == j else "wrong"
        shade = share * 0.55 + 0.06 if count or i == j else 0.03
        marks.append(
            f'<rect class="cell {side}" x="{x:.0f}" y="{y:.0f}" width="{cell}" height="{cell}" '
            f'fill-opacity="{shade:.3f}"><title>{escape(classes[i])} called {escape(classes[j])}: {count} '
            f"({share:.0%})</title></rect>"
        )
        if count or size <= FEW:
            middle = y + cell / 2 + (-2 if size <= FEW else 4)
            marks.append(f'<text class="count" x="{x + cell / 2:.0f}" y="{middle:.0f}" {_MIDDLE}>{count}</text>')
        if size <= FEW:
            marks.append(f'<text x="{x + cell / 2:.0f}" y="{y + cell / 2 + 16:.0f}" {_MIDDLE}>{share:.0%}</text>')
    for i, name in enumerate(names):
        along = left + i * cell + cell / 2
        turned = f'transform="translate({along + 4:.0f} {top - 6:.0f}) rotate(-90)"'
        place = turned if upright else f'x="{along:.0f}" y="{top - 7:.0f}" {_MIDDLE}'
        marks.append(f"<text {place}>{escape(name)}</text>")
        marks.append(
            f'<text x="{left - 8:.0f}" y="{top + i * cell + cell / 2 + 4:.0f}" text-anchor="end">{escape(name)}</text>'
        )
    middle = top + size * cell / 2
    return (
        f'<svg class="matrix" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'role="img" aria-label="{escape(describes)}">{"".join(marks)}'
        f'<text class="soft" x="{left + size * cell / 2:.0f}" y="14" {_MIDDLE}>called</text>'
        f'<text class="soft" transform="translate(14 {middle:.0f}) rotate(-90)" {_MIDDLE}>is</text></svg>'
    )


def alone(svg: str) -> str:
    """The same picture as a file of its own, with its colours in it, on white."""
    begin, rest = svg.split(">", 1)
    begin = begin.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f'{begin}><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{rest}\n'
