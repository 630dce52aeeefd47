"""The same versions of the same pages kept by other stores."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from bench import Bench
from measure import Measured, Row, in_turn
from rivals import installed
from subjects import pages_of
from systems import Piecrust, System, TheOriginal

PAGES = 16
READS = 3

# name as measured, name of the row, unit
MEASURES = (
    ("p50", "commit of one changed page", "us"),
    ("p99", "commit of one changed page, p99", "us"),
    ("bytes", "bytes per commit", "bytes"),
    ("read", "open the store, read an old version", "us"),
)


def rows(bench: Bench) -> Iterator[Row]:
    """Names of rows are `system: measure`."""
    ours, *others = (begin() for begin in beginnings(bench))
    try:
        mine, *theirs = measured(bench, [ours, *others])
    finally:
        for system in (ours, *others):
            system.close()
    for key, name, unit in MEASURES:
        for system, each in zip(others, theirs, strict=True):
            if key in each:
                yield Row(f"{system.name}: {name}", unit, mine[key], each[key])


def beginnings(bench: Bench) -> list[Callable[[], System]]:
    """How to make an empty store of each system, ours first."""
    original = bench.original
    makers: list[Callable[[], System]] = [lambda: Piecrust(bench.empty(), bench)]
    if original is not None:
        makers.append(lambda: TheOriginal(bench.empty(), original))
    return makers + [lambda rival=rival: rival(bench.empty()) for rival in installed()]


def measured(bench: Bench, all_systems: list[System]) -> list[dict[str, float]]:
    """All in turn."""
    for system in all_systems:
        system.fill(pages_of(PAGES))
    return in_turn(bench.effort.rounds, *(side(bench, system) for system in all_systems))


def side(bench: Bench, system: System) -> Callable[[], Measured]:
    """A round of a system: commits, then reads of versions that the rounds before made."""
    versions, times = [0], bench.effort.commits // 2
    noise = random.Random(1)

    def once() -> Measured:
        before = system.used_bytes()
        took = system.commits(times)
        given = {"p50": took.p50, "bytes": (system.used_bytes() - before) / times}
        if len(took.sorted_us) == times:
            given["p99"] = took.p99
        reads = sorted(system.read_old_us(noise.choice(versions)) for _ in range(READS))
        versions.append(versions[-1] + times)
        return {**given, "read": reads[READS // 2]}

    return once
