from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import pytest
from support.fixtures import ROOT, module_in

BENCHMARKS = ROOT / "benchmarks"
FIELDS = {"name", "unit", "ours", "rival", "target", "limit", "ratio", "holds"}
NAMES = {
    "calls": [
        "call: counter.read_value",
        "call: counter.increment",
        "call: empty program",
        "call: one more page written",
        "call: 10 host queries",
        "call: 10 events",
        "call: 10 nested calls",
        "call: 10 failing nested calls",
        "call: 40 deep",
    ],
    "commits": [
        "session",
        "first call in a session",
        "session + first call",
        "commit, durable",
        "session + call + durable commit",
        "the same, p99 / p50",
        "the same without the sync",
        "the same without the sync, p99 / p50",
        "syncs per commit",
        "bytes per commit",
        "small commit in vm.batch() (3,000 a second: 333 us)",
        "bytes per commit beside 5 contracts",
    ],
    "history": [
        "opening 30 commits",
        "random one of 30 commits: session + first call",
        "random one of 30 commits: session + first call, no file cached",
        "opening 60 commits",
        "opening 60 commits / 30 commits",
    ],
    "deploys": ["deploy: box, 17 KB, cold", "deploy: box, 17 KB, cached"],
    "large": [
        "commit of 8 MiB of new machine code, durable",
        "8 MiB, one page changed: session + call + durable commit",
        "16 MiB, one page changed: session + call + durable commit",
        "the same, 16 MiB / 8 MiB",
        "call: 10 nested calls, 16 MiB resident",
        "memory of 2 open sessions on 8 MiB",
        "the same with all of the process (Python, wasmtime)",
    ],
    "rivals": [
        "SQLite WAL FULL: commit of one changed page",
        "SQLite WAL FULL: commit of one changed page, p99",
        "SQLite WAL FULL: bytes per commit",
        "SQLite WAL FULL: open the store, read an old version",
    ],
}


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with as little to do as there can be; it finds its modules in processes that it starts, too."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = module_in(BENCHMARKS, "compare")
    effort = module.Effort(
        rounds=1,
        calls=5,
        commits=5,
        batched=5,
        others=5,
        opened=(30, 60),
        opened_original=30,
        samples=2,
        sessions=2,
        large_bytes=16 << 20,
        new_bytes=8 << 20,
        charted=(50, 100),
        charted_mib=(1, 2),
        charted_seconds=1,
    )
    monkeypatch.setattr(module, "QUICK", effort)
    monkeypatch.setattr(module_in(BENCHMARKS, "compare_deploys"), "NAMES", ("box",))
    rivals = module_in(BENCHMARKS, "rivals")
    monkeypatch.setattr(rivals, "NEEDED", {rivals.SQLite: ("sqlite3",)})
    return module


@pytest.mark.parametrize("group", list(NAMES))
def test_every_row_of_a_group_is_a_line_of_json(
    group: str, compare: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    compare.main([group, "--quick", "--json", "--alone"])
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["name"] for row in rows] == NAMES[group]
    assert all(set(row) == FIELDS for row in rows)
    assert all(row["ours"] > 0 for row in rows)
    assert all((row["ratio"] is None) == (row["rival"] is None) for row in rows)


def test_there_is_a_name_list_for_every_group(compare: ModuleType) -> None:
    assert set(NAMES) == set(compare.GROUPS)


def test_the_text_names_the_machine_and_then_every_row(compare: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(["calls", "--quick", "--alone"])
    machine, _, header, *lines = capsys.readouterr().out.splitlines()
    assert " cores " in machine
    assert "Python" in machine
    assert header.split() == ["ours", "original", "ratio", "target"]
    assert [line.partition(", us")[0] for line in lines] == NAMES["calls"]


def test_markdown_has_a_line_for_every_row(compare: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    compare.main(["calls", "--quick", "--alone", "--markdown"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert len(lines) == 2 + len(NAMES["calls"])
    assert all(line.count("|") == 6 for line in lines)


def test_charts_have_a_line_for_every_system(compare: ModuleType, tmp_path: Any) -> None:
    compare.main(["--quick", "--alone", "--charts", str(tmp_path)])
    for name in ("commits", "reads", "sizes"):
        drawing = (tmp_path / f"{name}.svg").read_text()
        assert drawing.startswith("<svg")
        assert drawing.count("<polyline") == 2
        assert ">piecrust<" in drawing
        assert ">SQLite WAL FULL<" in drawing


def test_what_is_not_installed_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rivals = module_in(BENCHMARKS, "rivals")
    needed = {rivals.SQLite: ("sqlite3",), rivals.Git: ("no_such_module",)}
    monkeypatch.setattr(rivals, "NEEDED", needed)
    assert rivals.installed() == [rivals.SQLite]
    assert "without no_such_module: pip install" in capsys.readouterr().err


def test_an_unknown_group_is_refused(compare: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        compare.main(["speed"])
    assert "no such group: speed" in capsys.readouterr().err


def test_sides_take_turns_and_the_medians_of_the_rounds_are_told(compare: ModuleType) -> None:
    del compare
    measure = module_in(BENCHMARKS, "measure")
    order: list[str] = []

    def side(name: str, values: list[float]) -> Any:
        given = iter(values)

        def measured() -> dict[str, float]:
            order.append(name)
            return {"time": next(given)}

        return measured

    ours, absent, theirs = measure.in_turn(3, side("ours", [1, 5, 3]), None, side("theirs", [9, 7, 8]))
    assert (ours, absent, theirs) == ({"time": 3}, {}, {"time": 8})
    assert order == ["ours", "theirs", "theirs", "ours", "theirs", "ours"]
