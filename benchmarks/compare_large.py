"""Large memories: many new pages in one commit, one changed page among many, nested calls, and many open sessions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from bench import Bench, Call, Chain, OriginalChain, call, in_process, open_original
from compare_calls import call_row, ten_calls
from measure import Measured, Row, Stopwatch, in_turn, resident_bytes
from piecrust import VM
from piecrust.objects.ids import CommitId
from piecrust.objects.page import PAGE_BYTES
from reference import INITIAL_PAGES, Original, Program
from subjects import (
    OTHER,
    PAGES,
    SCRIPT,
    deploy,
    deploy_original,
    deploy_pages,
    deploy_pages_original,
    pages_of,
    words,
)
from systems import address
from systems import filling as filling_script

MIB = 1 << 20
TOUCH = Call(PAGES, "touch", words(77, 1, 5))  # page 77 of the contract
CHANGES = 20
SEED_PAGES = 64


def rows(bench: Bench) -> Iterator[Row]:
    """Needs four gigabytes of memory, and as much room on the disk."""
    yield from new_pages_rows(bench)
    yield from changed_page_rows(bench)
    yield nested_row(bench)
    yield from resident_rows(bench)


def new_pages_rows(bench: Bench) -> Iterator[Row]:
    """One commit of pages of machine code, the same bytes on both sides.

    A few of them come in an earlier commit; a contract makes the others of these. Else they would be arguments, which
    our transcripts keep, and the commit would be of twice as many bytes. The disk is idle when it begins. Where a
    virtual machine gets its memory from the host on the first touch, that is the larger part of what a commit takes,
    and varies tenfold: only a ratio of one run means something.
    """
    original = bench.original
    length = bench.effort.new_bytes
    pages = length // PAGE_BYTES
    first = filling_script(pages_of(min(SEED_PAGES, pages)))
    then = multiplying(min(SEED_PAGES, pages), pages)

    def ours() -> Measured:
        with bench.vm(bench.empty()) as vm:
            with vm.session() as session:
                deploy(session, (SCRIPT,))
                for what in first:
                    call(session, what)
                base = session.commit()
            with vm.session(base) as session:
                for what in then:
                    call(session, what)
                os.sync()
                watch = Stopwatch()
                watch.time("commit", session.commit)
                return {"commit": watch["commit"].p50 / 1000}

    def rival() -> Measured:
        assert original is not None
        open_original(original, bench.empty())
        deploy_original(original, (SCRIPT,))
        for what in first:
            original.ask("call", **what.fields())
        original.ask("session", base=original.ask("commit")["root"])
        for what in then:
            original.ask("call", **what.fields())
        os.sync()
        commit = original.ask("commit")["us"] / 1000
        begun = time.perf_counter()
        os.sync()
        return {"commit": commit, "durable": commit + 1000 * (time.perf_counter() - begun)}

    mine, theirs = in_turn(bench.effort.rounds, ours, rival if original is not None else None)
    name = f"commit of {length // MIB} MiB of new machine code, durable"
    yield Row(name, "ms", mine["commit"], theirs.get("commit"), 0.4)
    if original is not None:
        yield Row("the same, the original's files synced, too", "ms", mine["commit"], theirs["durable"])


def multiplying(seed: int, pages: int) -> list[Call]:
    """Calls that make so many new pages of the first ones of the script contract, each with its number at the start."""
    programs = [Program().grow(pages)]
    for start in range(seed, seed + pages, seed):
        program = Program().copy(address(start), address(0), seed * PAGE_BYTES)
        for number in range(start, start + seed):
            program.store(address(number), number.to_bytes(4, "little"))
        programs.append(program)
    return [Call(SCRIPT, "run", program.bytes()) for program in programs]


def changed_page_rows(bench: Bench) -> Iterator[Row]:
    """Commits that change one page of a contract, half as large and as large as it gets."""
    original, took, largest = bench.original, {}, bench.effort.large_bytes
    with bench.vm(bench.empty()) as vm:
        base, their_base = None, None
        theirs_at = bench.empty()
        if original is not None:
            original.ask("vm", dir=str(theirs_at))
        for length in (largest // 2, largest):
            base = filled(vm, base, length)
            vm.store.seal()  # else it would be done meanwhile, and the disk be busy with it
            rival = None
            if original is not None:
                their_base = filled_original(original, their_base, length)
                rival = OriginalChain(original, TOUCH, their_base, CHANGES)
            os.sync()
            mine, theirs = in_turn(bench.effort.rounds, Chain(vm, TOUCH, base, CHANGES), rival)
            took[length] = mine["whole"]
            name = f"{length // MIB} MiB, one page changed: session + call + durable commit"
            yield Row(name, "us", mine["whole"], theirs.get("whole"), 0.35)
    name = f"the same, {largest // MIB} MiB / {largest // 2 // MIB} MiB"
    yield Row(name, "", took[largest] / took[largest // 2], limit=1.3)


def filled(vm: VM, base: CommitId | None, length: int) -> CommitId:
    """A commit of the contract with that length, all its pages but the first full of noise."""
    with vm.session(base) as session:
        if base is None:
            deploy_pages(session, 0)
        for what in filling(session.memory_len(PAGES) // PAGE_BYTES, length // PAGE_BYTES):
            call(session, what)
        return session.commit()


def filled_original(original: Original, base: str | None, length: int) -> str:
    original.ask("session", **({} if base is None else {"base": base}))
    if base is None:
        deploy_pages_original(original, 0)
    before = INITIAL_PAGES if base is None else original.ask("memory_len", contract=PAGES.hex())["len"] // PAGE_BYTES
    for what in filling(before, length // PAGE_BYTES):
        original.ask("call", **what.fields())
    return original.ask("commit")["root"]


def filling(before: int, after: int) -> Iterator[Call]:
    """Calls that make a contract longer and fill what is new; of a new contract, what it began with, too."""
    first = 1 if before == INITIAL_PAGES else before
    if after > before:
        yield Call(PAGES, "grow", words(after - before))
    yield Call(PAGES, "noise", words(first, after - first, after))


def nested_row(bench: Bench) -> Row:
    """Nested calls of a contract with much memory, all of it written in this session."""
    length = bench.effort.large_bytes
    first, pages = INITIAL_PAGES, length // PAGE_BYTES - INITIAL_PAGES
    fill = Program().grow(pages).fill(first * PAGE_BYTES, pages * PAGE_BYTES, 7)
    large = Call(SCRIPT, "run", fill.bytes())
    with VM.ephemeral(cache_directory=bench.code) as vm, vm.session() as session:
        deploy(session, (SCRIPT, OTHER))
        call(session, large)
        if bench.original is not None:
            open_original(bench.original, None)
            deploy_original(bench.original, (SCRIPT, OTHER))
            bench.original.ask("call", **large.fields())
        what = Call(SCRIPT, "run", ten_calls().bytes())
        return call_row(bench, session, f"call: 10 nested calls, {length // MIB} MiB resident", what, 0.6, times=100)


def resident_rows(bench: Bench) -> Iterator[Row]:
    """What a process takes that has many sessions open on a contract, each after one call that wrote a page."""
    if resident_bytes(os.getpid()) is None:
        return
    length, sessions = bench.effort.new_bytes, bench.effort.sessions
    directory, theirs_at = bench.empty(), bench.empty()
    with bench.vm(directory) as vm:
        base = filled(vm, None, length)
    their_base = ""
    if bench.original is not None:
        bench.original.ask("vm", dir=str(theirs_at))
        their_base = filled_original(bench.original, None, length)
        bench.original.ask("vm")

    def ours() -> Measured:
        alone, whole = in_process(resident_of_sessions, directory, bench.code, base, sessions)
        return {"sessions": (whole - alone) / MIB, "whole": whole / MIB}

    def rival() -> Measured:
        with Original() as original:
            original.ask("vm", dir=str(theirs_at))
            alone = resident_bytes(original.process)
            for number in range(sessions):
                original.ask("session", base=their_base, **{"in": str(number)})
                original.ask("call", **TOUCH.fields(), **{"in": str(number)})
            whole = resident_bytes(original.process)
            return {"sessions": (whole - alone) / MIB, "whole": whole / MIB}

    mine, theirs = in_turn(bench.effort.rounds, ours, rival if bench.original is not None else None)
    name = f"memory of {sessions} open sessions on {length // MIB} MiB"
    yield Row(name, "MiB", mine["sessions"], theirs.get("sessions"), 0.5)
    yield Row("the same with all of the process (Python, wasmtime)", "MiB", mine["whole"], theirs.get("whole"))


def resident_of_sessions(directory: Path, code: Path, base: CommitId, count: int) -> tuple[int, int]:
    """The memory of this process with a VM alone, and with so many sessions."""
    with VM(directory, cache_directory=code) as vm:
        alone, sessions = resident_bytes(os.getpid()), []
        for _ in range(count):
            sessions.append(vm.session(base))
            call(sessions[-1], TOUCH)
        resident = resident_bytes(os.getpid())
        for session in sessions:
            session.close()
    assert alone is not None
    assert resident is not None
    return alone, resident
