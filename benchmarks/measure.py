"""Measuring: latencies, sides in turn, what is asked of disk and memory, and rows that compare two sides."""

from __future__ import annotations

import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class Row:
    """One measured thing on both sides. `ratio` is ours / the rival's; `target` is what it should be at most.

    Where a row has no rival, or a target in its own unit, `limit` is the most that `ours` should be.
    """

    name: str
    unit: str
    ours: float
    rival: float | None = None
    target: float | None = None
    limit: float | None = None

    @property
    def ratio(self) -> float | None:
        """Ours / the rival's, None without a rival."""
        return self.ours / self.rival if self.rival else None

    @property
    def holds(self) -> bool | None:
        """Whether the targets are met; None if there are none."""
        verdicts = []
        if self.target is not None and self.ratio is not None:
            verdicts.append(self.ratio <= self.target)
        if self.limit is not None:
            verdicts.append(self.ours <= self.limit)
        return all(verdicts) if verdicts else None

    def json(self) -> str:
        """The row as one line."""
        return json.dumps({**asdict(self), "ratio": self.ratio, "holds": self.holds})


def table(rows: list[Row], rival: str = "original") -> str:
    """The rows as text, for reading; `rival` is who is measured beside."""
    width = max((len(named(row)) for row in rows), default=0)
    lines = [f"{'':{width}} {'ours':>12} {rival:>12} {'ratio':>7} {'target':>9}"]
    for row in rows:
        numbers = f"{number(row.ours):>12} {number(row.rival):>12} {number(row.ratio):>7}"
        lines.append(f"{named(row):{width}} {numbers} {goal(row):>9} {verdict(row)}".rstrip())
    return "\n".join(lines)


def markdown(rows: list[Row], rival: str = "original") -> str:
    """The rows as a table of Markdown."""
    lines = [f"| | piecrust | {rival} | ratio | target |", "| --- | --: | --: | --: | --: |"]
    for row in rows:
        numbers = [number(value) for value in (row.ours, row.rival, row.ratio)]
        lines.append(f"| {' | '.join([named(row), *numbers, f'{goal(row)} {verdict(row)}'.strip()])} |")
    return "\n".join(lines)


def named(row: Row) -> str:
    return f"{row.name}, {row.unit}" if row.unit else row.name


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def goal(row: Row) -> str:
    goals = [f"x{row.target:g}"] if row.target is not None else []
    if row.limit is not None:
        goals.append(f"{row.limit:g}")
    return " ".join(goals)


def verdict(row: Row) -> str:
    return {True: "", False: "missed", None: ""}[row.holds]


@dataclass(frozen=True)
class Latencies:
    """Microseconds of repeated steps, in ascending order."""

    sorted_us: list[float]

    @property
    def p50(self) -> float:
        """The median."""
        return self.percentile(50)

    @property
    def p99(self) -> float:
        """What one step in a hundred exceeds."""
        return self.percentile(99)

    def percentile(self, percent: int) -> float:
        """What `percent` of the steps don't exceed."""
        return self.sorted_us[(len(self.sorted_us) - 1) * percent // 100]


class Stopwatch:
    """Collects latencies of steps by name."""

    def __init__(self) -> None:
        self._nanoseconds: dict[str, list[int]] = {}

    def time(self, name: str, step: Callable[[], object]) -> object:
        """Performs a step, and gives what it gives."""
        begun = time.perf_counter_ns()
        result = step()
        self._nanoseconds.setdefault(name, []).append(time.perf_counter_ns() - begun)
        return result

    def __getitem__(self, name: str) -> Latencies:
        return Latencies(sorted(nanoseconds / 1000 for nanoseconds in self._nanoseconds[name]))


def repeat(step: Callable[[], object], times: int) -> Latencies:
    """Latencies of a step that is performed many times in a row."""
    watch = Stopwatch()
    for _ in range(times):
        watch.time("step", step)
    return watch["step"]


Measured = Mapping[str, float]
"""What one round of a side gave, by name."""


def in_turn(rounds: int, *sides: Callable[[], Measured] | None) -> list[dict[str, float]]:
    """The medians over the rounds of what each side measures; the sides take turns, so that all meet the same machine.

    Who goes first changes from round to round. A side that is not there (None) gives nothing.
    """
    given: list[list[Measured]] = [[] for _ in sides]
    for number in range(rounds):
        for turn in range(len(sides)):
            side = (number + turn) % len(sides)
            measured = sides[side]
            if measured is not None:
                with quiet():
                    given[side].append(measured())
    return [medians(each) for each in given]


def medians(given: list[Measured]) -> dict[str, float]:
    """The median of each name, over all rounds."""
    return {name: statistics.median(measured[name] for measured in given) for name in (given[0] if given else ())}


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps the collector of cyclic garbage out of what is measured."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Traffic:
    """Counts what this process asks of the disk: the bytes that it writes, and how often it makes them durable."""

    def __init__(self) -> None:
        self.syncs = 0
        self.bytes_written = 0

    def __enter__(self) -> Self:
        self._fsync, self._fdatasync, self._pwrite = os.fsync, os.fdatasync, os.pwrite
        os.fsync, os.fdatasync, os.pwrite = self._counted_fsync, self._counted_fdatasync, self._counted_pwrite
        return self

    def __exit__(self, *_: object) -> None:
        os.fsync, os.fdatasync, os.pwrite = self._fsync, self._fdatasync, self._pwrite

    def _counted_fsync(self, descriptor: int) -> None:
        self.syncs += 1
        self._fsync(descriptor)

    def _counted_fdatasync(self, descriptor: int) -> None:
        self.syncs += 1
        self._fdatasync(descriptor)

    def _counted_pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        written = self._pwrite(descriptor, data, offset)
        self.bytes_written += written
        return written


def forget_files(folder: Path) -> None:
    """Takes the files below a folder out of the system's cache, as far as nobody has them mapped."""
    os.sync()
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def resident_bytes(process: int) -> int | None:
    """The memory of a process, shared pages in proportion; None where the system does not tell."""
    try:
        rollup = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    return next(1024 * int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def machine(folder: Path) -> str:
    """Processor, kernel, file system and Python, in a line."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    mounts = [line.split()[1:3] for line in _lines("/proc/mounts")]
    below = [(mount, kind) for mount, kind in mounts if folder.resolve().is_relative_to(mount)]
    kind = max(below, key=lambda each: len(each[0]))[1] if below else "unknown file system"
    return (
        f"{os.cpu_count()} cores ({processor}), {platform.system()} {platform.release()}, {kind}, "
        f"Python {platform.python_version()}, wasmtime {version('wasmtime')}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def bytes_in(folder: Path) -> int:
    """The length of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
