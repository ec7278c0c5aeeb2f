"""Curves of a run as SVG, without a drawing library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 120, 12, 28
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555")
"""Okabe and Ito's, which people with any colour vision tell apart (jfly.uni-koeln.de/color)."""

Points = Sequence[tuple[float, float]]


def draw_curves(curves: Mapping[str, Points], *, label: str, logarithmic: bool = False) -> str:
    """Draw curves over steps.

    Parameters
    ----------
    curves : mapping of str to sequence of (float, float)
        Step and value, by name; what is no finite number, or not above 0 on a logarithmic scale, is a gap.
    label : str
        What the values are.
    logarithmic : bool
        Scale of the values.

    Returns
    -------
    str
        An SVG element; empty where there is nothing to draw.
    """
    shown = {name: [(x, y) for x, y in points if _drawable(y, logarithmic)] for name, points in curves.items()}
    shown = {name: points for name, points in shown.items() if points}
    if not shown:
        return ""
    every = [_height(y, logarithmic) for points in shown.values() for _, y in points]
    low, high = min(every), max(every)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-9 else (low, high)
    first = min(points[0][0] for points in shown.values())
    last = max(max(points[-1][0] for points in shown.values()), first + 1)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first)
        up = (_height(y, logarithmic) - low) / (high - low)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_frame(first, last, low, high, logarithmic)]
    for number, (name, points) in enumerate(shown.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        if len(points) == 1:
            x, y = place(*points[0])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        y = TOP + 8 + 16 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{y}" fill="{colour}">{escape(name)}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" font-family="sans-serif" font-size="11" role="img" '
        f'aria-label="{escape(label)}">{"".join(parts)}</svg>'
    )


def _drawable(value: float, logarithmic: bool) -> bool:
    return math.isfinite(value) and (value > 0 or not logarithmic)


def _height(value: float, logarithmic: bool) -> float:
    return math.log10(value) if logarithmic else value


def _frame(first: float, last: float, low: float, high: float, logarithmic: bool) -> str:
    parts = []
    for part in range(5):
        y = HEIGHT - BOTTOM - part / 4 * (HEIGHT - TOP - BOTTOM)
        value = low + part / 4 * (high - low)
        text = f"{10**value if logarithmic else value:.3g}"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#444">{text}</text>')
    for part in range(3):
        x = LEFT + part / 2 * (WIDTH - LEFT - RIGHT)
        step = round(first + part / 2 * (last - first))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle" fill="#444">{step}</text>')
    return "".join(parts)
