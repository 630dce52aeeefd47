"""Opens sessions by the thousand, and counts what the process holds: `python tests/stress/sessions.py --count 5000`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))

from piecrust import VM
from support.holdings import holdings_over_sessions


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=5000)
    options = parser.parse_args()
    with VM.ephemeral() as vm:
        before, after = holdings_over_sessions(vm, options.count)
    print(f"before {before}\nafter  {after}")
    return after.grew_from(before)


if __name__ == "__main__":
    sys.exit(main())
