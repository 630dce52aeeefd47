"""Lose power at every point of many runs of the store, in every way, and check what is left.

    python benchmarks/crash_states.py --states 100000

Short runs (making a store, commits, batches, new segments, tables, packs, collecting garbage) are explored
exhaustively where a point of the run has no more than --exhaustive states, long random ones by seeded samples, until
the number of states is reached. After each state: the store opens, every acknowledged commit is there and reads back,
nothing is there by halves, and a new commit works. A run that fails is told, and is found again by the same seed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "lib"), str(ROOT / "tests" / "objects")]

from piecrust.objects import compaction, upkeep  # noqa: E402  (after the path is set)
from support.crashes import Run, explore, program  # noqa: E402
from test_crashes import SCENARIOS, creating  # noqa: E402
from test_gc import sealed_and_collected  # noqa: E402

LONG_STEPS = 12
LONG_RUNS_MAX = 10_000
Task = tuple[str, int, int]  # the name of a run, a seed, how many states at each point


def main() -> int:
    """Run the tasks in as many processes as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--states", type=int, default=100_000)
    parser.add_argument("--exhaustive", type=int, default=300, help="states at a point of a short run, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start, total, runs = time.monotonic(), 0, 0
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        for name, count in pool.imap_unordered(work, tasks(options.seed, options.exhaustive)):
            total, runs = total + count, runs + 1
            if not options.json:
                print(f"{total:>9} states  {time.monotonic() - start:7.1f} s  {name}", flush=True)
            if total >= options.states and runs > len(SHORT):
                pool.terminate()
                break
    seconds = time.monotonic() - start
    summary = {"states": total, "runs": runs, "seconds": round(seconds, 1), "failures": 0}
    print(
        json.dumps(summary) if options.json else f"{total} states of {runs} runs in {seconds:.0f} s: nothing was lost"
    )
    return 0


SHORT: dict[str, Callable[[Run], None]] = {run.__name__: run for run in (*SCENARIOS, sealed_and_collected)}


def tasks(seed: int, exhaustive: int) -> Iterator[Task]:
    """The short runs, then long ones."""
    yield creating.__name__, seed, exhaustive
    for name in SHORT:
        yield name, seed, exhaustive
    for number in range(1, LONG_RUNS_MAX):
        yield "program", seed + number, 4


def work(task: Task) -> tuple[str, int]:
    """Explore one run; an exception tells which state failed."""
    name, seed, states_max = task
    compaction.FRESH_OBJECTS_MAX = upkeep.FRESH_OBJECTS_MAX = 4  # tables are made of little
    run = Run()
    if name == creating.__name__:
        creating(run)
    else:
        run.create()
        run.synced()
        if name in SHORT:
            SHORT[name](run)
        else:
            program(run, seed, LONG_STEPS)
    return f"{name} {seed}", explore(run, states_max=states_max, seed=seed)


if __name__ == "__main__":
    sys.exit(main())
