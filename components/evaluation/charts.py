"""Drawings for the report as inline SVG. Colours are the page's CSS variables, so that they follow light and dark."""

from collections.abc import Sequence
from html import escape

import numpy as np

WIDTH, HEIGHT = 1000, 100  # of a timeline, stretched to its place by the page
SIDE, LEFT, BOTTOM, TOP = 300, 46, 40, 12
MOST_POINTS = 1200


def curve(
    rows: Sequence[tuple[float, float, float]],
    across: str,
    up: str,
    point: tuple[float, float],
    chance: tuple[tuple[float, float], tuple[float, float]] | None,
    describes: str,
    others: Sequence[Sequence[tuple[float, float, float]]] = (),
) -> str:
    """A curve in the unit square. rows: (x, y, threshold); point: where the model decides; chance: ends of a line, if
    there is one.

    `others`: rows of more curves, drawn faint behind it.
    """
    shown = _thinned(rows)
    path = _path(shown)
    faint = "".join(f'<path class="other" d="{_path(_thinned(other))}"/>' for other in others)
    ticks = [0, 0.25, 0.5, 0.75, 1]
    grid = "".join(
        f'<path class="grid" d="M{_x(t):.1f} {_y(0):.1f}V{_y(1):.1f}M{_x(0):.1f} {_y(t):.1f}H{_x(1):.1f}"/>'
        f'<text x="{_x(t):.1f}" y="{_y(0) + 16:.1f}" text-anchor="middle">{t:g}</text>'
        f'<text x="{_x(0) - 6:.1f}" y="{_y(t) + 4:.1f}" text-anchor="end">{t:g}</text>'
        for t in ticks
    )
    guessing = "" if chance is None else _line(*chance)
    return (
        f'<svg class="curve" viewBox="0 0 {LEFT + SIDE + 12} {TOP + SIDE + BOTTOM}" role="img" '
        f'aria-label="{escape(describes)}">{grid}'
        f"{guessing}"
        f'<path class="area" d="{path}L{_x(shown[-1][0]):.1f} {_y(0):.1f}L{_x(shown[0][0]):.1f} {_y(0):.1f}Z"/>'
        f'{faint}<path class="line" d="{path}"/>'
        f'<circle class="point" cx="{_x(point[0]):.1f}" cy="{_y(point[1]):.1f}" r="5"/>'
        f'<text class="axis" x="{_x(0.5):.1f}" y="{TOP + SIDE + 34}" text-anchor="middle">{escape(across)}</text>'
        f'<text class="axis" transform="translate(12 {_y(0.5):.1f}) rotate(-90)" text-anchor="middle">'
        f"{escape(up)}</text>"
        "</svg>"
    )


def _line(begin: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<path class="chance" d="M{_x(begin[0]):.1f} {_y(begin[1]):.1f}L{_x(end[0]):.1f} {_y(end[1]):.1f}"/>'


def _thinned(rows: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    return thin(np.array([row[0] for row in rows]), np.array([row[1] for row in rows]))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_x(x):.1f} {_y(y):.1f}" for x, y in points)


def _x(value: float) -> float:
    return LEFT + SIDE * value


def _y(value: float) -> float:
    return TOP + SIDE * (1 - value)


def timeline(
    seconds: np.ndarray,
    scores: np.ndarray,
    span: float,
    truth: Sequence[tuple[float, float]],
    threshold: float | None,
    describes: str,
) -> str:
    """Scores over `span` seconds: the line, the marked stretches behind it, the threshold across it if there is one."""
    at = np.clip(seconds / span, 0, 1) * WIDTH
    height = HEIGHT * (1 - np.asarray(scores, dtype=np.float64))
    points = thin(at, height)
    line = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    bands = "".join(
        f'<rect class="truth" x="{WIDTH * begin / span:.1f}" width="{max(1.0, WIDTH * (end - begin) / span):.1f}" '
        f'y="0" height="{HEIGHT}"/><rect class="truth-edge" x="{WIDTH * begin / span:.1f}" '
        f'width="{max(1.0, WIDTH * (end - begin) / span):.1f}" y="0" height="4"/>'
        for begin, end in truth
    )
    level = None if threshold is None else HEIGHT * (1 - threshold)
    across = "" if level is None else f'<path class="threshold" d="M0 {level:.1f}H{WIDTH}"/>'
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(describes)}">{bands}'
        f'{across}<path class="area" d="{line}V{HEIGHT}H{points[0][0]:.1f}Z"/><path class="line" d="{line}"/></svg>'
    )


def thin(x: np.ndarray, y: np.ndarray, most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """The points (x, y), in order; of more than `most`, the first, last, lowest and highest of each stretch, so that
    no peak is lost."""
    if len(x) <= most:
        return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]
    keep: set[int] = set()
    for part in np.array_split(np.arange(len(x)), max(1, most // 4)):
        keep |= {int(part[0]), int(part[-1]), int(part[np.argmin(y[part])]), int(part[np.argmax(y[part])])}
    return [(float(x[i]), float(y[i])) for i in sorted(keep)]
