"""The command as processes: every command once, signals, pipes, and two at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from piecrust.cli.command_table import COMMANDS
from support import originals
from support.command import TIMEOUT_SECONDS, Command, contract_file

SCRIPT = {"call": "counter", "function": "increment"}

# In this order on one store; each is (exit code, words).
SESSION: list[tuple[int, list[str]]] = [
    (0, ["init"]),
    (0, ["deploy", contract_file("counter"), "--alias", "counter"]),
    (0, ["call", "counter", "increment"]),
    (0, ["query", "counter", "read_value"]),
    (0, ["meta", "set", "height", "u64:7"]),
    (0, ["meta", "get"]),
    (0, ["meta", "unset", "height"]),
    (0, ["status"]),
    (0, ["diff"]),
    (0, ["commit", "-m", "first"]),
    (0, ["run", "steps.jsonl", "-m", "second"]),
    (0, ["alias", "c", "counter"]),
    (0, ["contracts"]),
    (0, ["ls-contracts"]),
    (0, ["memory", "counter"]),
    (0, ["root"]),
    (0, ["log", "--graph"]),
    (0, ["show"]),
    (0, ["tag", "v1"]),
    (0, ["branch", "side", "main~1"]),
    (0, ["switch", "side"]),
    (0, ["checkout", "main"]),
    (0, ["merge", "side"]),
    (0, ["restore", "main~1"]),
    (0, ["bisect", "start", "main", "main~1"]),
    (0, ["bisect", "status"]),
    (0, ["bisect", "reset"]),
    (0, ["undo"]),
    (0, ["redo"]),
    (0, ["op-log"]),
    (0, ["rev-parse", "HEAD"]),
    (0, ["cat-object", "commit", "HEAD_ID"]),
    (0, ["abi", "show", "counter"]),
    (0, ["stats"]),
    (0, ["finalize-commit", "main"]),
    (0, ["gc"]),
    (0, ["fsck"]),
    (0, ["doctor"]),
    (0, ["demo"]),
    (0, ["completion", "bash"]),
    (0, ["prove", "main", "counter", "--page", "1", "-o", "page.proof"]),
    (0, ["verify", "page.proof", "--commit", "HEAD_ID"]),
    (0, ["inspect", "page.proof"]),
    (0, ["replay", "main~1..main", "--jobs", "1"]),
    (0, ["export", "main", "-o", "main.bundle"]),
    (0, ["import", "main.bundle", "--branch", "copy"]),
    (0, ["export", "main", "--raw", "counter", "-o", "memory.bin"]),
    (0, ["import-raw", "memory.bin", "counter", "-m", "as found"]),
    (0, ["migrate", "counter", contract_file("box")]),
    (0, ["checkout", "main", "--keep"]),
    (0, ["delete-commit", "KEPT_ID"]),
    (0, ["import-original", "original"]),
    (0, ["remote", "add", "origin", "shelf"]),
    (0, ["remote", "list"]),
    (0, ["push"]),
    (0, ["fetch"]),
    (0, ["pull"]),
    (0, ["clone", "shelf", "again"]),
    (0, ["remote", "remove", "origin"]),
]

# The fields of each answer. Scripts read them: they are added to, never taken away or renamed.
FIELDS = {
    "init": "directory created branch",
    "deploy": "contract alias owner receipt",
    "call": "contract function value type data gas_spent gas_limit events call_tree failed_calls fed debug",
    "query": "contract function value type data gas_spent gas_limit events call_tree failed_calls",
    "meta set": "name value before",
    "meta get": "metadata",
    "meta unset": "name before",
    "status": "directory branch commit state_root working_state changes contracts commits size damage bisection",
    "diff": "equal old new old_root new_root changes",
    "commit": "commit state_root branch created",
    "run": "steps commit state_root",
    "alias": "alias contract",
    "contracts": "contracts",
    "ls-contracts": "contracts",
    "memory": "contract memory_length memory_kind pages",
    "root": "state_root commit uncommitted",
    "log": "commits",
    "show": "commit state_root parents generation message author time kind steps contracts gas_spent derivation "
    "changes",
    "tag": "tag commit",
    "branch": "branch commit",
    "switch": "branch commit state_root kept",
    "checkout": "branch commit state_root kept",
    "merge": "commit state_root base fast_forward taken choices",
    "restore": "commit state_root source contracts created",
    "bisect start": "bad good candidates next culprit",
    "bisect status": "bad good candidates next culprit",
    "bisect reset": "branch commit",
    "undo": "operation",
    "redo": "operation",
    "op-log": "operations",
    "rev-parse": "revisions",
    "cat-object": "address kind fields",
    "abi show": "contract interface",
    "migrate": "contract id_during_migration",
    "stats": "commits stored on_disk kinds growth plot",
    "finalize-commit": "finalized",
    "delete-commit": "deleted",
    "gc": "dry_run commits_living commits_collected tombstones objects_live objects_dead bytes_dead bytes_before "
    "bytes_after packs_before packs_after",
    "fsck": "clean full files objects commits refs checked",
    "doctor": "findings bad",
    "demo": "first second third counter state_root as_expected",
    "completion": "shell script",
    "replay": "commits confirmed verdicts",
    "export": "commit state_root file bytes",
    "import": "commit source state_root content new branch",
    "import-raw": "commit state_root contract",
    "import-original": "directory commits lost refused",
    "remote add": "name url",
    "remote list": "remotes",
    "remote remove": "removed",
    "push": "remote refs commits packs bytes",
    "fetch": "refs moved commits packs",
    "pull": "fetched commit state_root fast_forward",
    "clone": "directory refs moved commits packs",
    "prove": "commit state_root file bytes",
    "verify": "holds claim",
    "inspect": "claim",
}


def test_every_command_runs_as_a_process_and_answers_in_an_envelope(piecrust: Command) -> None:
    Path(piecrust.directory, "steps.jsonl").write_text(json.dumps(SCRIPT))
    originals.unpacked("finalized", piecrust.directory / "original")
    ids: dict[str, str] = {}
    fields: dict[str, list[str]] = {}
    for code, words in SESSION:
        answer = piecrust.process(*(ids.get(word, word) for word in words), "--json", code=code)
        assert answer.stderr == ""
        assert answer.stdout.count("\n") == 1
        envelope = json.loads(answer.stdout)
        assert list(envelope) == ["schema", "command", "ok", "data", "warnings", "errors"]
        name = " ".join(words[:2]) if words[0] in ("abi", "meta", "bisect", "remote") else words[0]
        assert (envelope["schema"], envelope["command"], envelope["ok"]) == ("piecrust.cli/1", name, code == 0)
        fields[name] = list(envelope["data"])
        if words[0] == "rev-parse":
            ids["HEAD_ID"] = envelope["data"]["revisions"][0]["commit"]
        if words[0] == "checkout":
            ids["KEPT_ID"] = envelope["data"]["kept"]
    assert {name: " ".join(found) for name, found in fields.items()} == FIELDS


def test_the_session_has_every_command() -> None:
    assert {words[0] for _, words in SESSION} == set(COMMANDS)


def start(piecrust: Command, *words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "piecrust", *words],
        cwd=piecrust.directory,
        env={**os.environ, **piecrust.environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


ENDLESS = """(module
  (import "env" "hq" (func $hq (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global (export "A") i32 (i32.const 1024))
  (data (i32.const 0) "begun")
  (func (export "run") (param i32) (result i32)
    (drop (call $hq (i32.const 0) (i32.const 5) (i32.const 0)))
    (loop (br 0))
    (i32.const 0)))
"""

BEGUN = """
import pathlib

def begun(argument):
    pathlib.Path("begun").touch()
    return b""

QUERIES = {"begun": begun}
"""


def test_an_interrupt_ends_an_endless_contract_at_once_with_nothing_written(store: Command) -> None:
    Path(store.directory, "endless.wat").write_text(ENDLESS)
    Path(store.directory, "telling.py").write_text(BEGUN)
    store("deploy", "endless.wat", "--alias", "endless")
    before = store.json("status")
    process = start(store, "call", "endless", "run", "--gas-limit", str(2**63), "--host-queries", "telling:QUERIES")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not Path(store.directory, "begun").exists() and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    time.sleep(0.2)  # from the query back into the loop
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    # Ended by the signal itself, which is what shells report as 130.
    assert process.returncode == -signal.SIGINT
    assert errors == ""
    assert {**store.json("status"), "size": before["size"]} == before


def test_a_reader_that_goes_away_is_no_error(counting: Command) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(counting, "log", stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 141
    assert errors == ""


@pytest.mark.parametrize("words", [["log"], ["--help"], ["log", "--help"], ["log", "--json"], ["log", "no", "--json"]])
def test_help_and_envelopes_end_as_quietly(counting: Command, words: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(counting, *words, stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, errors) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
@pytest.mark.parametrize(
    "words", [["log"], ["log", "--json"], ["log", "no", "--json"], ["memory", "counter", "--page", "1"]]
)
def test_a_result_that_can_not_be_written_is_an_error(counting: Command, words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(counting, *words, stdout=full.fileno())
        _, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert process.returncode == 6
    assert errors == "Error: cannot write to standard output: no space left on device\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_streams_that_the_caller_closed_take_no_file_of_the_store(counting: Command, closed: str) -> None:
    command = f"exec {sys.executable} -m piecrust call counter increment --trace {closed}"
    environment = {**os.environ, **counting.environment}
    done = subprocess.run(["sh", "-c", command], cwd=counting.directory, env=environment, timeout=TIMEOUT_SECONDS)
    assert done.returncode == 0
    assert counting("query", "counter", "read_value").stdout == "256\n"
    assert counting.json("fsck")["clean"]


def test_what_a_bisecting_command_prints_stays_out_of_the_envelope(counting: Command) -> None:
    counting("bisect", "start", "main", "main~2")
    answer = counting.process("bisect", "run", "--json", "--", "echo", "said")
    assert answer.data["culprit"] is not None
    assert answer.stderr == "said\n"


WAITING = """
import pathlib, time

def wait(argument):
    pathlib.Path("asked").touch()
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
    return argument

QUERIES = {"hash": wait}
"""


def test_of_two_calls_at_once_the_later_one_is_told_and_loses_nothing(store: Command) -> None:
    Path(store.directory, "waiting.py").write_text(WAITING)
    store("deploy", contract_file("host_queries"), "--alias", "asking")
    store("deploy", contract_file("counter"), "--alias", "counter")
    slow = start(store, "call", "asking", "hash", "Vec<u8>:01", "--host-queries", "waiting:QUERIES")
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not Path(store.directory, "asked").exists() and time.monotonic() < deadline:
        assert slow.poll() is None, slow.communicate()
        time.sleep(0.02)
    store("call", "counter", "increment")
    Path(store.directory, "go").touch()
    _, errors = slow.communicate(timeout=TIMEOUT_SECONDS)
    assert slow.returncode == 6
    assert errors.startswith("Error: draft is at ")
    assert "Hint: piecrust status" in errors
    assert store("query", "counter", "read_value").stdout == "253\n"


LISTING = """
import contextlib, io, sys
from piecrust.cli.app import app
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    app(sys.argv[1:])
print(*sorted({name.partition(".")[0] for name in sys.modules}))
print(*sorted(name for name in sys.modules if name.startswith("piecrust.")))
"""


@pytest.mark.parametrize(
    ("words", "unwanted"),
    [
        (["--help"], {"wasmtime", "rich", "pydantic", "cbor2", "blake3", "zstandard"}),
        (["completion", "--words", "1", "--", "piecrust", "st"], {"wasmtime", "rich", "pydantic", "zstandard"}),
        (["log", "--help"], {"wasmtime", "rich", "pydantic"}),
        (["status"], {"wasmtime", "rich", "pydantic"}),
        (["log"], {"wasmtime", "rich", "pydantic"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_slow_to_import_is_imported_when_it_is_needed(
    counting: Command, words: list[str], unwanted: set[str]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *words],
        cwd=counting.directory,
        env={**os.environ, **counting.environment},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=True,
    )
    assert unwanted & set(done.stdout.splitlines()[0].split()) == set()


def test_a_terminal_without_unicode_is_no_error(counting: Command) -> None:
    plain = {"PYTHONIOENCODING": "ascii"}
    assert counting.process("log", "--graph", env=plain).lines[0].startswith("* ")
    assert counting.process("diff", "main~1", "main", "--map", env=plain).lines[-1].split() == ["0", ".-.-"]
    counting("alias", "zähler", "counter")
    counting.process("diff", "main~1", "main", "--svg", "map.svg", env={**plain, "PYTHONUTF8": "0", "LC_ALL": "C"})
    assert counting.json("alias")["aliases"].keys() == {"counter", "zähler"}


def test_colours_follow_the_usual_variables(counting: Command) -> None:
    plain = counting.process("log", "--oneline").stdout
    assert "\x1b[" not in plain
    assert "\x1b[" in counting.process("log", "--oneline", env={"CLICOLOR_FORCE": "1"}).stdout
    assert "\x1b[" not in counting.process("log", env={"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}).stdout
    assert "\x1b[" in counting.process("log", "--color", "always", env={"NO_COLOR": "1"}).stdout
    counting("log", "--color", "pink", code=2)
