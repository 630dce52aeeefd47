"""Commits go to other places through the command, and come from there."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Command, contract_file

pytest.importorskip("obstore")


@pytest.fixture
def remote(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("remotes") / "state")


@pytest.fixture
def pushed(counting: Command, remote: str) -> Command:
    """The counter's history, which `origin` has."""
    counting("remote", "add", "origin", remote)
    counting("push")
    return counting


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory, code_cache: Path, pushed: Command, remote: str) -> Command:
    """The command in a clone."""
    command = Command(tmp_path_factory.mktemp("elsewhere"), code_cache)
    command("clone", remote, ".")
    return command


def value(command: Command) -> str:
    counter = command.json("contracts")["contracts"][0]["contract"]
    return command("query", counter, "read_value").stdout.split()[0]


def increment(command: Command) -> None:
    counter = command.json("contracts")["contracts"][0]["contract"]
    command("call", counter, "increment")
    command("commit", "-m", "more")


def test_a_clone_has_the_history_and_goes_on(elsewhere: Command, pushed: Command) -> None:
    assert value(elsewhere) == "255"
    assert len(elsewhere.json("log")["commits"]) == 3
    assert "(HEAD -> main, origin/main)" in elsewhere("log").stdout
    increment(elsewhere)
    sent = elsewhere.json("push")
    assert sent["commits"] == 1
    assert len(sent["packs"]) == 1
    pulled = pushed.json("pull")
    assert pulled["fast_forward"] is True
    assert value(pushed) == "256"
    assert pushed("rev-parse", "origin/main").stdout == elsewhere("rev-parse", "HEAD").stdout
    pushed("undo")
    assert value(pushed) == "255"


def test_who_was_second_is_told_to_pull(elsewhere: Command, pushed: Command) -> None:
    increment(elsewhere)
    elsewhere("push")
    pushed("deploy", contract_file("box"), "--alias", "box")
    pushed("commit", "-m", "box")
    refused = pushed("push", code=6)
    assert "pull first" in refused.stderr
    assert "piecrust pull" in refused.stderr
    pulled = pushed.json("pull", "-m", "both")
    assert pulled["fast_forward"] is False
    pushed("push")
    assert elsewhere.json("pull")["commit"] == pulled["commit"]


def test_a_working_state_is_not_lost_by_a_pull(elsewhere: Command, pushed: Command) -> None:
    increment(elsewhere)
    elsewhere("push")
    pushed("call", "counter", "increment")
    assert "piecrust commit" in pushed("pull", code=6).stderr
    assert pushed("status").stdout


def test_both_sides_changed_a_contract(elsewhere: Command, pushed: Command) -> None:
    increment(elsewhere)
    elsewhere("push")
    pushed("call", "counter", "increment")
    pushed("call", "counter", "increment")
    pushed("commit", "-m", "twice")
    assert "piecrust merge origin/main --theirs counter" in pushed("pull", code=6).stderr
    pushed("merge", "origin/main", "--theirs", "counter")
    pushed("push")


def test_branches_and_tags_come_and_go(elsewhere: Command, pushed: Command) -> None:
    pushed("tag", "v1")
    pushed("push", "origin", "v1", "HEAD~1:heads/stable")
    elsewhere("fetch")
    assert elsewhere("rev-parse", "v1").stdout == pushed("rev-parse", "main").stdout
    assert elsewhere("rev-parse", "origin/stable").stdout == pushed("rev-parse", "main~1").stdout
    pushed("push", "origin", "stable", "--delete")
    elsewhere("fetch")
    elsewhere("rev-parse", "origin/stable", code=3)
    assert "nothing new" in elsewhere("fetch").stdout


def test_remotes_are_named(store: Command, remote: str) -> None:
    store("remote", "add", "origin", remote)
    store("remote", "add", "origin", remote, code=6)
    store("remote", "add", "-x", remote, code=2)
    store("remote", "add", "other", "ftp://somewhere", code=2)
    secret = store("remote", "add", "other", "s3://key:secret@bucket", code=2)
    assert "secret" not in secret.stderr
    assert store.json("remote", "list")["remotes"] == [{"name": "origin", "url": remote, "lazy": False}]
    store("remote", "remove", "origin")
    store("remote", "remove", "origin", code=3)
    store("fetch", code=3)


def test_a_clone_that_fails_leaves_nothing(piecrust: Command, remote: str, tmp_path: Path) -> None:
    assert "nothing was pushed there yet" in piecrust("clone", remote, "here", code=2).stderr
    assert not (tmp_path / "here").exists()


def test_a_lazy_clone_answers_and_goes_on(pushed: Command, remote: str, code_cache: Path) -> None:
    pushed("clone", remote, "lazy", "--lazy")
    lazy = Command(pushed.directory / "lazy", code_cache)
    assert value(lazy) == "255"
    assert len(lazy.json("log")["commits"]) == 3
    increment(lazy)
    lazy("push")
    lazy("fsck")
    lazy("gc")
    assert pushed.json("pull")["fast_forward"] is True
    Path(remote).rename(remote + " away")
    assert value(lazy) == "256"


def test_without_the_remote_a_lazy_clone_names_it(pushed: Command, remote: str, code_cache: Path) -> None:
    contract = pushed.json("contracts")["contracts"][0]["contract"]
    pushed("clone", remote, "lazy", "--lazy")
    pushed("clone", remote, "partial", "--contract", contract)
    Path(remote).rename(remote + " away")
    offline = Command(pushed.directory / "lazy", code_cache)("contracts", code=6)
    assert "remote origin" in offline.stderr
    assert value(Command(pushed.directory / "partial", code_cache)) == "255"


def test_a_shallow_clone_knows_what_it_lacks(pushed: Command, remote: str, code_cache: Path) -> None:
    pushed("clone", remote, "shallow", "--depth", "1")
    shallow = Command(pushed.directory / "shallow", code_cache)
    assert value(shallow) == "255"
    assert [commit["message"] for commit in shallow.json("log")["commits"]] == ["three", "two", "one"]
    shallow("checkout", "HEAD~1", code=3)
    shallow("fsck")
    shallow("gc")
    increment(shallow)
    shallow("push")
    assert pushed.json("pull")["fast_forward"] is True
    shallow("fetch", "--depth", "9")
    shallow("checkout", "HEAD~2")
    assert value(shallow) == "254"
    shallow("fsck")
