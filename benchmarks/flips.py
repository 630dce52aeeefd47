"""Flip bits in every file of a store, cut every file short, and see whether readers and checks notice.

    python benchmarks/flips.py [--flips N] [--cuts N]

The store has a file of every kind: segments, packs, tables, snapshot, FORMAT, DURABLE, lease. After each damage every
commit is read back and the store is checked: what can be read is right, and what is damaged is found, unless nothing
depends on it. A failure ends the run and tells the damage.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "lib")]

from support.damage import Damage, damages, every_kind, tally  # noqa: E402  (after the path is set)

PIECE = 50


def main() -> int:
    """Damage as much as asked for, in as many processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flips", type=int, default=1000, help="of each file, at most one for each of its bytes")
    parser.add_argument("--cuts", type=int, default=100, help="lengths that each file is cut to")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = time.monotonic()
    run = every_kind()
    some = list(damages(run, options.flips, options.cuts))
    verdicts: Counter[tuple[str, str]] = Counter()
    with multiprocessing.get_context("fork").Pool(options.jobs, _begin, (run,)) as pool:
        for part in pool.imap_unordered(_work, [some[at : at + PIECE] for at in range(0, len(some), PIECE)]):
            verdicts += part
    rows = [{"file": file, "verdict": verdict, "count": count} for (file, verdict), count in sorted(verdicts.items())]
    seconds = round(time.monotonic() - start, 1)
    if options.json:
        print(json.dumps({"damages": len(some), "seconds": seconds, "verdicts": rows, "wrong": 0}))
        return 0
    for row in rows:
        print(f"{row['file']:>8}  {row['verdict']:<9} {row['count']:>7,}")
    print(f"{len(some):,} damages in {seconds:.0f} s: nothing wrong was read, nothing that matters went unnoticed")
    return 0


def _begin(run: object) -> None:
    global _run
    _run = run


def _work(some: list[Damage]) -> Counter[tuple[str, str]]:
    return tally(_run, some)


if __name__ == "__main__":
    sys.exit(main())
