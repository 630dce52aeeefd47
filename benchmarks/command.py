"""Measures the command as whole processes, beside git's and beside a process of the original.

    python benchmarks/command.py [--commits N] [--original N] [--json]

The store has 10,000 commits of a counter. Times are the lower quartile of a few runs in milliseconds, interpreter start
included, with Python's modules compiled, as an installation leaves them. The rival is git, in a repository with one
commit: what its process costs. The original has no command; what comes closest is a process that opens its directory of
so many commits, opens a session on the last one and asks the counter (its driver, fixtures/reference, does).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import Row, table
from piecrust import VM
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import ALIASES, CONTRACTS, Symbolic
from reference import REFERENCE, Original, driver
from subjects import CONTRACTS as BYTECODES
from subjects import OWNER

RUNS = 9
BATCH = 100
HELP_LIMIT_MS = 150
STORE_LIMIT_MS = 400
# pip compiles the modules of what it installs; this may forbid it for a clone.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

# name, words, git's words, limit in ms
MEASURED: tuple[tuple[str, list[str], list[str], float | None], ...] = (
    ("--help", ["--help"], ["--version"], HELP_LIMIT_MS),
    ("completion of a command", ["completion", "--words", "1", "--", "piecrust", "st"], ["--version"], HELP_LIMIT_MS),
    (
        "completion of a revision",
        ["completion", "--words", "2", "--", "piecrust", "show", "m"],
        ["branch"],
        HELP_LIMIT_MS,
    ),
    ("status", ["status"], ["status"], STORE_LIMIT_MS),
    ("query", ["query", "counter", "read_value"], ["show", "HEAD:file"], STORE_LIMIT_MS),
    ("log -n 20", ["log", "-n", "20"], ["log", "-n", "20"], None),
    ("call", ["call", "counter", "increment"], ["add", "file"], None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the command as whole processes, beside git's.")
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument(
        "--original", type=int, default=1000, metavar="N", help="commits of the original; 0: without it"
    )
    parser.add_argument("--json", action="store_true", help="a row per line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store, repository = Path(folder, "store"), Path(folder, "repository")
        make_store(store, arguments.commits)
        git = make_repository(repository)
        command = [sys.executable, "-m", "piecrust"]
        rows = []
        for name, words, git_words, limit in MEASURED:
            rival = milliseconds([git, *git_words], repository) if git is not None else None
            rows.append(Row(f"piecrust {name}", "ms", milliseconds([*command, *words], store), rival, limit=limit))
        beside = [query_beside_the_original(Path(folder), arguments.original)] if arguments.original else []
    if arguments.json:
        print("\n".join(row.json() for row in (*rows, *beside)))
    else:
        print(table(rows, "git"))
        if beside:
            print(table(beside))


def query_beside_the_original(folder: Path, commits: int) -> Row:
    """A query in a store of so many commits, beside a process of the original that does the same."""
    store, directory = folder / "small", folder / "original"
    make_store(store, commits)
    counter, owner = str(BYTECODES / "counter.wasm"), OWNER.hex()
    with Original() as original:
        original.ask("vm", dir=str(directory))
        original.ask("session")
        deployed = original.ask("deploy", wasm=counter, owner=owner)["id"]
        base = original.ask("commit")["root"]
        call = {"contract": deployed, "fn": "increment", "arg": ""}
        last = original.ask("bench_commits", base=base, times=commits - 1, **call)["root"]
    question = [{"op": "vm", "dir": str(directory)}, {"op": "session", "base": last}, {"op": "call", **call}]
    question[2]["fn"] = "read_value"
    lines = "".join(json.dumps(operation) + "\n" for operation in question)
    rival = milliseconds([driver.binary()], REFERENCE, lines)
    ours = milliseconds([sys.executable, "-m", "piecrust", "query", "counter", "read_value"], store)
    return Row(f"piecrust query, {commits:,} commits", "ms", ours, rival)


def make_store(directory: Path, commits: int) -> None:
    """A store whose branch `main` has so many commits."""
    with VM(directory, sync=False) as vm:
        with vm.session(branch="main") as session:
            counter, _ = session.deploy(BYTECODES / "counter.wasm", OWNER)
            session.commit("deployed")
        for start in range(0, commits - 1, BATCH):
            with vm.batch():
                for number in range(start, min(start + BATCH, commits - 1)):
                    with vm.session("main") as session:
                        session.call(counter, "increment")
                        session.commit(f"commit {number}")
        transaction = vm.store.transaction()
        transaction.set_ref(ALIASES + "counter", Symbolic(CONTRACTS + counter.hex()))
        transaction.publish(Operation("alias"))


def make_repository(directory: Path) -> str | None:
    """A git repository with one commit; where git is, None if it is not here."""
    git = shutil.which("git")
    if git is not None:
        directory.mkdir()
        (directory / "file").write_text("content\n")
        who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
        for words in (["init", "-q"], ["add", "file"], [*who, "commit", "-q", "-m", "first"]):
            subprocess.run([git, *words], cwd=directory, check=True)
    return git


def milliseconds(command: list[str], directory: Path, lines: str = "") -> float:
    """How long a process takes, from its start to its end; the first one warms up."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run(command, cwd=directory, env=ENVIRONMENT, input=lines, text=True, check=True, capture_output=True)
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times[1:])[RUNS // 4]


if __name__ == "__main__":
    main()
