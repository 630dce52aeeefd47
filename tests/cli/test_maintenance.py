"""`gc` and `fsck` on stores that the command made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.command import Command


@pytest.fixture
def undone(counting: Command) -> Command:
    """A store with a commit that was taken back, and replaced working states."""
    counting("call", "counter", "increment")
    counting("commit", "-m", "four")
    counting("undo")
    counting("checkout", "main", "--discard")
    return counting


def test_gc_tells_what_it_would_remove_and_removes_it(undone: Command) -> None:
    would = undone.json("gc", "--dry-run", "--keep-days", "0")
    assert would["dry_run"]
    assert would["objects_dead"] > 0
    assert undone.json("gc", "--dry-run")["objects_dead"] < would["objects_dead"], "undone work is kept for a while"
    done = undone.json("gc", "--keep-days", "0")
    assert done["objects_dead"] == would["objects_dead"]
    assert done["commits_living"] == 3
    assert undone("query", "counter", "read_value").stdout == "255\n"
    assert undone.json("fsck")["clean"]
    undone("gc", "--keep-days", "-1", code=2)


def test_what_gc_left_in_quarantine_comes_back(undone: Command) -> None:
    before = undone.json("gc", "--dry-run", "--keep-days", "0")["objects_dead"]
    undone("gc", "--keep-days", "0", "--keep-quarantine")
    assert undone.json("gc", "--dry-run", "--keep-days", "0")["objects_dead"] < before
    assert undone.json("gc", "--restore")["restored_packs"] > 0
    assert undone.json("gc", "--restore")["restored_packs"] == 0
    assert undone.json("fsck")["clean"]
    assert undone("query", "counter", "read_value").stdout == "255\n"
    undone("gc", "--restore", "--dry-run", code=2)


def test_gc_keeps_what_is_not_committed(counting: Command) -> None:
    counting("call", "counter", "increment")
    counting("gc", "--keep-days", "0")
    assert counting("query", "counter", "read_value").stdout == "256\n"
    assert counting.json("commit")["created"]


def test_a_clean_store_has_no_damage(counting: Command) -> None:
    assert counting("fsck").lines[0] == "No damage."
    report = counting.json("fsck", "--quick")
    assert (report["clean"], report["full"]) == (True, False)


def test_damage_is_a_negative_verdict_that_names_the_commits(counting: Command) -> None:
    segment = max((counting.directory / ".piecrust" / "log").iterdir())
    data = bytearray(segment.read_bytes())
    data[600] ^= 1
    segment.write_bytes(data)
    report = counting.json("fsck", code=1)
    assert not report["clean"]
    assert report["files"][0]["path"].endswith(segment.name)
    lines = counting("fsck", code=1).lines
    assert lines[0].startswith("file ")
    assert lines[-1].startswith("Checked ")


def test_a_repair_puts_damage_away_and_heals_what_a_copy_has(counting: Command, tmp_path: Path) -> None:
    root = counting("root").stdout
    shutil.copytree(counting.directory / ".piecrust", tmp_path / "copy" / ".piecrust")
    segment = max((counting.directory / ".piecrust" / "log").iterdir())
    data = bytearray(segment.read_bytes())
    data[1500] ^= 1
    segment.write_bytes(data)
    answer = counting.json("fsck", "--repair", "--from", str(tmp_path / "copy"))
    assert answer["clean"]
    assert answer["repair"]["repaired"]
    assert [Path(path).name for path in answer["repair"]["quarantined"]] == [segment.name]
    assert not answer["repair"]["before"]["clean"]
    assert counting("root").stdout == root
    counting("branch", "other")
    assert counting("fsck", "--repair").lines[0] == "No damage."


def test_what_is_lost_is_told_after_a_repair(counting: Command) -> None:
    segment = max((counting.directory / ".piecrust" / "log").iterdir())
    data = bytearray(segment.read_bytes())
    data[1500] ^= 1
    segment.write_bytes(data)
    lines = counting("fsck", "--repair", code=1).lines
    assert any(line.startswith("in quarantine: ") for line in lines)
    assert "What is left:" in lines
    assert any(line.startswith("commit ") for line in lines[lines.index("What is left:") :])


def test_options_of_a_repair_that_make_no_sense_are_refused(counting: Command) -> None:
    counting("fsck", "--repair", "--quick", code=2)
    counting("fsck", "--from", ".", code=2)
    counting("fsck", "--repair", "--from", "nowhere", code=3)


def test_there_must_be_a_store(piecrust: Command) -> None:
    piecrust("fsck", code=3)
    piecrust("gc", code=3)
