"""Calls in a session that has called before."""

from __future__ import annotations

from collections.abc import Iterator

from bench import Bench, Call, call, open_original
from measure import Measured, Row, in_turn, repeat
from piecrust import VM
from piecrust.vm.session import Session
from reference import SCRATCH, Program
from subjects import ALL, COUNTER, GAS, OTHER, SCRIPT, deploy, deploy_original

WARM_UP = 20


def rows(bench: Bench) -> Iterator[Row]:
    """Small calls, nested ones, and calls that ask the host."""
    with VM.ephemeral(cache_directory=bench.code) as vm:
        vm.register_host_query("identity", lambda argument: argument)
        with vm.session() as session:
            deploy(session, ALL)
            if bench.original is not None:
                open_original(bench.original, None)
                deploy_original(bench.original, ALL)
            for name, what, target in subjects():
                yield call_row(bench, session, name, what, target, bench.effort.calls)
            for name, what, target in nesting_subjects():
                yield call_row(bench, session, name, what, target, max(1, bench.effort.calls // 5))


def subjects() -> Iterator[tuple[str, Call, float]]:
    """Names, calls, and the ratios that they should have at most."""
    yield "call: counter.read_value", Call(COUNTER, "read_value"), 0.5
    yield "call: counter.increment", Call(COUNTER, "increment"), 0.5
    queries, events = Program(), Program()
    for _ in range(10):
        queries.query("identity", bytes(8))
        events.emit("topic", bytes(8))
    for name, program, target in (
        ("empty program", Program(), 0.35),
        ("one more page written", Program().add64(SCRATCH, 1), 0.25),
        ("10 host queries", queries, 0.8),
        ("10 events", events, 0.8),
    ):
        yield f"call: {name}", Call(SCRIPT, "run", program.bytes()), target


def nesting_subjects() -> Iterator[tuple[str, Call, float]]:
    """The same of calls that call contracts, and take longer."""
    deep = Program()
    for level in range(39):
        deep = Program().call(SCRIPT if level % 2 else OTHER, 0, deep)
    for name, program, target in (
        ("10 nested calls", ten_calls(), 0.4),
        ("10 failing nested calls", ten_failing_calls(), 0.6),
        ("40 deep", deep, 0.4),
    ):
        yield f"call: {name}", Call(SCRIPT, "run", program.bytes()), target


def ten_calls() -> Program:
    nested = Program()
    for _ in range(10):
        nested.call(OTHER, 0, Program())
    return nested


def ten_failing_calls() -> Program:
    """Each writes into a page and panics."""
    nested = Program()
    for _ in range(10):
        nested.call(OTHER, 1_000_000, Program().store(SCRATCH, b"x").panic("no"))
    return nested


def call_row(bench: Bench, session: Session, name: str, what: Call, target: float, times: int) -> Row:
    """A call that is repeated in one session, on both sides."""
    original = bench.original

    def ours() -> Measured:
        return {
            "call": repeat(
                lambda: session.call_raw(what.contract, what.function, what.argument, gas_limit=GAS), times
            ).p50
        }

    def rival() -> Measured:
        assert original is not None
        return {"call": original.ask("bench_calls", times=times, **what.fields())["call_us"]["p50"]}

    for _ in range(WARM_UP):
        call(session, what)
    if original is not None:
        original.ask("bench_calls", times=WARM_UP, **what.fields())
    mine, theirs = in_turn(bench.effort.rounds, ours, rival if original is not None else None)
    return Row(name, "us", mine["call"], theirs.get("call"), target)
