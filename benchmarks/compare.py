"""Compares this project with the original, and with other stores, on the same contracts and pages in one run.

    python benchmarks/compare.py [GROUP ...] [--quick] [--large] [--json | --markdown] [--alone] [--charts FOLDER]

GROUP is calls, commits, history, deploys, large or rivals; without one, all but large. The original is built on demand
(two minutes, once), or named by PIECRUST_REFERENCE. Both sides take turns, five times; a figure is the median of
the five, a ratio is ours / the other's. What the original is asked for is measured inside of its process. Its commits
are not durable; ours are, unless a row says otherwise. `--json` prints one row per line:
{"name", "unit", "ours", "rival", "target", "limit", "ratio", "holds"}. `--quick` takes less than a minute, `--large`
adds memories of up to 1 GiB. Other stores are measured if they are installed: pip install 'piecrust-vm[bench]'.
`--charts` draws what commits and reads cost by number of commits and by size of the contract, instead of the table.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import charts
import compare_calls
import compare_commits
import compare_deploys
import compare_history
import compare_large
import compare_rivals
from bench import Bench, Effort
from measure import Row, machine, markdown, table
from reference import Original

FULL = Effort()
QUICK = Effort(
    calls=100, commits=100, batched=500, others=100, opened=(1000,), opened_original=1000, samples=10, sessions=10
)
GROUPS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "calls": compare_calls.rows,
    "commits": compare_commits.rows,
    "history": compare_history.rows,
    "deploys": compare_deploys.rows,
    "large": compare_large.rows,
    "rivals": compare_rivals.rows,
}


def main(words: list[str] | None = None, effort: Effort | None = None) -> None:
    """Measures and prints; `effort` is for a run that only shows that all of it works."""
    options = parse(words)
    show = markdown if options.markdown else table
    groups = options.group or [name for name in GROUPS if name != "large" or options.large]
    with ExitStack() as resources:
        folder = Path(resources.enter_context(tempfile.TemporaryDirectory(prefix="piecrust-bench-")))
        original = None if options.alone else started(resources)
        bench = Bench(original, folder, effort or (QUICK if options.quick else FULL))
        if options.charts is not None:
            charts.draw(bench, options.charts)
            return
        if not options.json:
            print(machine(folder))
        beside_original: list[Row] = []
        beside_others: list[Row] = []
        for group in groups:
            for row in GROUPS[group](bench):
                (beside_others if group == "rivals" else beside_original).append(row)
                if options.json:
                    print(row.json(), flush=True)
    if not options.json:
        for rival, rows in (("original", beside_original), ("other", beside_others)):
            if rows:
                print(f"\n{show(rows, rival)}")


def parse(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("group", nargs="*", help=", ".join(GROUPS))
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller stores")
    parser.add_argument("--large", action="store_true", help="large memories, too (4 GB of memory, 6 GB of disk)")
    parser.add_argument("--alone", action="store_true", help="without the original")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="draw into this folder")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one row per line as JSON")
    form.add_argument("--markdown", action="store_true", help="as a table of Markdown")
    options = parser.parse_args(words)
    unknown = set(options.group) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}; there are {', '.join(GROUPS)}")
    return options


def started(resources: ExitStack) -> Original | None:
    """The original, or None where it can't be had."""
    try:
        return resources.enter_context(Original())
    except FileNotFoundError as error:
        print(f"without the original: {error} (set PIECRUST_REFERENCE, or install cargo)", file=sys.stderr)
        return None


if __name__ == "__main__":
    main()
