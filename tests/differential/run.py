"""Performs random scenarios on this project's VM and on the original, and compares every answer.

    python tests/differential/run.py --seed 1 --count 20000

The original's driver is built on demand (fixtures/reference), or named by PIECRUST_REFERENCE. At the first difference
the scenario is shrunk, printed one operation per line, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from piecrust.vm import native, tracking
from support.answers import Operation
from support.differential import Disagreement, Histogram, compare, shrink
from support.fixtures import VECTORS, reference_module
from support.machine import Machine
from support.random_scenarios import ScenarioMaker, performable

driver = reference_module("driver")
record = reference_module("record")


class Original:
    """The original's driver; a new process where a trap has left the old one unusable."""

    def __init__(self) -> None:
        self._path = driver.binary()
        self._tool = driver.Tool(self._path)

    def perform(self, operation: Operation) -> dict:
        answer = self._tool.ask(operation)
        if answer.pop("poisoned", False):
            self.close()
            self._tool = driver.Tool(self._path)
        del answer["op"], answer["us"]
        return answer

    def close(self) -> None:
        self._tool.close()


def disagreement(scenario: list[Operation], original: Original, histogram: Histogram | None = None):
    """The first difference between a fresh machine of ours and the original."""
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        try:
            return compare(scenario, machine, original, histogram)
        finally:
            machine.close()


def report(scenario: list[Operation], found: Disagreement, original: Original) -> None:
    """Prints a failing scenario, small."""
    print(f"{found}\n\nshrinking {len(scenario)} operations ...", flush=True)
    small = shrink(scenario, lambda candidate: found.like(disagreement(candidate, original)))
    for operation in small:
        print(json.dumps(performable(operation)))
    print(disagreement(small, original))


def table(title: str, counts: Counter[str]) -> None:
    print(f"\n{title}")
    for name, count in counts.most_common():
        print(f"  {count:7} {name}")


def run(seed: int, count: int, least: int) -> int:
    """Performs `count` operations; the scenarios' seeds are `seed`, `seed` + 1, ..."""
    original, histogram = Original(), Histogram()
    begun = time.monotonic()
    while sum(histogram.operations.values()) < count:
        scenario = ScenarioMaker(seed).make()
        found = disagreement(scenario, original, histogram)
        if found is not None:
            print(f"seed {seed}: a difference")
            report(scenario, found, original)
            return 1
        seed += 1
    original.close()
    performed = sum(histogram.operations.values())
    print(f"{performed} operations, no difference ({time.monotonic() - begun:.0f} s)")
    table("operations", histogram.operations)
    table("steps of programs", histogram.steps)
    table("errors", histogram.errors)
    rare = {name: n for counts in (histogram.operations, histogram.errors) for name, n in counts.items() if n < least}
    if rare:
        print(f"\nless than {least} of: {rare}")
    return 1 if rare else 0


def record_vectors(seed: int, scenarios: int) -> None:
    """Records what the original answers to some scenarios, for the tests that run without it."""
    folder = VECTORS / "differential"
    folder.mkdir(exist_ok=True)
    for number in range(seed, seed + scenarios):
        operations = [performable(operation) for operation in ScenarioMaker(number).make()]
        recorded = record.record(driver.binary(), operations)
        (folder / f"scenario_{number:03}.jsonl").write_text(record.lines(recorded))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first scenario")
    parser.add_argument("--count", type=int, default=1000, help="how many operations at least")
    parser.add_argument("--least", type=int, default=0, help="fail if an operation or error occurs less often")
    parser.add_argument("--record", type=int, metavar="SCENARIOS", help="record vectors instead of comparing")
    parser.add_argument("--tracker", choices=tracking.NAMES, help="which write tracker to use")
    parser.add_argument("--native", choices=native.NAMES, help="which way into the engine to use")
    options = parser.parse_args()
    tracking.select(options.tracker)
    native.select(options.native)
    if options.record is not None:
        record_vectors(options.seed, options.record)
        return 0
    return run(options.seed, options.count, options.least)


if __name__ == "__main__":
    sys.exit(main())
