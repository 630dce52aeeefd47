"""Losing power at every point of short runs; `benchmarks/crash_states.py` explores many more states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from piecrust.objects import publisher, upkeep
from piecrust.objects.disk import File
from support.crashes import Run, check, explore, keep_up, open_simulated, rotate, states
from support.simulated_disk import SimulatedDisk, SimulatedFile


def creating(run: Run) -> None:
    run.create()


def committing(run: Run) -> None:
    run.disk = run.disk.killed()
    with run.open() as store:
        first = run.commit(store, 1)
        run.commit(store, 2, first)
    with run.open() as store:
        run.commit(store, 3, first)


def rotating(run: Run) -> None:
    with run.open() as store:
        first = run.commit(store, 1)
        rotate(store)
        second = run.commit(store, 2, first)
        rotate(store)
        run.commit(store, 3, second)


def batching(run: Run) -> None:
    with run.open() as store:
        first = run.commit(store, 1)
        with store.batch():
            # Neither is acknowledged before the batch ends.
            run.commit(store, 3, run.commit(store, 2, first, acknowledge=False), acknowledge=False)
        for commit in store.commits():
            run.disk.mark(commit)


def writing_much(run: Run) -> None:
    """Objects in frames of their own, ahead of the one that counts, and one sync for all of them."""
    frame_bytes, publisher.FRAME_BYTES = publisher.FRAME_BYTES, 2000
    try:
        with run.open() as store:
            first = run.commit(store, 1)
            run.commit(store, 2, first, filler=9000)
    finally:
        publisher.FRAME_BYTES = frame_bytes


def sealing(run: Run) -> None:
    with run.open() as store:
        first = run.commit(store, 1)
        run.commit(store, 2, first)
        store.seal()
        run.commit(store, 3, first)


def making_tables(run: Run) -> None:
    with run.open() as store:
        head = None
        for number in range(4):
            head = run.commit(store, number, head)
            keep_up(store)
        rotate(store)
        keep_up(store)
        run.commit(store, 9, head)


SCENARIOS: list[Callable[[Run], None]] = [committing, rotating, batching, writing_much, sealing, making_tables]


@pytest.fixture(autouse=True)
def _little_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "FRESH_OBJECTS_MAX", 1)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_power_may_go_at_any_time(scenario: Callable[[Run], None]) -> None:
    run = Run()
    run.create()
    run.synced()
    scenario(run)
    states_max = max(2, 600 // len(run.disk.events))
    assert explore(run, states_max=states_max, seed=1) > 400


def test_power_may_go_while_a_store_is_made() -> None:
    run = Run()
    creating(run)
    assert explore(run, states_max=24, seed=2) > 300


def test_power_may_go_again_while_the_store_recovers() -> None:
    run = Run()
    run.create()
    run.synced()
    rotating(run)
    count = 0
    for disk, marks in list(states(run, states_max=1, seed=3))[::12]:
        again = Run(disk, dict(run.contents))
        again.synced()
        for mark in marks:
            disk.mark(mark)
        with again.open() as store:
            again.commit(store, 9, store.refs().get("heads/main"))
        count += explore(again, states_max=2, seed=count)
    assert count > 200


def test_the_process_may_be_killed_at_any_time() -> None:
    run = Run()
    run.create()
    kinds: list[SimulatedDisk] = []
    for scenario in SCENARIOS:
        part = Run(run.disk.killed(), run.contents)
        # A disk whose calls are counted dies at the n-th change, for every n.
        scenario(part)
        for stop in range(len(part.disk.events)):
            dead = part.disk.replayed(run.disk.killed(), stop)
            marks = ["created", *(event.mark for event in part.disk.events[:stop] if event.name == "mark")]
            check(part, dead, marks)
            kinds.append(dead)
    assert len(kinds) > 60


def test_leaving_out_the_sync_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_sync(file: File) -> None: ...

    run = Run()
    run.create()
    run.synced()
    monkeypatch.setattr(SimulatedFile, "sync", no_sync)
    with open_simulated(run.disk) as store:
        run.commit(store, 2, run.commit(store, 1))
    monkeypatch.undo()
    with pytest.raises(AssertionError, match="lost"):
        explore(run, states_max=24, seed=4)
