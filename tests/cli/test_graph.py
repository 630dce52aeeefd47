from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.cli.graph import ASCII, draw


def drawn(*commits: tuple[str, list[str]]) -> str:
    return "\n".join(draw([(name, parents, [name]) for name, parents in commits], ASCII))


def test_a_line_of_commits_is_one_lane() -> None:
    assert drawn(("c", ["b"]), ("b", ["a"]), ("a", [])) == "* c\n* b\n* a"


def test_a_branch_that_was_merged_opens_and_closes_a_lane() -> None:
    assert drawn(("m", ["b", "c"]), ("c", ["a"]), ("b", ["a"]), ("a", [])) == "* m\n|-\\\n| * c\n* | b\n|-/\n* a"


def test_two_heads_join_at_their_common_ancestor() -> None:
    assert drawn(("x", ["a"]), ("y", ["a"]), ("a", [])) == "* x\n| * y\n|-/\n* a"


def test_a_merge_crosses_the_lane_between() -> None:
    # x waits for p in lane 0, y in lane 1 for q; the head in lane 2 merges p, crossing lane 1.
    drawing = drawn(("x", ["p"]), ("y", ["q"]), ("m", ["r", "p"]), ("r", []), ("q", []), ("p", []))
    assert drawing.splitlines()[2:4] == ["| | * m", "|-+-|"]


def test_further_lines_of_a_commit_stand_beside_the_lanes_below_it() -> None:
    lines = list(draw([("b", ["a"], ["b", "  detail"]), ("a", [], ["a"])], ASCII))
    assert lines == ["* b", "|   detail", "* a"]


def test_a_second_root_takes_a_lane_that_became_free() -> None:
    assert drawn(("a", []), ("b", [])) == "* a\n* b"


@st.composite
def histories(draw_from: st.DrawFn) -> list[tuple[int, list[int]]]:
    count = draw_from(st.integers(1, 12))
    history = []
    for number in reversed(range(count)):
        older = st.integers(0, number - 1) if number else st.nothing()
        history.append((number, draw_from(st.lists(older, max_size=3, unique=True)) if number else []))
    return history


@given(histories())
@settings(max_examples=60, deadline=None)
def test_every_commit_is_drawn_once_and_no_lane_is_left_open(history: list[tuple[int, list[int]]]) -> None:
    lines = list(draw([(name, parents, [f"<{name}>"]) for name, parents in history], ASCII))
    for name, _ in history:
        assert sum(f"<{name}>" in line for line in lines) == 1
    text = [line for line in lines if "<" in line]
    assert all(line.count("*") == 1 for line in text)
    assert not lines[-1].partition("*")[2].replace("<0>", "").strip()
