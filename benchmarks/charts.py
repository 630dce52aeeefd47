"""Draws what a version costs, by how many there are and by how large the contract is; all axes are logarithmic."""

from __future__ import annotations

import math
import time
from contextlib import closing
from itertools import chain
from pathlib import Path

from bench import Bench
from compare_rivals import beginnings
from measure import quiet
from piecrust.cli.plot import line_plot
from piecrust.objects.page import PAGE_BYTES
from subjects import pages_of

WINDOW = 40  # commits behind one point
READS = 5
PAGES = 16
MIB = 1 << 20
Lines = dict[str, list[tuple[float, float]]]  # name of the system: points


def draw(bench: Bench, folder: Path) -> None:
    """Writes commits.svg, reads.svg and sizes.svg."""
    folder.mkdir(parents=True, exist_ok=True)
    commits, reads = by_commits(bench)
    write(folder / "commits.svg", "time of a commit of one changed page", "versions before it", commits)
    write(folder / "reads.svg", "time to open the store and read an old version", "versions in the store", reads)
    write(folder / "sizes.svg", "time of a commit of one changed page", "MiB of the contract", by_size(bench))


def write(path: Path, title: str, x_label: str, lines: Lines) -> None:
    # The axes begin at the powers of ten below all points.
    left, low = (10 ** math.floor(math.log10(min(axis))) for axis in zip(*chain(*lines.values()), strict=True))
    logarithms = [
        (system, [(math.log10(x / left), math.log10(y / low)) for x, y in at]) for system, at in lines.items()
    ]
    drawing = line_plot(
        title,
        x_label,
        logarithms,
        show=lambda y: duration(low * 10**y),
        show_x=lambda x: f"{float(f'{left * 10**x:.1g}'):,.0f}",
    )
    path.write_text(drawing, encoding="utf-8")


def by_commits(bench: Bench) -> tuple[Lines, Lines]:
    """Microseconds of a commit, and of reading an old version, by the number of versions; slow systems get fewer."""
    commits: Lines = {}
    reads: Lines = {}
    for begin in beginnings(bench):
        with closing(begin()) as system:
            system.fill(pages_of(PAGES))
            made, begun = 0, time.monotonic()
            for versions in bench.effort.charted:
                if time.monotonic() - begun > bench.effort.charted_seconds:
                    break
                with quiet():
                    system.commits(versions - made - WINDOW)
                    took = system.commits(WINDOW).p50
                made = versions
                spent = sorted(system.read_old_us(versions - WINDOW) for _ in range(READS))
                commits.setdefault(system.name, []).append((versions, took))
                reads.setdefault(system.name, []).append((versions, spent[READS // 2]))
    return commits, reads


def by_size(bench: Bench) -> Lines:
    """Microseconds of a commit by the mebibytes of the contract, as far as the first version does not take too long."""
    lines: Lines = {}
    for begin in beginnings(bench):
        for mib in bench.effort.charted_mib:
            with closing(begin()) as system:
                begun = time.monotonic()
                system.fill(pages_of(mib * MIB // PAGE_BYTES))
                spent = time.monotonic() - begun
                with quiet():
                    system.commits(5)
                    lines.setdefault(system.name, []).append((mib, system.commits(WINDOW).p50))
            if spent > bench.effort.charted_seconds / 4:
                break
    return lines


def duration(microseconds: float) -> str:
    """A time of two digits in its own unit.

    >>> [duration(us) for us in (1, 100, 3162.3, 1_000_000)]
    ['1 us', '100 us', '3.2 ms', '1 s']
    """
    microseconds = float(f"{microseconds:.2g}")
    for size, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= size:
            return f"{microseconds / size:g} {unit}"
    return f"{microseconds:g} us"
