"""Measuring: latencies, what is asked of the disk, the bytes of a directory, and rows that compare two sides."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
    lines = [f"{'':44} {'ours':>12} {rival:>12} {'ratio':>7} {'target':>9}"]
    return "\n".join([*lines, *map(line, rows)])


def line(row: Row) -> str:
    named = f"{row.name}, {row.unit}" if row.unit else row.name
    numbers = f"{number(row.ours):>12} {number(row.rival):>12} {number(row.ratio):>7}"
    return f"{named:44} {numbers} {goal(row):>9} {verdict(row)}".rstrip()


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


def bytes_in(folder: Path) -> int:
    """The length of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
