"""Any sequence of commands gives the commit that one library session with the same calls gives."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from piecrust import VM, CallFailed, ContractId
from piecrust.rkyv import i16, u32, u64
from piecrust.vm import stack
from piecrust.vm.session import Session
from support.command import Command, contract_file
from support.fixtures import contract

OWNER = bytes([7]) * 32
ALIASES = ("one", "two", "three")
IDS = {alias: ContractId(bytes([number]) * 32) for number, alias in enumerate(ALIASES, 1)}

Step = tuple[str, ...]

deploys = st.tuples(st.just("deploy"), st.sampled_from(ALIASES), st.sampled_from(("counter", "box", "eventer")))
calls = st.one_of(
    st.tuples(st.just("call"), st.sampled_from(ALIASES), st.just("increment")),
    st.tuples(st.just("call"), st.sampled_from(ALIASES), st.just("set"), st.integers(-9, 9).map(str)),
    st.tuples(st.just("call"), st.sampled_from(ALIASES), st.just("emit_and_panic"), st.just("2")),
    st.tuples(st.just("call"), st.sampled_from(ALIASES), st.just("emit_numbers"), st.just("1")),
    st.tuples(st.just("query"), st.sampled_from(ALIASES), st.just("read_value")),
    st.tuples(st.just("meta"), st.sampled_from(("height", "name")), st.integers(0, 9).map(str)),
)
histories = st.lists(st.lists(st.one_of(deploys, calls), min_size=1, max_size=6), min_size=1, max_size=3)
TYPES = {"set": ("i16", i16), "emit_and_panic": ("u32", u32), "emit_numbers": ("u32", u32)}


def by_command(piecrust: Command, step: Step) -> None:
    match step:
        case ("deploy", alias, name):
            piecrust("deploy", contract_file(name), "--id", IDS[alias].hex(), code=None)
        case ("meta", name, value):
            piecrust("meta", "set", name, f"u64:{value}")
        case (kind, alias, function, *rest):
            words = [f"{TYPES[function][0]}:{word}" for word in rest]
            piecrust(kind, IDS[alias].hex(), function, *words, code=None)


def by_library(session: Session, step: Step) -> None:
    match step:
        case ("deploy", alias, name):
            with suppress(CallFailed):
                session.deploy(contract(name), OWNER, contract_id=IDS[alias])
        case ("meta", name, value):
            session.set_meta(name, u64(int(value)))
        case (kind, alias, function, *rest):
            with suppress(CallFailed):
                getattr(session, kind)(IDS[alias], function, *(TYPES[function][1](int(word)) for word in rest))


@pytest.fixture(autouse=True)
def _room() -> None:
    """Calls raise the recursion limit, which Hypothesis does not like to see in the middle of a test."""
    stack.ensure_room()


@given(histories)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_commits_are_those_of_one_session(tmp_path: Path, code_cache: Path, history: list[list[Step]]) -> None:
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    piecrust = Command(folder / "command", code_cache)
    piecrust.directory.mkdir(parents=True)
    piecrust("init")
    with VM(folder / "library", cache_directory=code_cache, sync=False) as vm:
        for steps in history:
            base = "main" if "main" in vm.branches else None
            with vm.session(base, branch="main") as session:
                for step in steps:
                    by_command(piecrust, step)
                    by_library(session, step)
                assert piecrust("root").stdout.strip() == session.root().hex()
                commit = session.commit("done")
            made = piecrust.json("commit", "-m", "done", "--allow-empty")
            assert made["commit"] == commit.hex()
            assert made["state_root"] == vm.commit_info(commit).state_root.hex()
