"""Whatever is typed, the command ends with one of its exit codes and a line that says why: never with a traceback."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from piecrust.cli.app import app
from piecrust.cli.command_table import COMMANDS
from piecrust.cli.exit_codes import ExitCode
from piecrust.vm import stack
from support.command import Command, contract_file
from typer.main import get_command

LEFT_OUT = {
    "--dask",  # waits for a scheduler
    "--pager",
}
# What may stand anywhere: names that exist, nearly, or in another place; numbers at the edges; files of every kind.
WORDS = [
    "main", "HEAD", "@", "main~1", "main^2", "@{1}", "main..v1", "..", "...", "v1", "nope", "mian", "root:00",
    "root:" + "0" * 64, "counter", "conter", "increment", "read_value", "init", "5603", "0" * 64, "f" * 64,
    "0x" + "0" * 64, "abcd", "", " ", "-", "--", "-x", "--nope", "=", ":", "a=u64:5", "a=5", "=u64:1", "a b", "a/b",
    "../x", ".", "/", "~", "^", "0", "1", "-1", "4294967296", "18446744073709551616", "9" * 400, "1.5", "nan", "inf",
    "1e999", "0x10:8", "0:0", "1:99999999999999999999", "u64:5", "u64:-1", "u8:256", "str:x", "hex:0", "hex:00",
    "@steps.jsonl", "@", "Vec<u64>:[1, 2", "(u64,):(1,)", "Option<u8>:Some(1)", "f64:nan", "[u8; 99999999999]:00",
    "[u8; 18446744073709551616]:", "Vec<" * 100, "(" * 200, "u64", "bool", "commit", "page", "blob", "steps.jsonl",
    "steps.toml", "counter.wasm", "counter.wat", "main.bundle", "page.proof", "noise", "folder", "missing", "out",
    "/dev/null", "\udcff", "\u202e", "ü", "\n", "🥧", "a" * 5000, "%s", "{}", "\\", "'",
    "counter read_value < i64:3", "counter read_value ==", "json:dumps", "os:getcwd", "nope:x", ":x", "bash", "never",
    "-1..1", "heads/main", "draft", "HEAD@{99999999}", "main@{0}~1^1", "deadbeef" * 9,
]  # fmt: skip


@pytest.fixture(autouse=True)
def _room() -> None:
    """Calls raise the recursion limit, which Hypothesis does not like to see in the middle of a test."""
    stack.ensure_room()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory, code_cache: Path) -> Command:
    """A directory with a store, and files of every kind that commands read."""
    piecrust = Command(tmp_path_factory.mktemp("garbage"), code_cache)
    folder = piecrust.directory
    piecrust("init")
    piecrust("deploy", contract_file("counter"), "--alias", "counter")
    piecrust("commit", "-m", "one")
    piecrust("tag", "v1")
    piecrust("call", "counter", "increment")
    piecrust("commit", "-m", "two")
    piecrust("export", "main", "-o", "main.bundle")
    piecrust("prove", "main", "counter", "--page", "1", "-o", "page.proof")
    piecrust("call", "counter", "increment")
    shutil.copy(contract_file("counter"), folder / "counter.wasm")
    (folder / "counter.wat").write_text("(module")
    (folder / "steps.jsonl").write_text(json.dumps({"call": "counter", "function": "increment"}))
    (folder / "steps.toml").write_text('[[step]]\ncall = "counter"\nfunction = "increment"\n')
    (folder / "noise").write_bytes(bytes(range(256)) * 20)
    (folder / "folder").mkdir()
    return piecrust


def option_names(command: str) -> list[str]:
    """The options of a command, and of the commands below it."""
    root = get_command(app)
    found = root.get_command(None, command)
    below = getattr(found, "commands", {"": found}).values()
    names = {name for each in below for parameter in each.params for name in parameter.opts if name.startswith("-")}
    return sorted(names - LEFT_OUT)


def lines_of(command: str) -> st.SearchStrategy[list[str]]:
    """Command lines that begin with a command and go on with anything."""
    found = get_command(app).get_command(None, command)
    below = list(getattr(found, "commands", ()))
    words = st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_characters="\0"), max_size=8))
    options = option_names(command)
    anything = st.one_of(words, words, st.sampled_from(options)) if options else words
    rest = st.lists(anything, max_size=5)
    begin = st.sampled_from([[command, word] for word in below] or [[command]])
    return st.tuples(begin, rest, st.booleans()).map(lambda parts: [*parts[0], *parts[1], *(["--json"] * parts[2])])


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"demo", "doctor", "replay"}))
def test_any_words_after_a_command_end_well(prepared: Command, tmp_path: Path, command: str) -> None:
    number = iter(range(1_000_000))

    @settings(max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(lines_of(command))
    def ends_well(words: list[str]) -> None:
        folder = tmp_path / str(next(number))
        shutil.copytree(prepared.directory, folder)
        piecrust = Command(folder, Path(prepared.environment["PIECRUST_CACHE"]))
        piecrust.environment["PIECRUST_STORE"] = str(folder)
        answer = piecrust(*words, code=None)
        shutil.rmtree(folder)
        assert answer.exit_code in set(ExitCode) - {ExitCode.BUG}, answer
        assert "Traceback" not in answer.stdout + answer.stderr
        if answer.exit_code in (ExitCode.OK, ExitCode.NEGATIVE):
            return
        if "--json" in words:
            assert [entry["code"] for entry in json.loads(answer.stdout)["errors"]] != []
        else:
            assert "Error: " in answer.stderr or "Usage: " in answer.stdout, answer

    ends_well()
