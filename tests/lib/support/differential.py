"""Performs a scenario on two machines at once, compares every answer, and shrinks what differs."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from support.answers import Answer, Operation, differences
from support.random_programs import Step
from support.random_scenarios import performable

MISSING_ROOT = "00" * 32  # what "$NAME" becomes when that commit failed, as in record.py


class Performer(Protocol):
    """Something that answers operations of the driver's protocol."""

    def perform(self, operation: Operation) -> Answer: ...


@dataclass(frozen=True)
class Disagreement:
    """The first operation of a scenario that two machines answer differently."""

    index: int
    operation: Operation
    field: str
    ours: str
    theirs: str

    def like(self, other: Disagreement | None) -> bool:
        """Whether the other one may have the same reason; a scenario that shrinks should keep its."""
        if other is None or (self.field, self.operation["op"]) != (other.field, other.operation["op"]):
            return False
        return self.field != "error" or (self.ours, self.theirs) == (other.ours, other.theirs)

    def __str__(self) -> str:
        where = f"operation {self.index}, {self.operation['op']}: {self.field}"
        return f"{where}\n  here:  {self.ours}\n  there: {self.theirs}"


@dataclass
class Histogram:
    """What was performed, and how the rival failed."""

    operations: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def count(self, operation: Operation, answer: Answer) -> None:
        self.operations[operation["op"]] += 1
        self.steps.update(method for steps in programs(operation) for method in methods(steps))
        if "error" in answer:
            self.errors[answer["error"]["kind"]] += 1


_runs = itertools.count()


def compare(
    scenario: list[Operation], ours: Performer, theirs: Performer, histogram: Histogram | None = None
) -> Disagreement | None:
    """The first disagreement, or None. Directories get fresh names, so that a scenario can be performed again."""
    run = next(_runs)
    roots: dict[str, str] = {}
    for index, operation in enumerate(scenario):
        asked = _resolved(performable(operation), roots, run)
        label = asked.pop("as", None) if asked["op"] == "commit" else None
        expected = theirs.perform(asked)
        if label is not None:
            roots[label] = expected.get("root", MISSING_ROOT)
        if histogram is not None:
            histogram.count(operation, expected)
        for name, here, there in differences(ours.perform(asked), expected):
            return Disagreement(index, asked, name, here, there)
    return None


def _resolved(operation: Operation, roots: dict[str, str], run: int) -> Operation:
    """The operation with roots for the names of commits, and this run's directory."""
    return {
        name: roots.get(value[1:], MISSING_ROOT)
        if isinstance(value, str) and value.startswith("$")
        else f"@{run}-{value[1:]}"
        if name == "dir"
        else value
        for name, value in operation.items()
    }


def programs(operation: Operation) -> Iterator[list[Step]]:
    """The programs of an operation: its argument's, its init's, those of its calls."""
    for name in ("program", "init_program"):
        if name in operation:
            yield operation[name]
    for call in operation.get("calls", ()):
        yield from programs(call)


def methods(steps: list[Step]) -> Iterator[str]:
    """The names of all steps of a program, nested ones included."""
    for step in steps:
        yield step[0]
        for value in step:
            if isinstance(value, list):
                yield from methods(value)


def shrink(scenario: list[Operation], fails: Callable[[list[Operation]], bool]) -> list[Operation]:
    """A scenario that still fails, and doesn't without any one of its operations or steps."""
    while (smaller := _shrunk(scenario, fails)) != scenario:
        scenario = smaller
    return scenario


def _shrunk(value: object, fails: Callable[[object], bool]) -> object:
    if isinstance(value, list):
        value = _without_parts(value, fails)
    for place in _places(value):
        value = _shrunk_at(value, place, fails)
    return value


def _shrunk_at(whole: object, place: object, fails: Callable[[object], bool]) -> object:
    part = _shrunk(whole[place], lambda candidate: fails(_replaced(whole, place, candidate)))
    return _replaced(whole, place, part)


def _places(value: object) -> list:
    """Where an operation, a step, or a list of them has parts that may be made smaller."""
    if isinstance(value, dict):
        return [name for name in ("program", "init_program", "calls") if name in value]
    if isinstance(value, list):
        return list(range(len(value)))
    if isinstance(value, tuple):
        return [index for index, part in enumerate(value) if isinstance(part, list)]
    return []


def _replaced(whole: object, place: object, part: object) -> object:
    if isinstance(whole, dict):
        return {**whole, place: part}
    return type(whole)([*whole[:place], part, *whole[place + 1 :]])


def _without_parts(items: list, fails: Callable[[list], bool]) -> list:
    """Delta debugging: leaves out ever smaller runs of items, as long as it fails without them."""
    items = list(items)
    length = len(items)
    while length > 0:
        start = 0
        while start < len(items):
            candidate = items[:start] + items[start + length :]
            if fails(candidate):
                items = candidate
            else:
                start += length
        length //= 2
    return items
