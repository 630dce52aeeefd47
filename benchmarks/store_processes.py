"""Many processes on one store: each commits and deletes, one collects garbage all the time, one reads.

    python benchmarks/store_processes.py --processes 8 --commits 500

At the end nothing is lost, nothing is there twice, and every commit reads back; a failure ends it with a trace.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "lib"))

from support.processes import work_together  # the path is set first


def main() -> int:
    """Do it once in a directory of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--commits", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        counts = work_together(Path(directory) / "state", options.processes, options.commits)
    counts["milliseconds"] = round(1000 * (time.monotonic() - start))
    print(json.dumps(counts) if options.json else ", ".join(f"{name} {count}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
