r"""Draws the ancestry of commits beside their descriptions, as `log --graph` does.

Lanes are columns of two characters; a lane waits for the commit that continues it. A lane that ended leaves a gap until
another one takes it, so that lines never move sideways without a reason.

>>> commits = [("d", ["b", "c"], ["merge"]), ("c", ["a"], ["side"]), ("b", ["a"], ["main"]), ("a", [], ["first"])]
>>> print(*draw(commits), sep="\n")
● merge
├─╮
│ ● side
● │ main
├─╯
● first
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TypeVar

Node = TypeVar("Node")


@dataclass(frozen=True, slots=True)
class Strokes:
    """The characters of a drawing."""

    node: str = "●"
    vertical: str = "│"
    horizontal: str = "─"
    cross: str = "┼"
    from_left_down: str = "╮"
    from_right_down: str = "╭"
    left_up: str = "╯"
    right_up: str = "╰"
    tee_right: str = "├"
    tee_left: str = "┤"


BOX = Strokes()
ASCII = Strokes("*", "|", "-", "+", "\\", "/", "/", "\\", "|", "|")


def draw(commits: Iterable[tuple[Node, Sequence[Node], Sequence[str]]], strokes: Strokes = BOX) -> Iterator[str]:
    """The lines of the graph.

    Args:
        commits: (commit, parents, lines of text), every commit before its parents.
        strokes: what to draw with.

    """
    lanes: list[Node | None] = []
    for commit, parents, text in commits:
        here = _lane_of(lanes, commit)
        lanes[here] = parents[0] if parents else None
        node_row = _verticals(lanes, strokes)
        node_row[2 * here] = strokes.node
        first, *others = text or [""]
        yield _line(node_row, first)
        rows = list(_edges(lanes, here, parents, strokes))
        rest = _verticals(lanes, strokes)
        rows += [rest] * (len(others) - len(rows))
        width = max(map(len, rows), default=0)
        for row, line in zip_longest(rows, others, fillvalue=""):
            yield _line([*row, *" " * (width - len(row))], line)


def _lane_of(lanes: list[Node | None], commit: Node) -> int:
    """The lane that waits for `commit`, else a free one."""
    if commit in lanes:
        return lanes.index(commit)
    return _take_free(lanes, commit, 0)


def _take_free(lanes: list[Node | None], commit: Node, start: int) -> int:
    """Put `commit` into the first free lane from `start` on."""
    for index in range(start, len(lanes)):
        if lanes[index] is None:
            lanes[index] = commit
            return index
    lanes.append(commit)
    return len(lanes) - 1


def _edges(lanes: list[Node | None], here: int, parents: Sequence[Node], strokes: Strokes) -> Iterator[list[str]]:
    """The rows between a commit and what comes below it; changes `lanes`."""
    for parent in parents[1:]:
        known = [index for index, waiting in enumerate(lanes) if waiting == parent and index != here]
        before = list(lanes)
        target = known[0] if known else _take_free(lanes, parent, here + 1)
        row = _verticals(before, strokes)
        row.extend([" "] * (2 * len(lanes) - len(row)))
        if known:
            end = strokes.tee_left if target > here else strokes.tee_right
        else:
            end = strokes.from_left_down if target > here else strokes.from_right_down
        _span(row, here, target, strokes)
        row[2 * here] = strokes.tee_right if target > here else strokes.tee_left
        row[2 * target] = end
        yield row
    first = lanes[here]
    double = next((i for i, waiting in enumerate(lanes) if first is not None and waiting == first and i != here), None)
    if double is not None:
        # Two lanes wait for one commit: the right one joins the left one.
        left, right = sorted((here, double))
        row = _verticals(lanes, strokes)
        _span(row, left, right, strokes)
        row[2 * left], row[2 * right] = strokes.tee_right, strokes.left_up
        lanes[right] = None
        yield row
    while lanes and lanes[-1] is None:
        lanes.pop()


def _span(row: list[str], start: int, end: int, strokes: Strokes) -> None:
    """A horizontal line between two lanes, crossing what lies between."""
    low, high = sorted((2 * start, 2 * end))
    for position in range(low + 1, high):
        row[position] = strokes.horizontal if row[position] == " " else strokes.cross


def _verticals(lanes: Sequence[object | None], strokes: Strokes) -> list[str]:
    """A row in which every lane goes on."""
    row: list[str] = []
    for waiting in lanes:
        row.extend((" " if waiting is None else strokes.vertical, " "))
    return row


def _line(row: list[str], text: str) -> str:
    return ("".join(row) + text).rstrip()
