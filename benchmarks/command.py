"""Measures the command as whole processes, beside git's.

    python benchmarks/command.py [--commits N] [--json]

The store has 10,000 commits of a counter. Times are the lower quartile of a few runs in milliseconds, interpreter start
included; the rival is git (in a repository with one commit: what its process costs), the original has no command.
"""

from __future__ import annotations

import argparse
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
from subjects import CONTRACTS as BYTECODES
from subjects import OWNER

RUNS = 9
BATCH = 100
HELP_LIMIT_MS = 150
STORE_LIMIT_MS = 400

# name, words, git's words, limit in ms
MEASURED: tuple[tuple[str, list[str], list[str], float | None], ...] = (
    ("--help", ["--help"], ["--version"], HELP_LIMIT_MS),
    ("completion of a command", ["completion", "--words", "1", "--", "piecrust", "st"], ["--version"], HELP_LIMIT_MS),
    ("completion of a revision", ["completion", "--words", "2", "--", "piecrust", "show", "m"], ["branch"], None),
    ("status", ["status"], ["status"], STORE_LIMIT_MS),
    ("query", ["query", "counter", "read_value"], ["show", "HEAD:file"], STORE_LIMIT_MS),
    ("log -n 20", ["log", "-n", "20"], ["log", "-n", "20"], None),
    ("call", ["call", "counter", "increment"], ["add", "file"], None),
)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the command as whole processes, beside git's.")
    parser.add_argument("--commits", type=int, default=10_000)
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
    print("\n".join(row.json() for row in rows) if arguments.json else table(rows))


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


def milliseconds(command: list[str], directory: Path) -> float:
    """How long a process takes, from its start to its end."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append((time.perf_counter() - start) * 1000)
    return sorted(times)[RUNS // 4]


if __name__ == "__main__":
    main()
