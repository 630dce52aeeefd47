"""A line plot as SVG, enough for the growth of a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

WIDTH, HEIGHT = 760, 380
LEFT, RIGHT, TOP, BOTTOM = 90, 150, 44, 50
COLOURS = ("#1b6ca8", "#c4501b", "#3c8d40", "#7a4b9a", "#8a6d1d", "#777777")


def line_plot(
    title: str,
    x_label: str,
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    show: Callable[[float], str] = lambda value: f"{value:g}",
    base: int = 10,
    show_x: Callable[[float], str] = lambda value: f"{value:,.10g}",
) -> str:
    """An SVG document with one line per (name, points).

    Args:
        title: stands on top.
        x_label: stands below the horizontal axis.
        lines: names and points, x ascending; at least one point.
        show: how the values of the vertical axis are written.
        base: 1024 where they are written in binary units, so that these are round.
        show_x: how those of the horizontal axis are written.

    """
    points = [point for _, line in lines for point in line]
    x_max = max((x for x, _ in points), default=1.0) or 1.0
    step = nice_step(max((y for _, y in points), default=1.0) or 1.0, base=base)
    y_max = step * math.ceil((max((y for _, y in points), default=0.0) or 1.0) / step)
    text = 'font-family="sans-serif" font-size="12" fill="#333333"'
    inner_width, inner_height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / x_max * inner_width, TOP + (1 - y / y_max) * inner_height

    middle = LEFT + inner_width // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" {text} font-weight="bold">{escape(title)}</text>',
        f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle" {text}>{escape(x_label)}</text>',
    ]
    for index in range(round(y_max / step) + 1):
        _, y = at(0, index * step)
        parts.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{LEFT + inner_width}" y2="{y:.1f}" stroke="#dddddd"/>')
        label = escape(show(index * step))
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {text}>{label}</text>')
    x_step = max(1.0, nice_step(x_max))
    foot = HEIGHT - BOTTOM + 18
    for index in range(int(x_max / x_step) + 1):
        x, _ = at(index * x_step, 0)
        parts.append(
            f'<text x="{x:.1f}" y="{foot}" text-anchor="middle" {text}>{escape(show_x(index * x_step))}</text>'
        )
    for number, (name, line) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (at(*point) for point in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = TOP + 14 + 20 * number
        parts.append(f'<text x="{WIDTH - RIGHT + 12}" y="{y}" {text} style="fill:{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def nice_step(maximum: float, steps: int = 5, base: int = 10) -> float:
    """A round distance of grid lines, so that about `steps` of them reach `maximum`; round in powers of `base`.

    >>> [nice_step(m) for m in (1, 7, 42, 1000)]
    [0.2, 2.0, 10.0, 200.0]
    >>> [nice_step(m, base=1024) / 1024 for m in (4000, 9000, 900_000)]
    [1.0, 2.0, 200.0]
    """
    raw = maximum / steps
    unit = base ** max(0, math.floor(math.log(maximum, base)))
    raw /= unit
    magnitude = 10.0 ** math.floor(math.log10(raw))
    return float(unit * next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= raw))
