"""Errors as people read them: what happened, why, what to type next."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path

import pytest
from blake3 import blake3
from piecrust import VM
from piecrust.cli.command_errors import CommandError
from piecrust.cli.errors import EXIT_CODES, problem_of, snake_case
from piecrust.cli.exit_codes import ExitCode
from piecrust.objects import errors as objects_errors
from piecrust.objects.errors import PiecrustError
from piecrust.vm import errors as vm_errors
from support.command import Answer, Command, contract_file

COUNTER = blake3(Path(contract_file("counter")).read_bytes()).hexdigest()


def transcript(answer: Answer) -> str:
    """stderr with what differs from run to run left out."""
    text = re.sub(r"\b[0-9a-f]{64}\b", "<id>", answer.stderr)
    return re.sub(r"(?<=[ '])/\S*?(?=[ ':]|$)", "<path>", text, flags=re.MULTILINE)


def golden(answer: Answer, code: ExitCode, expected: str) -> None:
    assert transcript(answer) == inspect.cleandoc(expected) + "\n"
    assert answer.exit_code == code
    assert answer.stdout == ""


def test_no_store(piecrust: Command) -> None:
    golden(
        piecrust("status", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: <path> is not a store: there is no .piecrust here or in a directory above
        Hint: piecrust init   (make this directory a store)
        Hint: piecrust -C DIR ...   (the store is elsewhere)
        """,
    )


def test_unknown_command(piecrust: Command) -> None:
    golden(
        piecrust("comit", code=None),
        ExitCode.USAGE,
        """
        Error: there is no command 'comit'
        Hint: piecrust commit
        """,
    )


def test_unknown_option(piecrust: Command) -> None:
    golden(
        piecrust("log", "--grap", code=None),
        ExitCode.USAGE,
        """
        Error: no such option: --grap
        Hint: piecrust log --graph
        Hint: piecrust log --help
        """,
    )


def test_missing_argument(piecrust: Command) -> None:
    golden(
        piecrust("deploy", code=None),
        ExitCode.USAGE,
        """
        Error: missing argument 'FILE'
        Hint: piecrust deploy --help
        """,
    )


def test_missing_file(store: Command) -> None:
    golden(
        store("deploy", "nothing.wasm", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: cannot use the file 'nothing.wasm': no such file or directory
        """,
    )


def test_bytecode_that_is_none(store: Command) -> None:
    Path(store.directory, "text.wasm").write_text("hello")
    answer = store("deploy", "text.wasm", code=8)
    assert answer.stderr.startswith("Error: ")
    assert answer.stderr.count("\n") == 1


def test_contract_that_breaks_the_interface(store: Command) -> None:
    Path(store.directory, "two.wat").write_text('(module (memory (export "a") 1) (memory (export "b") 1))')
    answer = store("deploy", "two.wat", code=8)
    assert "Error: module has 2 memories, but only one is allowed" in answer.stderr


def test_alias_that_is_taken(counting: Command) -> None:
    golden(
        counting("deploy", contract_file("box"), "--alias", "counter", code=None),
        ExitCode.USAGE,
        f"""
        Error: the alias 'counter' is taken by {COUNTER[:12]}
        Hint: piecrust alias --delete counter
        """,
    )


def test_contract_that_is_there_already(counting: Command) -> None:
    answer = counting("deploy", contract_file("counter"), code=8)
    assert answer.stderr.startswith(f"Error: a contract with the id {COUNTER}")


def test_unknown_contract(counting: Command) -> None:
    golden(
        counting("call", "countre", "increment", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: there is no contract 'countre'
        Hint: did you mean counter?
        Hint: piecrust contracts
        """,
    )


def test_unknown_function(counting: Command) -> None:
    golden(
        counting("query", "counter", "read_vaule", code=None),
        ExitCode.ABI,
        """
        Error: invalid function 'read_vaule': not an exported function
          in counter.read_vaule  gas 0 of 1,000,000,000
          counter exports increment, read_value
          did you mean read_value?
        Hint: piecrust contracts --functions   (what can be called)
        """,
    )


def test_argument_without_a_type(store: Command) -> None:
    store("deploy", contract_file("minimal"), "--alias", "small")
    golden(
        store("call", "small", "anything", "5", code=None),
        ExitCode.USAGE,
        """
        Error: the type of argument 1, '5', is not known
        Hint: u64:5   (write the type in front)
        Hint: str:5
        """,
    )


def test_value_that_does_not_fit_its_type(counting: Command) -> None:
    golden(
        counting("call", "counter", "increment", "(u64, bool):(5, yes)", code=None),
        ExitCode.USAGE,
        """
        Error: expected true or false at character 5 of '(5, yes)', found 'yes)'
        """,
    )


def test_type_that_is_none(counting: Command) -> None:
    answer = counting("call", "counter", "increment", "u65:5", code=2)
    assert answer.stderr.startswith("Error: 'u65' is not a type: ")


def test_number_out_of_range(counting: Command) -> None:
    answer = counting("call", "counter", "increment", "u8:256", code=8)
    assert answer.stderr == "Error: expected u8 (0 to 255), got 256\n"


def test_argument_that_is_too_long(counting: Command) -> None:
    Path(counting.directory, "long").write_bytes(bytes(65537))
    answer = counting("call", "counter", "increment", "@long", code=8)
    assert answer.stderr == "Error: the argument has 65,537 bytes, at most 65,536 fit\n"
    Path(counting.directory, "longer").write_bytes(bytes(1 << 21))
    answer = counting("call", "counter", "increment", "@longer", code=2)
    assert answer.stderr == "Error: the file 'longer' has more than 1,048,576 bytes\n"


def test_nothing_but_the_name_shows_what_may_follow(piecrust: Command) -> None:
    answer = piecrust(code=2)
    assert answer.stdout.startswith("Usage: piecrust [OPTIONS] COMMAND [ARGS]...\n")
    assert piecrust("meta", code=2).stdout.startswith("Usage: piecrust meta ")
    assert json.loads(piecrust("--json", code=2).stdout)["errors"][0]["message"] == "missing command"


def test_result_of_another_type(counting: Command) -> None:
    answer = counting("query", "counter", "read_value", "--returns", "[u64; 2]", code=8)
    assert answer.stderr.startswith("Error: ")


def test_panic_with_the_frames_that_were_running(store: Command) -> None:
    store("deploy", contract_file("panics"), "--alias", "panics")
    golden(
        store("call", "panics", "panic_with", "str:the till is empty", "--gas-limit", "100000", code=None),
        ExitCode.PANIC,
        """
        Error: the contract panicked: the till is empty
          in panics.panic_with  gas 3,628 of 100,000
        """,
    )


def test_trap(store: Command) -> None:
    store("deploy", contract_file("panics"), "--alias", "panics")
    answer = store("call", "panics", "trap", code=4)
    assert answer.stderr.startswith("Error: the contract trapped: wasm `unreachable` instruction executed\n")


def test_out_of_gas(counting: Command) -> None:
    answer = counting("call", "counter", "increment", "--gas-limit", "10", code=5)
    assert answer.stderr.startswith(
        "Error: out of gas: the limit of 10 does not suffice\n  in counter.increment  gas 10 of 10\n"
    )
    assert answer.stderr.endswith("Hint: piecrust call ... --gas-limit N   (a higher limit)\n")


def test_out_of_time(store: Command) -> None:
    store("deploy", contract_file("endless"), "--alias", "endless")
    functions = store.json("contracts", "--functions")["contracts"][0]["functions"]
    answer = store("call", "endless", functions[0], "--time-limit", "0.1", "--gas-limit", str(2**63), code=5)
    assert answer.stderr.startswith("Error: the call took longer than 0.1 s\n")
    assert answer.stderr.endswith("Hint: piecrust call ... --time-limit SECONDS\n")
    assert store.json("status")["working_state"]["steps"] == {"deploy": 1}


def test_missing_host_query(store: Command) -> None:
    store("deploy", contract_file("host_queries"), "--alias", "asking")
    answer = store("call", "asking", "hash", "Vec<u8>:00", code=4)
    assert answer.stderr.startswith("Error: missing host query: hash\n")
    assert "Hint: piecrust call ... --host-queries MODULE:OBJECT   (Python code that answers it)\n" in answer.stderr


def test_unknown_revision(counting: Command) -> None:
    golden(
        counting("checkout", "nowhere", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: unknown revision 'nowhere'
        Hint: piecrust log --all
        Hint: piecrust branch   (branches by name)
        """,
    )


def test_a_revision_of_a_branch_without_commits(store: Command) -> None:
    golden(
        store("show", "main~1", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: unknown revision 'main~1'
          main has no commits yet
        Hint: piecrust deploy FILE.wasm --alias NAME
        Hint: piecrust commit -m MESSAGE
        """,
    )


@pytest.mark.parametrize("revision", ["main~9", "@{99}", "HEAD^2"])
def test_a_revision_before_the_beginning(counting: Command, revision: str) -> None:
    assert "does not go back so far" in counting("show", revision, code=3).stderr


def test_a_revision_that_is_nearly_a_name(counting: Command) -> None:
    counting("tag", "release")
    assert "Hint: did you mean main?\n" in counting("log", "mian..release", code=3).stderr
    assert "Hint: did you mean release?\n" in counting("root", "relaese~1", code=3).stderr
    assert "Hint: at least 4 digits of an id are needed\n" in counting("show", "a0b", code=3).stderr


def test_what_is_no_revision(counting: Command) -> None:
    golden(
        counting("show", "main~x", code=None),
        ExitCode.USAGE,
        """
        Error: 'main~x' is not a revision
        Hint: main, v1, HEAD~2, main@{1}, an id or its first digits, root:HEX
        """,
    )


def test_deploying_what_is_there(counting: Command) -> None:
    answer = counting("deploy", contract_file("counter"), code=8)
    assert "Hint: piecrust deploy ... --id HEX   (once more, by another id)\n" in answer.stderr


def test_deploying_without_the_argument_that_the_interface_wants(store: Command) -> None:
    golden(
        store("deploy", contract_file("token"), code=None),
        ExitCode.USAGE,
        """
        Error: init takes supply: u64
        Hint: --init VALUE
        """,
    )
    assert store.json("status")["working_state"] is None


def test_an_argument_that_is_none_of_its_type(store: Command) -> None:
    store("deploy", contract_file("token"), "--alias", "token", "--init", "5")
    answer = store("call", "token", "transfer", "ab", "5", code=8)
    assert answer.stderr == "Error: argument 'to': expected [u8; 32], got 1 bytes\n"


@pytest.mark.parametrize("words", [["--id", "zz"], ["--owner", "zz"]])
def test_an_id_that_is_none(store: Command, words: list[str]) -> None:
    answer = store("deploy", contract_file("counter"), *words, code=2)
    assert answer.stderr.startswith("Error: 'zz' is not ")


@pytest.mark.parametrize(
    "words", [["log", "-n", "-1"], ["log", "-n", "x"], ["op-log", "-n", "-1"], ["log", "-n", "1.5"]]
)
def test_a_number_that_is_none(counting: Command, words: list[str]) -> None:
    assert words[-1] in counting(*words, code=2).stderr


def test_an_option_without_its_value_names_the_command(counting: Command) -> None:
    golden(
        counting("branch", "--delete", code=None),
        ExitCode.USAGE,
        """
        Error: option '--delete' requires an argument
        Hint: piecrust branch --help
        """,
    )


def test_unknown_sub_command(piecrust: Command) -> None:
    golden(
        piecrust("bisect", "rest", code=None),
        ExitCode.USAGE,
        """
        Error: no such command 'rest'
        Hint: piecrust bisect reset
        Hint: piecrust bisect --help
        """,
    )


@pytest.mark.parametrize("words", ["replay --bundle", "import", "verify", "run", "deploy --contract " + 64 * "0"])
def test_a_file_that_is_not_there(counting: Command, words: str) -> None:
    answer = counting(*words.split(), "missing", code=3)
    assert answer.stderr.startswith("Error: ")
    assert answer.stderr.endswith("no such file or directory\n")


def test_metadata_without_a_name(store: Command) -> None:
    store("meta", "set", "", "u64:5", code=2)
    assert store.json("status")["working_state"] is None


def test_ambiguous_revision(counting: Command) -> None:
    root = counting("root").stdout.strip()
    counting("commit", "--allow-empty", "-m", "the same state")
    answer = counting("show", f"root:{root}", code=3)
    first, *candidates, hint = answer.stderr.splitlines()
    assert first == f"Error: 'root:{root}' could be any of 2 commits"
    assert len(candidates) == 2
    assert hint == "Hint: give more digits, or one of the ids above"


def test_leaving_what_is_not_committed(counting: Command) -> None:
    counting("call", "counter", "increment")
    golden(
        counting("checkout", "main~1", code=None),
        ExitCode.CONFLICT,
        """
        Error: the working state has 1 call that no commit has
        Hint: piecrust commit -m MESSAGE   (make them permanent)
        Hint: piecrust checkout main~1 --discard   (drop them)
        Hint: piecrust checkout main~1 --keep   (set them aside as an anonymous commit)
        """,
    )


def test_a_branch_that_went_on_under_the_working_state(counting: Command) -> None:
    counting("call", "counter", "increment")
    with VM(counting.directory) as vm, vm.session("main") as session:
        session.call(bytes.fromhex(COUNTER), "increment")
        session.commit("by somebody else")
    answer = counting("call", "counter", "increment", code=6)
    assert answer.stderr.startswith("Error: HEAD is at ")
    assert "Hint: piecrust checkout HEAD --keep " in answer.stderr
    kept = counting.json("checkout", "HEAD", "--keep")["kept"]
    assert counting.json("status")["branch"] == "main"
    assert counting("query", "counter", "read_value", "--at", kept).stdout == "256\n"
    assert counting("query", "counter", "read_value").stdout == "256\n"
    counting("call", "counter", "increment")


def test_nothing_to_commit(counting: Command) -> None:
    golden(
        counting("commit", code=None),
        ExitCode.NEGATIVE,
        """
        Error: nothing was done since the last commit
        Hint: piecrust call CONTRACT FUNCTION
        """,
    )


def test_unknown_branch(counting: Command) -> None:
    golden(
        counting("switch", "mian", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: there is no branch 'mian'
        Hint: piecrust switch -c mian
        Hint: piecrust switch main
        """,
    )


def test_branch_name_that_is_none(counting: Command) -> None:
    answer = counting("branch", "a b", code=2)
    assert answer.stderr == "Error: invalid name 'heads/a b': 'a b' can't be a part of a name\n"


def test_merge_conflict(counting: Command) -> None:
    counting("switch", "-c", "side", "main~1")
    counting("call", "counter", "increment")
    counting("call", "counter", "increment")
    counting("commit", "-m", "elsewhere")
    golden(
        counting("merge", "main", code=None),
        ExitCode.CONFLICT,
        """
        Error: both sides changed 1 contract; nothing was merged
          counter  both sides changed it: pages 1, 3
        Hint: piecrust merge main --ours counter
        Hint: piecrust merge main --theirs counter
        """,
    )


def test_nothing_to_undo(piecrust: Command) -> None:
    piecrust("init")
    piecrust("undo")
    golden(
        piecrust("undo", code=None),
        ExitCode.NOT_FOUND,
        """
        Error: there is no operation that could be taken back
        Hint: piecrust op-log
        """,
    )


def test_damaged_store(counting: Command) -> None:
    segment = max((counting.directory / ".piecrust" / "log").iterdir())
    data = bytearray(segment.read_bytes())
    data[600] ^= 0xFF
    segment.write_bytes(data)
    answer = counting("call", "counter", "increment", code=7)
    assert answer.stderr.startswith("Error: ")
    assert "damaged" in answer.stderr
    assert answer.stderr.endswith("Hint: piecrust fsck\n")
    reading = counting("log", "--all")
    assert reading.stderr.startswith("Warning: ")
    assert "see piecrust fsck" in reading.stderr


@pytest.mark.parametrize("limit", ["--gas-limit=-1", "--time-limit=0", "--time-limit=nan"])
def test_limits_that_make_no_sense(counting: Command, limit: str) -> None:
    assert "limit" in counting("query", "counter", "read_value", limit, code=2).stderr


def test_what_a_damaged_store_misses_counts_as_damaged(counting: Command) -> None:
    segment = max((counting.directory / ".piecrust" / "log").iterdir())
    data = bytearray(segment.read_bytes())
    data[600] ^= 0xFF
    segment.write_bytes(data)
    answer = counting("show", "lost", code=7)
    assert answer.stderr.startswith("Error: unknown revision 'lost'\n")
    assert "damaged at offset" in answer.stderr.splitlines()[-1]
    assert answer.stderr.splitlines()[-1].startswith("Warning: ")
    (warning,) = json.loads(counting("--json", "show", "lost", code=7).stdout)["warnings"]
    assert "damaged at offset" in warning


def test_init_of_a_store_that_lost_its_format(counting: Command) -> None:
    (counting.directory / ".piecrust" / "FORMAT").unlink()
    answer = counting("init", code=7)
    assert "FORMAT is damaged at offset 0: it is missing, but the log is in use" in answer.stderr


def test_init_goes_on_where_it_was_killed(piecrust: Command) -> None:
    (piecrust.directory / ".piecrust").mkdir()
    assert piecrust.json("init")["created"]
    assert piecrust.json("status")["branch"] == "main"


def test_newer_store(store: Command) -> None:
    path = store.directory / ".piecrust" / "FORMAT"
    path.write_bytes(b"not the format of this version")
    answer = store("status", code=7)
    assert answer.stderr.startswith("Error: ")


def test_a_bug_is_named_as_one_and_shows_no_traceback(counting: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("piecrust.cli.commands.status._gather", fails)
    golden(
        counting("status", code=None),
        ExitCode.BUG,
        """
        Error: this is a bug in piecrust: ZeroDivisionError: division by zero
        Hint: run the command again with --debug and report what it prints
        """,
    )
    assert "Traceback (most recent call last)" in counting("status", "--debug", code=70).stderr


def test_an_interrupt_between_calls_has_its_own_code(counting: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("piecrust.cli.commands.status._gather", interrupted)
    assert counting("status", code=130).stdout == ""


def test_every_error_of_the_library_has_an_exit_code() -> None:
    classes = [
        value
        for module in (objects_errors, vm_errors)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, PiecrustError) and value is not PiecrustError
    ]
    assert len(classes) > 40
    unmapped = [c.__name__ for c in classes if not any(base.__name__ in EXIT_CODES for base in c.__mro__)]
    assert unmapped == []
    unknown = set(EXIT_CODES) - {c.__name__ for c in classes}
    assert unknown == set()


def test_the_exit_codes_are_frozen() -> None:
    assert {code.name: code.value for code in ExitCode} == {
        "OK": 0,
        "NEGATIVE": 1,
        "USAGE": 2,
        "NOT_FOUND": 3,
        "PANIC": 4,
        "OUT_OF_GAS": 5,
        "CONFLICT": 6,
        "CORRUPT": 7,
        "ABI": 8,
        "BUG": 70,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


def test_an_error_in_an_envelope_has_a_stable_code(counting: Command) -> None:
    answer = counting("checkout", "nowhere", "--json", code=3)
    assert json.loads(answer.stdout) == {
        "schema": "piecrust.cli/1",
        "command": "checkout",
        "ok": False,
        "data": None,
        "warnings": [],
        "errors": [{"code": "unknown_revision", "message": "unknown revision 'nowhere'"}],
    }
    assert answer.stderr == ""


def test_an_error_of_the_command_line_is_an_envelope_too(piecrust: Command) -> None:
    answer = json.loads(piecrust("log", "--nope", "--json", code=2).stdout)
    assert (answer["command"], answer["ok"]) == ("log", False)
    assert answer["errors"][0]["code"] == "no_such_option"


def test_a_failed_call_tells_its_frames_in_the_envelope(store: Command) -> None:
    store("deploy", contract_file("panics"), "--alias", "panics")
    answer = store("call", "panics", "panic_with", "str:no", "--json", code=4)
    data = json.loads(answer.stdout)["data"]
    assert data["kind"] == "Panic"
    assert [(frame["function"], frame["reason"]) for frame in data["frames"]] == [("panic_with", "panic: no")]


def test_causes_are_told_once_each() -> None:
    error = CommandError("outer")
    error.__cause__ = ValueError("inner")
    error.__cause__.__cause__ = ValueError("inner")
    assert problem_of(error).causes == ["ValueError: inner"]


def test_codes_are_class_names_in_snake_case() -> None:
    assert snake_case("ContractPositionCollision") == "contract_position_collision"
