"""Whatever changes the store is one operation: in the log, and taken back and done again whole."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.command import Command, contract_file

# On the store that `prepared` makes; each is one command that changes something.
CHANGES: list[tuple[str, ...]] = [
    ("deploy", contract_file("box"), "--alias", "box"),
    ("call", "counter", "increment"),
    ("commit", "--allow-empty", "-m", "empty"),
    ("run", "steps.jsonl", "-m", "two steps"),
    ("run", "steps.jsonl", "--no-commit"),
    ("migrate", "counter", contract_file("box")),
    ("meta", "set", "height", "u64:7"),
    ("alias", "c", "counter"),
    ("alias", "--delete", "counter"),
    ("checkout", "main~1"),
    ("switch", "side"),
    ("switch", "-c", "another", "main~1"),
    ("branch", "another", "main~2"),
    ("branch", "-f", "side", "main"),
    ("branch", "--delete", "side"),
    ("tag", "v2"),
    ("tag", "-f", "v1", "main~2"),
    ("tag", "--delete", "v1"),
    ("merge", "side", "--theirs", "counter"),
    ("restore", "main~2"),
    ("restore", "main~1", "counter"),
    ("bisect", "start", "main", "main~2"),
    ("import", "side.bundle", "--branch", "copy"),
    ("import-raw", "memory.bin", "counter"),
    ("delete-commit", "KEPT"),
]
STEPS = """
{"deploy": "box.wasm", "alias": "boxed"}
{"call": "counter", "function": "increment"}
"""


@pytest.fixture
def prepared(counting: Command) -> tuple[Command, str]:
    """A branch that parted, a tag, a commit without a name, and files to take in; and that commit's id."""
    counting("tag", "v1", "main~1")
    counting("switch", "-c", "side", "main~1")
    for _ in range(2):
        counting("call", "counter", "increment")
    counting("commit", "-m", "on the side")
    counting("export", "side", "-o", "side.bundle")
    counting("export", "main~2", "--raw", "counter", "-o", "memory.bin")
    counting("switch", "main")
    counting("call", "counter", "increment")
    kept = counting.json("checkout", "HEAD", "--keep")["kept"]
    (counting.directory / "steps.jsonl").write_text(STEPS.replace("box.wasm", contract_file("box")))
    return counting, kept


def standing(piecrust: Command) -> dict[str, object]:
    """Everything that a command can change: where HEAD and all names are, what is uncommitted, which commits count."""
    status = piecrust.json("status")
    return {
        "head": [status["branch"], status["commit"], status["working_state"], status["bisection"]],
        "names": [piecrust.json(command) for command in ("branch", "tag", "alias")],
        "metadata": piecrust.json("meta", "get"),
        "commits": sorted(item["commit"] for item in piecrust.json("log", "--all")["commits"]),
    }


@pytest.mark.parametrize("words", CHANGES, ids=lambda words: " ".join(word.rpartition("/")[2] for word in words))
def test_is_taken_back_and_done_again_whole(prepared: tuple[Command, str], words: Sequence[str]) -> None:
    piecrust, kept = prepared
    before = standing(piecrust)
    piecrust(*(kept if word == "KEPT" else word for word in words))
    after = standing(piecrust)
    assert after != before
    logged = piecrust.json("op-log", "-n", "1")["operations"][0]
    assert logged["command"] == words[0]
    told = piecrust.json("undo")["operation"]
    assert told["sequence"] == logged["sequence"]
    assert standing(piecrust) == before
    piecrust("redo")
    assert standing(piecrust) == after
    assert piecrust.json("fsck")["clean"]
