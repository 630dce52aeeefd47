"""Random histories in directories of the original, imported, and gone on from on both sides with every answer compared.

    python tests/differential/originals.py --seed 1 --count 100

The original's driver is built on demand (fixtures/reference), or named by PIECRUST_REFERENCE. At the first difference
the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from piecrust.objects.ids import StateRoot
from piecrust.objects.store import Store
from piecrust.vm.original.directory import OriginalDirectory
from piecrust.vm.original.importing import import_original
from run import Original
from support.answers import Answer, Operation, differences
from support.differential import MISSING_ROOT
from support.machine import Machine
from support.random_programs import NAMES, ProgramMaker, assembled, contract_id
from support.random_scenarios import ScenarioMaker, performable

STORE = "store"


def history(seed: int, directory: str, original: Original) -> None:
    """Performs a random scenario in a directory of the original's."""
    roots: dict[str, str] = {}
    for operation in ScenarioMaker(seed).make():
        asked = performable(operation)
        if asked["op"] == "vm":
            asked["dir"] = directory
        for name, value in list(asked.items()):
            if isinstance(value, str) and value.startswith("$"):
                asked[name] = roots.get(value[1:], MISSING_ROOT)
        label = asked.pop("as", None) if asked["op"] == "commit" else None
        answer = original.perform(asked)
        if label is not None:
            roots[label] = answer.get("root", MISSING_ROOT)


def going_on(seed: int, commits: list[str]) -> Iterator[Operation]:
    """Reads all of each commit, then calls random programs and commits."""
    pick = random.Random(seed)
    programs = ProgramMaker(pick)
    contracts = [contract_id(name).hex() for name in NAMES]
    for commit in commits:
        yield {"op": "session", "base": commit}
        yield {"op": "root"}
        for contract in contracts:
            for read in ("memory_len", "owner", "pages"):
                yield {"op": read, "contract": contract}
        for contract in pick.choices(contracts, k=6):
            program = assembled(programs.program()).hex()
            yield {"op": "call", "contract": contract, "fn": "run", "arg": program, "gas": 10_000_000}
        yield {"op": "root"}
        yield {"op": "commit"}


def difference(seed: int, original: Original) -> tuple[str | None, int, int]:
    """The first difference after one history; how many commits were imported, and how many answers compared."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        directory = str(folder / "original")
        history(seed, directory, original)
        opened = {"op": "vm", "dir": directory}
        original.perform(opened)
        source = OriginalDirectory(Path(directory))
        roots = map(StateRoot.from_hex, original.perform({"op": "commits"})["commits"])
        listed = [root.hex() for root in roots if is_whole(source, root)]
        with Store.open(folder / STORE, create=True, sync=False) as store:
            brought = import_original(store, source)
        missing = {StateRoot.from_hex(root) for root in listed} - {imported.root for imported in brought.commits}
        if missing:
            return f"not imported: {[root.hex() for root in missing]} ({brought.lost})", 0, 0
        machine, compared = Machine(folder), 0
        try:
            machine.perform({"op": "vm", "dir": f"@{STORE}"})
            for operation in going_on(seed, listed):
                ours, theirs = machine.perform(operation), original.perform(operation)
                for field, here, there in differences(comparable(ours), comparable(theirs)):
                    return f"{operation}: {field}: {here} here, {there} there", len(brought.commits), compared
                compared += 1
        finally:
            machine.close()
        return None, len(brought.commits), compared


def is_whole(source: OriginalDirectory, root: StateRoot) -> bool:
    """Whether the original did not lose a commit that it lists, nor mixed it up with what was finalized beside it."""
    if root not in source.commits:
        return False
    *_, first = source.line(root)
    return source.base(first) is not None or not source.owners(None)


def comparable(answer: Answer) -> Answer:
    return {name: value for name, value in answer.items() if name not in ("op", "us")}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1, help="of the first history")
    parser.add_argument("--count", type=int, default=20, help="how many histories")
    options = parser.parse_args()
    original, commits, answers = Original(), 0, 0
    for seed in range(options.seed, options.seed + options.count):
        found, imported, compared = difference(seed, original)
        commits, answers = commits + imported, answers + compared
        if found is not None:
            print(f"seed {seed}: {found}")
            return 1
    original.close()
    print(f"{options.count} histories, {commits} commits imported, {answers} answers compared, no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
