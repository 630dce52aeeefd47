"""Commits of the Rust VM come into a store through the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import originals
from support.command import Command


@pytest.fixture
def directory(tmp_path: Path) -> str:
    return str(originals.unpacked("finalized", tmp_path / "original"))


def test_commits_are_listed_without_a_store(piecrust: Command, directory: str) -> None:
    roots = {name: root.hex() for name, root in originals.roots("finalized").items()}
    told = {commit["root"]: commit for commit in piecrust.json("import-original", directory, "--list")["commits"]}
    assert told.keys() == {roots[name] for name in ("two", "three", "four", "side", "lost")}
    assert told[roots["four"]]["base"] == roots["three"]
    assert [root for root, commit in told.items() if commit["finalized"]] == [roots["two"]]
    assert [root for root, commit in told.items() if commit["problem"]] == [roots["lost"]]
    lines = piecrust("import-original", directory, "--list").lines
    assert lines[0] == f"{roots['two']} finalized, 2 contracts, 7 pages"
    assert f"{roots['three']} on {roots['two'][:12]}, 1 contract, 6 pages" in lines


def test_what_is_whole_is_imported_and_called(piecrust: Command, directory: str) -> None:
    roots = {name: root.hex() for name, root in originals.roots("finalized").items()}
    piecrust("init")
    brought = piecrust("import-original", directory)
    assert brought.lines[0] == "Imported 4 new commits"
    assert f"commit {roots['lost']} can not be imported" in brought.stderr
    again = piecrust.json("import-original", directory)
    assert [commit["new"] for commit in again["commits"]] == [False] * 4
    piecrust("checkout", f"root:{roots['four']}")
    contracts = piecrust.json("contracts")["contracts"]
    assert [contract["contract"] for contract in contracts] == [(bytes(31) + bytes([n])).hex() for n in (1, 2, 7)]
    assert piecrust("root").stdout.strip() == roots["four"]
    assert len(piecrust.json("log")["commits"]) == 3


def test_a_commit_is_chosen_by_the_first_digits_of_its_root(piecrust: Command, directory: str) -> None:
    roots = {name: root.hex() for name, root in originals.roots("finalized").items()}
    piecrust("init")
    made = piecrust.json("import-original", directory, roots["side"][:8])
    assert [commit["root"] for commit in made["commits"]] == [roots["side"]]
    assert "state root" in piecrust("import-original", directory, roots["lost"], code=7).stderr
    assert "begins with" in piecrust("import-original", directory, "00ff00", code=3).stderr
    assert "no directory" in piecrust("import-original", directory + "/missing", code=3).stderr
    assert "no directory main" in piecrust("import-original", str(Path(directory).parent), code=7).stderr
