"""Many sessions in many threads on shared bases: every root and receipt as when they run one by one."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from piecrust import VM, CallFailed, CommitId, ContractId, StateRoot

from support.fixtures import contract
from support.programs import SCRATCH, Program

CONTRACTS = tuple(ContractId(bytes(31) + bytes([n])) for n in (1, 2, 3))


@dataclass(frozen=True)
class Plan:
    """One session: the base it starts from, the programs it runs, and whether it commits."""

    base: CommitId
    calls: tuple[tuple[ContractId, bytes], ...]
    commits: bool


@dataclass(frozen=True)
class Result:
    """What came of a session."""

    outcomes: tuple[tuple[str, bytes, int], ...]
    root: StateRoot
    commit: CommitId | None


def bases(vm: VM) -> list[CommitId]:
    """A few commits on one line."""
    with vm.session() as session:
        for name in CONTRACTS:
            session.deploy(contract("script"), b"owner", contract_id=name)
        made = [session.commit()]
    for number in range(3):
        with vm.session(made[-1]) as session:
            session.call(CONTRACTS[number], "run", Program().store(SCRATCH, f"base {number}").bytes())
            made.append(session.commit())
    return made


def plans(on: Sequence[CommitId], count: int, seed: int) -> list[Plan]:
    """Sessions that differ from one another."""
    rng = random.Random(seed)
    return [Plan(rng.choice(on), tuple(_calls(rng)), commits=rng.random() < 0.3) for _ in range(count)]


def _calls(rng: random.Random) -> Iterator[tuple[ContractId, bytes]]:
    for _ in range(rng.randint(1, 4)):
        inner = Program().add64(SCRATCH + 8 * rng.randrange(20_000), rng.randrange(1 << 32))
        if rng.random() < 0.3:
            inner = inner.grow(1)
        if rng.random() < 0.3:
            inner = inner.panic("as planned")
        program = Program().add64(SCRATCH, 1).call(rng.choice(CONTRACTS), 0, inner).load(SCRATCH, 16)
        if rng.random() < 0.2:
            program = program.trap()
        yield rng.choice(CONTRACTS), program.bytes()


def perform(vm: VM, plan: Plan) -> Result:
    """Runs one session."""
    outcomes: list[tuple[str, bytes, int]] = []
    with vm.session(plan.base) as session:
        for name, program in plan.calls:
            try:
                receipt = session.call_raw(name, "run", program)
                outcomes.append(("ok", receipt.data, receipt.gas_spent))
            except CallFailed as error:
                outcomes.append((error.kind or "", b"", 0))
        root = session.root()
        commit = session.commit() if plan.commits else None
    return Result(tuple(outcomes), root, commit)


def differences(vm: VM, *, threads: int, sessions: int, seed: int) -> list[tuple[Plan, Result, Result]]:
    """Plans whose result in one of many threads is another one than alone."""
    work = plans(bases(vm), threads * sessions, seed)
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(lambda plan: perform(vm, plan), work))
    alone = [perform(vm, plan) for plan in work]
    return [(plan, a, b) for plan, a, b in zip(work, alone, together, strict=True) if a != b]
