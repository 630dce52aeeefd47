r"""Shows which pages of a contract changed: in the terminal, a character a page, and as an SVG drawing.

>>> print(*terminal_map({0: 1, 3: 16}, pages=6, scale=16), sep="\n")
     0  ░··█··
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

COLUMNS = 64
ROWS_MAX = 32
COLUMNS_MIN = 8
SHADES = "·░▒▓█"  # the first one where nothing changed
ASCII_SHADES = ".-+*#"
CELL = 12  # pixels


def terminal_map(
    weights: Mapping[int, int], *, pages: int, scale: int, shades: str = SHADES, width: int = 80
) -> list[str]:
    """Rows of 64 cells, or fewer in a narrow terminal, each row after the index of its first page.

    Args:
        weights: how much changed (up to `scale`) by page index; what is missing did not change.
        pages: how many pages there are. Beyond 2,048 a cell stands for several, and shows the most changed of them.
        scale: the weight of a page that changed entirely.
        shades: five characters, from no change to a change of all.
        width: columns of the terminal.

    """
    per_cell = max(1, -(-pages // (COLUMNS * ROWS_MAX)))
    cells = _cells(weights, pages, per_cell)
    margin = max(6, len(str(pages)))
    columns = COLUMNS
    while columns > COLUMNS_MIN and margin + 2 + columns > width:
        columns //= 2
    lines = []
    for start in range(0, len(cells), columns):
        row = "".join(_shade(weight, scale, shades) for weight in cells[start : start + columns])
        lines.append(f"{start * per_cell:{margin}d}  {row}")
    if per_cell > 1:
        lines.append(f"{'':{margin}}  one character stands for {per_cell} pages")
    return lines


def svg_map(title: str, weights: Mapping[int, int], *, pages: int, scale: int) -> str:
    """The same as an SVG document; hovering over a cell names its page."""
    per_cell = max(1, -(-pages // (COLUMNS * ROWS_MAX * 4)))
    cells = _cells(weights, pages, per_cell)
    rows = -(-len(cells) // COLUMNS)
    left, top = 70, 34
    width, height = left + COLUMNS * CELL + 10, top + rows * CELL + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="10" y="20" font-family="sans-serif" font-size="13" fill="#222222">{escape(title)}</text>',
    ]
    for row in range(rows):
        y = top + row * CELL + CELL - 2
        label = row * COLUMNS * per_cell
        parts.append(
            f'<text x="{left - 6}" y="{y}" text-anchor="end" font-family="monospace" font-size="10" fill="#666666">'
            f"{label}</text>"
        )
    for index, weight in enumerate(cells):
        x, y = left + index % COLUMNS * CELL, top + index // COLUMNS * CELL
        name = f"page {index}" if per_cell == 1 else f"pages {index * per_cell} to {(index + 1) * per_cell - 1}"
        parts.append(
            f'<rect x="{x}" y="{y}" width="{CELL - 1}" height="{CELL - 1}" fill="{_colour(weight, scale)}">'
            f"<title>{name}: {weight} of {scale}</title></rect>"
        )
    return "\n".join([*parts, "</svg>", ""])


def _cells(weights: Mapping[int, int], pages: int, per_cell: int) -> list[int]:
    cells = [0] * -(-pages // per_cell)
    for page, weight in weights.items():
        if 0 <= page < pages:
            cells[page // per_cell] = max(cells[page // per_cell], weight)
    return cells


def _shade(weight: int, scale: int, shades: str) -> str:
    if weight <= 0:
        return shades[0]
    last = len(shades) - 1
    return shades[min(last, 1 + last * (weight - 1) // (scale - 1))] if scale > 1 else shades[last]


def _colour(weight: int, scale: int) -> str:
    """From pale yellow to dark red; light grey for what did not change."""
    if weight <= 0:
        return "#eeeeee"
    share = min(1.0, weight / scale)
    red, green, blue = (round(a + (b - a) * share) for a, b in ((254, 177), (217, 0), (118, 38)))
    return f"#{red:02x}{green:02x}{blue:02x}"
