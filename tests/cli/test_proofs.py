"""Proofs from the store to a file and back, through the command."""

from __future__ import annotations

import json

import pytest
from piecrust.objects.verifier.encoding import PROOF_BYTES_MAX
from support.command import Command, contract_file


@pytest.fixture
def proven(counting: Command) -> Command:
    counting("deploy", contract_file("box"), "--alias", "box")
    counting("commit", "-m", "four")
    return counting


def commit_of(piecrust: Command, revision: str) -> str:
    return str(piecrust("rev-parse", revision).stdout.strip())


def test_a_range_of_memory_is_proven_and_verified_without_the_store(
    proven: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made = proven.json("prove", "main", "counter", "--range", "0x106a0:8", "-o", "value.proof")
    assert made["bytes"] < 4096
    alone = Command(tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("cache"))
    proof = str(proven.directory / "value.proof")
    claim = alone.json("verify", proof, "--commit", made["commit"])["claim"]
    assert claim["claims"][-1]["data"] == "ff00000000000000"
    assert claim["claims"][-1]["offset"] == str(0x106A0)
    lines = alone("verify", proof, "--commit", made["commit"]).lines
    assert lines[0] == "The proof holds."
    assert lines[-1] == "      000106a0  ff 00 00 00 00 00 00 00                          |........|"


def test_a_proof_of_another_commit_is_a_negative_verdict(proven: Command) -> None:
    proven("prove", "main~1", "counter", "-o", "old.proof")
    answer = proven("verify", "old.proof", "--commit", commit_of(proven, "main"), code=1)
    assert answer.stderr.startswith("Error: the proof does not hold: it is about commit ")
    assert proven.json("verify", "old.proof", "--commit", commit_of(proven, "main~1"))["holds"] is True


def test_a_damaged_proof_is_a_negative_verdict(proven: Command) -> None:
    proven("prove", "main", "counter", "--page", "1", "-o", "page.proof")
    path = proven.directory / "page.proof"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    proven("verify", "page.proof", code=1)
    proven("inspect", "page.proof", code=1)
    path.write_bytes(b"not a proof")
    proven("verify", "page.proof", code=1)


def test_a_file_that_is_too_long_is_a_negative_verdict(proven: Command) -> None:
    with (proven.directory / "long.proof").open("wb") as file:
        file.truncate(PROOF_BYTES_MAX + 1)
    for command in ("verify", "inspect"):
        answer = proven(command, "long.proof", code=1)
        assert answer.stderr.startswith("Error: the proof does not hold: ")
        assert "134,217,728" in answer.stderr


def test_the_envelope_of_a_verdict_says_whether_it_holds(proven: Command) -> None:
    proven("prove", "main", "counter", "-o", "record.proof")
    assert proven.json("verify", "record.proof", "--commit", commit_of(proven, "main"))["holds"] is True
    answer = json.loads(proven("--json", "verify", "record.proof", "--commit", "ab" * 32, code=1).stdout)
    assert (answer["ok"], [error["code"] for error in answer["errors"]]) == (False, ["proof_is_false"])


def test_the_older_commit_of_a_difference_must_be_compared(proven: Command) -> None:
    proven("prove", "main", "--difference", "main~1", "-o", "difference.proof")
    answer = proven("verify", "difference.proof", "--commit", commit_of(proven, "main"))
    older = commit_of(proven, "main~1")
    assert older in answer.stderr
    words = ["verify", "difference.proof", "--commit", commit_of(proven, "main"), "--base"]
    assert not proven(*words, older).stderr
    proven(*words, commit_of(proven, "main~2"), code=1)


def test_a_range_beyond_the_memory_is_not_provable(proven: Command) -> None:
    answer = proven("prove", "main", "counter", "--range", "0x10000000:8", "-o", "x", code=3)
    assert "the memory has 262,144 bytes" in answer.stderr


def test_what_a_proof_is_about_must_be_compared(proven: Command) -> None:
    proven("prove", "main", "counter", "-o", "record.proof")
    assert "nothing says which commit" in proven("verify", "record.proof").stderr


def test_several_contracts_make_one_proof(proven: Command) -> None:
    words = ["counter", "--page", "1", "--absent-page=2", "box", "ab" * 32, "--absent"]
    proven("prove", "main", *words, "-o", "all.proof")
    claims = proven.json("inspect", "all.proof")["claim"]["claims"]
    assert {"page", "absent_page", "contract", "absent_contract"} <= {claim["kind"] for claim in claims}


def test_ancestry_and_differences_are_proven(proven: Command) -> None:
    proven("prove", "main", "--ancestor", "main~3", "-o", "ancestry.proof")
    claim = proven.json("verify", "ancestry.proof", "--commit", commit_of(proven, "main"))["claim"]
    assert claim["ancestor"] == commit_of(proven, "main~3")
    assert "comes after" in proven("inspect", "ancestry.proof").stdout
    proven("prove", "main", "--difference", "main~1", "-o", "difference.proof")
    lines = proven("inspect", "difference.proof").lines
    assert lines[2].startswith("  new contract ")
    proven("prove", "main~3", "--ancestor", "main", "-o", "false.proof", code=3)


def test_a_proof_under_the_bare_root_binds_no_ids(proven: Command) -> None:
    made = proven.json("prove", "main", "counter", "--page", "1", "--bare", "-o", "bare.proof")
    claim = proven.json("verify", "bare.proof", "--root", made["state_root"])["claim"]
    assert claim["commit"] is None
    proven("verify", "bare.proof", "--commit", made["commit"], code=1)
    proven("prove", "main", "counter", "-o", "bound.proof")
    answer = proven("verify", "bound.proof", "--root", made["state_root"], code=1)
    assert "which a state root doesn't bind" in answer.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["main", "counter"],
        ["main", "-o", "x"],
        ["main", "--page", "1", "-o", "x"],
        ["main", "counter", "--page", "one", "-o", "x"],
        ["main", "counter", "--page", "-o", "x"],
        ["main", "counter", "--colour", "-o", "x"],
        ["main", "counter", "--ancestor", "main~1", "-o", "x"],
    ],
    ids=" ".join,
)
def test_what_can_not_be_asked_for_is_refused(proven: Command, words: list[str]) -> None:
    proven("prove", *words, code=2)


def test_what_is_not_so_can_not_be_proven(proven: Command) -> None:
    answer = proven("prove", "main", "counter", "--absent", "-o", "x", code=3)
    assert answer.stderr.startswith("Error: not provable: ")
    proven("verify", "x", code=3)
    proven("verify", "x", "--commit", "12", code=2)
