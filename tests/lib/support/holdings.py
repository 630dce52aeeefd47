"""What a process holds: memory, mappings, file descriptors, threads."""

from __future__ import annotations

import contextlib
import gc
import threading
from dataclasses import dataclass
from pathlib import Path

from piecrust import VM, CallFailed, CommitId, ContractId

from support.fixtures import contract
from support.programs import SCRATCH, Program

A = ContractId(bytes(31) + b"\1")
WARM_UP = 300  # fills the pool of memories
RESIDENT_SLACK = 64 << 20  # bytes: the cache of decoded objects fills up
MAPPINGS_SLACK = 40
DESCRIPTORS_SLACK = 4  # tables of the store's index: as many more as its commits have digits


@dataclass(frozen=True)
class Holdings:
    """Counts of one moment; `resident` is in bytes."""

    resident: int
    mappings: int
    descriptors: int
    threads: int

    @classmethod
    def now(cls) -> Holdings:
        gc.collect()
        own = Path("/proc/self")
        resident = int((own / "statm").read_text().split()[1]) * 4096
        mappings = len((own / "maps").read_text().splitlines())
        return cls(resident, mappings, len(list((own / "fd").iterdir())), threading.active_count())

    def grew_from(self, before: Holdings) -> bool:
        """Whether anything is held that was not held before, beyond what caches may take."""
        return (
            self.resident > before.resident + RESIDENT_SLACK
            or self.mappings > before.mappings + MAPPINGS_SLACK
            or self.descriptors > before.descriptors + DESCRIPTORS_SLACK
            or self.threads > before.threads
        )


def holdings_over_sessions(vm: VM, count: int) -> tuple[Holdings, Holdings]:
    """What is held before and after so many sessions, of every way to end."""
    with vm.session() as session:
        session.deploy(contract("script"), b"owner", contract_id=A)
        base = session.commit()
    for number in range(WARM_UP):
        _session(vm, base, number)
    before = Holdings.now()
    for number in range(WARM_UP, WARM_UP + count):
        _session(vm, base, number)
    return before, Holdings.now()


def _session(vm: VM, base: CommitId, number: int) -> None:
    session = vm.session(base)
    session.call(A, "run", Program().store(SCRATCH, f"{number}").call(A, 0, Program().grow(1)).bytes())
    if number % 2:
        with contextlib.suppress(CallFailed):
            session.call(A, "run", Program().store(SCRATCH, b"lost").trap().bytes())
    match number % 4:
        case 0:
            session.close()
        case 1:
            vm.delete_commit(session.commit())
        case 2:
            session.rollback()
            session.close()
        case _:
            session.deploy(contract("counter"), b"owner")  # and dropped without a word
