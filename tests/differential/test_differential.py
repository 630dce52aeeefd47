from __future__ import annotations

import pytest
from support.differential import Histogram, compare, shrink
from support.random_programs import assembled
from support.random_scenarios import ScenarioMaker, performable


class Counting:
    """A machine that answers each operation with what it is; it is wrong about a trap in a nested call."""

    def __init__(self, *, wrong: bool = False) -> None:
        self.wrong = wrong
        self.nested_trap = assembled([("call", bytes(32), 0, [("trap",)], "run")]).hex()

    def perform(self, operation: dict) -> dict:
        if operation["op"] == "commit":
            return {"root": "ab" * 32}
        if self.wrong and operation.get("arg", "").endswith(self.nested_trap[-8:]):
            return {"error": {"kind": "RuntimeError", "message": ""}}
        return {name: value for name, value in operation.items() if name != "dir"}


def nested_trap() -> list:
    return [("size",), ("call", bytes(32), 0, [("size",), ("load", 1, 2), ("trap",)], "run")]


def test_machines_that_agree_have_no_disagreement_and_everything_is_counted() -> None:
    scenario = ScenarioMaker(3).make()
    histogram = Histogram()
    assert compare(scenario, Counting(), Counting(), histogram) is None
    assert histogram.operations.total() == len(scenario)
    assert histogram.operations["vm"] >= 1
    assert histogram.steps["call"] > 0


def test_the_first_disagreement_is_told() -> None:
    scenario = [{"op": "vm"}, {"op": "call", "program": nested_trap()}, {"op": "call", "program": nested_trap()}]
    found = compare(scenario, Counting(wrong=True), Counting())
    assert found is not None
    assert (found.index, found.field) == (1, "error")


def test_names_of_commits_become_roots_and_directories_are_fresh() -> None:
    asked = []

    class Asking(Counting):
        def perform(self, operation: dict) -> dict:
            asked.append(operation)
            return super().perform(operation)

    scenario = [{"op": "vm", "dir": "@x"}, {"op": "commit", "as": "c"}, {"op": "session", "base": "$c"}]
    compare(scenario, Counting(), Asking())
    compare(scenario, Counting(), Asking())
    assert asked[2] == {"op": "session", "base": "ab" * 32}
    assert asked[0]["dir"] != asked[3]["dir"]


def test_a_failing_scenario_shrinks_to_its_reason() -> None:
    noise = [operation for seed in range(2) for operation in ScenarioMaker(seed).make()][:40]
    scenario = [*noise, {"op": "call", "fn": "run", "program": nested_trap(), "gas": 5}, *noise]

    def fails(candidate: list) -> bool:
        return any("call" in operation["op"] and has_nested_trap(operation) for operation in candidate)

    def has_nested_trap(operation: dict) -> bool:
        steps = operation.get("program", ())
        return any(step[0] == "call" and step[2] == 0 and ("trap",) in step[3] for step in steps)

    small = shrink(scenario, fails)
    assert len(small) == 1
    [(method, *_, inner, _function)] = small[0]["program"]
    assert (method, inner) == ("call", [("trap",)])


def test_a_seed_makes_the_same_scenario_again() -> None:
    first, second = ([performable(operation) for operation in ScenarioMaker(7).make()] for _ in range(2))
    assert first == second
    assert first != [performable(operation) for operation in ScenarioMaker(8).make()]


@pytest.mark.parametrize("seed", range(5))
def test_scenarios_open_what_they_use(seed: int) -> None:
    open_sessions, commits = set(), set()
    for operation in ScenarioMaker(seed).make():
        name = operation.get("in", "main")
        match operation["op"]:
            case "vm":
                open_sessions.clear()
            case "session":
                open_sessions.add(name)
                base = operation.get("base", "")
                assert not base.startswith("$") or base[1:] in commits
            case "commit":
                assert name in open_sessions
                commits.add(operation["as"])
                open_sessions.discard(name)
            case "call" | "deploy" | "root" | "drop":
                assert name in open_sessions
