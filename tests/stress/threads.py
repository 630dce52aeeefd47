"""Runs sessions in many threads, then one by one, and compares: `python tests/stress/threads.py --sessions 200`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from piecrust import VM
from support.stress import differences


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--sessions", type=int, default=200, help="per thread")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with VM.ephemeral() as vm:
        found = differences(vm, threads=options.threads, sessions=options.sessions, seed=options.seed)
    for plan, alone, together in found[:10]:
        print(f"{plan}\n  alone    {alone}\n  together {together}")
    count = options.threads * options.sessions
    print(f"{count} sessions in {options.threads} threads: {len(found)} differences, {time.monotonic() - start:.0f} s")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
