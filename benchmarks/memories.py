"""Measures the lower half of the VM: calls, tracking, undo and paging, without sessions or a store. Needs no original.

    python benchmarks/memories.py [--large] [--outliers]

For each write tracker that works here: the parts of a call, instances and memories, and what large memories cost.
`--large` adds 1 GiB. `--outliers` calls some thousand times and tells for the slowest calls whether they computed,
waited, or collected garbage. Numbers are the best of several runs, because others are disturbed.
"""

from __future__ import annotations

import argparse
import gc
import resource
import struct
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from piecrust.vm import host, tracking
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.instance import Instance, apply_segments
from piecrust.vm.interface import HOST_FUNCTIONS
from piecrust.vm.memory import Memory
from piecrust.vm.modules import Modules
from piecrust.vm.undo import UndoLog

CONTRACTS = Path(__file__).resolve().parents[1] / "fixtures" / "contracts" / "bin"
GAS = 1 << 40
SCRATCH = 0x30000  # of the script contract
MIB = 1 << 20


class Stored:
    """A base state: pages in memory, as a store gives them. See `piecrust.vm.contents.PageSource`."""

    def __init__(self, pages: dict[int, bytes]) -> None:
        self._pages = pages

    def page(self, index: int) -> bytes | None:
        """A page, if there is one."""
        return self._pages.get(index)

    def indices(self, at_most: int) -> Sequence[int] | None:
        """Which pages there are, unless they are too many."""
        return sorted(self._pages) if len(self._pages) <= at_most else None

    def last(self) -> int:
        """The highest of them."""
        return max(self._pages, default=-1)


class Contract:
    """The script contract over a memory of its own."""

    def __init__(self, base: Stored | None = None, length: int | None = None) -> None:
        self.code = Modules().compile((CONTRACTS / "script.wasm").read_bytes())
        self.memory = Memory(32, length or self.code.initial_length, base)
        if base is None:
            apply_segments(self.code, self.memory)
        self.log = self.memory.log = UndoLog()
        self.instance = Instance(self.code, self.memory)

    def call(self, program: bytes) -> None:
        """A whole top-level call."""
        self.log.settle([self.memory])
        if program:
            self.memory.write(self.code.argument, program)
        self.instance.set_gas(GAS)
        length = self.instance.call("run", len(program))
        self.instance.remaining()
        self.memory.read(self.code.argument, length)
        self.instance.reset()

    def close(self) -> None:
        """Gives everything back."""
        self.instance.close()
        self.memory.close()


def add64(at: int) -> bytes:
    """A program of the script contract: adds one to the number at an address."""
    return b"\x03" + at.to_bytes(8, "little") + (1).to_bytes(8, "little")


def fill(first: int, pages: int) -> bytes:
    """Grows by so many pages and fills them."""
    length = pages * PAGE_BYTES
    return (
        b"\x05"
        + pages.to_bytes(4, "little")
        + b"\x04"
        + first.to_bytes(8, "little")
        + length.to_bytes(4, "little")
        + b"\7"
    )


def best_us(step: Callable[[], object], times: int) -> float:
    shortest = float("inf")
    for _ in range(5):
        begun = time.perf_counter()
        for _ in range(times):
            step()
        shortest = min(shortest, (time.perf_counter() - begun) / times)
    return shortest * 1e6


def once_ms(step: Callable[[], object]) -> float:
    begun = time.perf_counter()
    step()
    return (time.perf_counter() - begun) * 1e3


def report(name: str, value: float, unit: str = "us") -> None:
    print(f"  {name:48} {value:10.2f} {unit}")


def small(times: int = 4000) -> None:
    contract = Contract()
    memory, log, instance = contract.memory, contract.log, contract.instance
    for name, program in (("empty program", b""), ("one more page written", add64(SCRATCH))):
        for _ in range(100):
            contract.call(program)
        report(f"call: {name}", best_us(partial(contract.call, program), times))
    report("  of it: settle", best_us(lambda: log.settle([memory]), times))
    report(
        "  of it: set gas, read gas, reset",
        best_us(lambda: (instance.set_gas(GAS), instance.remaining(), instance.reset()), times),
    )

    def boundary() -> None:
        memory.write(SCRATCH, b"x")
        log.rollback(log.checkpoint([memory]), [memory])

    report("checkpoint and rollback, one granule written", best_us(boundary, times))
    report("memory: read 64 bytes", best_us(lambda: memory.read(SCRATCH, 64), times))
    report("memory: write 64 bytes", best_us(lambda: memory.write(SCRATCH, bytes(64)), times))
    report("instance: made, closed", best_us(lambda: Instance(contract.code, memory).close(), times // 4))
    pages = Stored({index: memory.page(index) for index in (0, 1, 2, 7)})
    report("memory: made with 4 pages, closed", best_us(lambda: Memory(32, 16 * PAGE_BYTES, pages).close(), times // 4))
    contract.close()


def large(mib: int) -> None:
    contract = Contract()
    pages = mib * MIB // PAGE_BYTES - 16
    report(f"{mib} MiB: written by one call", once_ms(lambda: contract.call(fill(16 * PAGE_BYTES, pages))), "ms")
    report(f"{mib} MiB: the next call", once_ms(lambda: contract.call(b"")), "ms")
    contract.call(add64(SCRATCH))
    report(f"{mib} MiB: call, one more page written", best_us(lambda: contract.call(add64(SCRATCH)), 500))
    report(f"{mib} MiB: read by one call", once_ms(lambda: contract.call(read_over(pages))), "ms")
    contract.close()


def read_over(pages: int) -> bytes:
    """A program that reads one number in each of so many pages."""
    load = "<BQI"
    return b"".join(struct.pack(load, 2, at * PAGE_BYTES, 8) for at in range(16, 16 + min(pages, 2000)))


def paged(count: int = 1000) -> None:
    content = bytes(range(256)) * 256
    contract = Contract()
    base = {index: contract.memory.page(index) for index in range(16)}
    contract.close()
    contract = Contract(Stored(base | dict.fromkeys(range(16, 16 + count), content)), (16 + count) * PAGE_BYTES)
    contract.call(b"")
    milliseconds = once_ms(lambda: contract.call(read_over(count)))
    report("page brought to a contract", milliseconds * 1000 / count)
    contract.close()


def outliers(times: int = 20_000, shown: int = 12) -> None:
    contract = Contract()
    collections: list[tuple[float, int]] = []

    def note(phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            collections.append((time.perf_counter(), info["generation"]))

    gc.callbacks.append(note)
    kept, calls = [], []
    for _ in range(times):
        before, cpu, begun = resource.getrusage(resource.RUSAGE_THREAD), time.thread_time(), time.perf_counter()
        contract.call(add64(SCRATCH))
        kept.append([{}])  # as a session keeps what happened in it
        ended = time.perf_counter()
        after = resource.getrusage(resource.RUSAGE_THREAD)
        generations = [generation for at, generation in collections[-2:] if begun <= at <= ended]
        calls.append(
            (
                (ended - begun) * 1e6,
                (time.thread_time() - cpu) * 1e6,
                after.ru_nivcsw - before.ru_nivcsw,
                after.ru_minflt - before.ru_minflt,
                generations,
            )
        )
    gc.callbacks.remove(note)
    contract.close()
    by_time = sorted(calls, key=lambda call: call[0], reverse=True)
    print(f"  p50 {by_time[times // 2][0]:.1f} us, p99 {by_time[times // 100][0]:.1f} us; the slowest:")
    for wall, cpu, switches, faults, generations in by_time[:shown]:
        collected = f", garbage of generation {generations} collected" if generations else ""
        print(f"  {wall:9.0f} us, {cpu:9.0f} us computing; preempted {switches}, page faults {faults}{collected}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--outliers", action="store_true")
    arguments = parser.parse_args()
    host.install(dict.fromkeys(HOST_FUNCTIONS[False], lambda *_: 0))
    for name in tracking.NAMES:
        try:
            tracking.select(name)
        except OSError as error:
            print(f"{name}: {error}")
            continue
        print(name)
        if arguments.outliers:
            outliers()
            continue
        small()
        paged()
        for mib in (64, 1024) if arguments.large else (64,):
            large(mib)


if __name__ == "__main__":
    main()
