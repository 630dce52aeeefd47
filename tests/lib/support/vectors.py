"""Compares this project's VM with what the original answered (fixtures/vectors).

A vector file has one operation per line, with the original's answer. Differences are by design or mistakes:
`deviations.toml` lists those by design, with what happens here instead and the clause that says so.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from pathlib import Path

from support.answers import Answer, Operation, differences
from support.fixtures import VECTORS
from support.machine import Machine


@dataclass(frozen=True, order=True)
class Difference:
    """One field of one answer, here and there, as JSON."""

    file: str
    line: int
    field: str
    ours: str
    theirs: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.ours} here, {self.theirs} there"


@dataclass(frozen=True)
class Deviation:
    """An intended difference: what a field of an answer is here, and the clause that says so."""

    file: str
    line: int
    field: str
    ours: str
    clause: str

    def covers(self, difference: Difference) -> bool:
        place = (self.file, self.line, self.field)
        return place == (difference.file, difference.line, difference.field) and self.ours == difference.ours


def names() -> list[str]:
    """The files with scenarios, by their path in the folder without the ending."""
    return sorted(str(path.relative_to(VECTORS).with_suffix("")) for path in VECTORS.rglob("*.jsonl") if _first(path))


def _first(path: Path) -> object:
    """The first operation of a scenario; None for vectors of another kind."""
    with path.open() as lines:
        return json.loads(next(lines)).get("op")


def read(name: str) -> list[tuple[Operation, Answer]]:
    """The operations of a file, with the original's answers."""
    lines = (VECTORS / f"{name}.jsonl").read_text().splitlines()
    return [(entry["op"], entry["expect"]) for entry in map(json.loads, lines)]


def replay(name: str, folder: Path, code_cache: Path | None = None) -> list[Difference]:
    """All differences in a file, by design or not; `folder` holds the stores that it makes."""
    machine = Machine(folder, code_cache)
    try:
        return [
            Difference(name, line, field, ours, theirs)
            for line, (operation, expected) in enumerate(read(name), 1)
            for field, ours, theirs in differences(machine.perform(operation), expected)
        ]
    finally:
        machine.close()


def deviations(name: str) -> list[Deviation]:
    """The intended differences in a file."""
    listed = tomllib.loads((VECTORS / "deviations.toml").read_text())
    clauses = listed["clauses"]
    return [
        Deviation(name, line, field, ours, clauses[entry["clause"]])
        for entry in listed["deviation"]
        if entry["file"] == name
        for line, field, ours in entry["answers"]
    ]


def unexpected(name: str, folder: Path, code_cache: Path | None = None) -> list[str]:
    """What a replay shows that the list of deviations does not say, and the other way round."""
    found = replay(name, folder, code_cache)
    listed = deviations(name)
    unlisted = [difference for difference in found if not any(entry.covers(difference) for entry in listed)]
    gone = [entry for entry in listed if not any(entry.covers(difference) for difference in found)]
    return [f"unlisted: {difference}" for difference in unlisted] + [f"no longer so: {entry}" for entry in gone]
