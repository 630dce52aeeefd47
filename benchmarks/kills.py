"""Kill processes that write, seal and collect garbage in one store, at any time, again and again.

    python benchmarks/kills.py [--rounds N]

In each round a writer, a sealer and a collector are started and killed with signal 9, in any order, up to --seconds
later. After each, every commit that was acknowledged is there and the store is undamaged; at the end all of it is
checked, collected and read back.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "lib"))

from support.processes import kill_again_and_again  # the path is set first


def main() -> int:
    """Do it in a directory of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=0.1, help="a round lasts, at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        counts = kill_again_and_again(Path(directory) / "state", options.rounds, options.seed, options.seconds)
    counts["seconds"] = round(time.monotonic() - start)
    print(json.dumps(counts) if options.json else ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
