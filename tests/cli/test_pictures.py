from __future__ import annotations

from xml.etree import ElementTree as ET

from piecrust.cli.heat_map import COLUMNS, ROWS_MAX, svg_map, terminal_map
from piecrust.cli.plot import line_plot

SVG = "{http://www.w3.org/2000/svg}"


def test_each_row_of_a_map_begins_with_the_index_of_its_first_page() -> None:
    lines = terminal_map({0: 1, 64: 16}, pages=70, scale=16)
    assert [line.split() for line in lines] == [["0", "░" + "·" * 63], ["64", "█·····"]]


def test_a_large_contract_shows_several_pages_in_one_character() -> None:
    lines = terminal_map({65535: 16}, pages=65536, scale=16)
    assert len(lines) == ROWS_MAX + 1
    assert lines[-2].endswith("█")
    assert "32 pages" in lines[-1]


def test_a_narrow_terminal_gets_narrower_rows() -> None:
    lines = terminal_map({0: 1}, pages=70, scale=16, width=40)
    assert [line.split()[0] for line in lines] == ["0", "32", "64"]
    assert max(map(len, lines)) == 40
    assert len(terminal_map({0: 1}, pages=16, scale=16, width=1)) == 2


def test_shades_may_be_plain_characters() -> None:
    assert terminal_map({0: 1, 1: 16, 2: 8}, pages=4, scale=16, shades=".-+*#") == ["     0  -#+."]


def test_a_page_outside_of_the_map_is_left_out() -> None:
    assert terminal_map({9: 16}, pages=2, scale=16) == ["     0  ··"]


def test_the_drawing_of_a_map_is_svg_with_a_cell_a_page() -> None:
    tree = ET.fromstring(svg_map("a <title> & more", {3: 16}, pages=COLUMNS + 1, scale=16))
    cells = [cell for cell in tree.iter(f"{SVG}rect") if cell.find(f"{SVG}title") is not None]
    assert len(cells) == COLUMNS + 1
    dark = [cell.findtext(f"{SVG}title") for cell in cells if cell.get("fill") == "#b10026"]
    assert dark == ["page 3: 16 of 16"]


def test_a_plot_is_svg_with_a_line_for_each_series() -> None:
    drawing = line_plot("Growth", "commits", [("bytes <all>", [(0, 0), (1, 10)]), ("new", [(0, 5), (1, 5)])])
    tree = ET.fromstring(drawing)
    lines = list(tree.iter(f"{SVG}polyline"))
    assert len(lines) == 2
    points = [tuple(map(float, pair.split(","))) for pair in (lines[0].get("points") or "").split()]
    assert points[0][0] < points[1][0]
    assert points[0][1] > points[1][1], "larger values are higher up"


def test_a_plot_of_nothing_but_zeros_is_still_a_plot() -> None:
    assert ET.fromstring(line_plot("t", "x", [("zeros", [(0, 0)])])) is not None
