"""Remotes through a VM: what one commits, another opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from piecrust.objects.errors import (
    Conflict,
    InvalidRemote,
    NonFastForward,
    NotAStore,
    RemoteSupportMissing,
    RemoteUnavailable,
    UnknownRef,
    UnknownRemote,
)
from piecrust.objects.remote import open_bucket
from piecrust.objects.remote.remotes import Remotes
from piecrust.objects.remote.storage import Storage
from piecrust.vm.errors import NothingCommitted
from piecrust.vm.vm import VM
from support.buckets import Fault, FaultyBucket
from support.fixtures import contract

pytest.importorskip("obstore")

OWNER = bytes(32)


@pytest.fixture
def vm(tmp_path: Path, code_cache: Path) -> Iterator[VM]:
    with VM(tmp_path / "ours", cache_directory=code_cache, sync=False) as vm:
        vm.remotes.add("origin", str(tmp_path / "remote"))
        yield vm


def commit(vm: VM, calls: int = 1) -> None:
    """Call the counter on `main`, which is deployed first if there is none."""
    if "main" not in vm.branches:
        with vm.session(branch="main") as session:
            session.deploy(contract("counter"), owner=OWNER)
            session.commit(message="deployed")
    with vm.session("main") as session:
        (counter,) = session.contracts()
        for _ in range(calls):
            session.call(counter, "increment")
        session.commit(message=f"{calls} more")


def test_a_clone_opens_what_was_pushed(vm: VM, tmp_path: Path) -> None:
    commit(vm, 3)
    report = vm.push()
    assert (report.commits, len(report.packs)) == (2, 1)
    with VM.clone(str(tmp_path / "remote"), tmp_path / "theirs") as other:
        assert other.branches["main"] == vm.branches["main"] == other.resolve("HEAD")
        commit(other)
        commit(vm)
        assert other.branches["main"] == vm.branches["main"]
        other.push()
        assert vm.push().commits == 0
        assert [entry.name for entry in other.remotes] == ["origin"]


def test_a_lazy_clone_calls_and_commits_as_a_whole_one(vm: VM, tmp_path: Path) -> None:
    commit(vm, 3)
    vm.push()
    with VM.clone(str(tmp_path / "remote"), tmp_path / "theirs", lazy=True) as other:
        commit(other)
        commit(vm)
        assert other.branches["main"] == vm.branches["main"]


def test_a_pull_moves_on_and_can_be_undone(vm: VM, tmp_path: Path) -> None:
    commit(vm)
    vm.push()
    with VM.clone(str(tmp_path / "remote"), tmp_path / "theirs") as other:
        before = other.branches["main"]
        commit(vm)
        vm.push()
        pulled = other.pull()
        assert pulled.merged.fast_forward
        assert other.branches["main"] == pulled.merged.commit == vm.branches["main"]
        assert other.fetch().moved == {}
        commit(other)
        commit(vm, 2)
        vm.push()
        with pytest.raises(NonFastForward):
            other.push()
        assert other.resolve("origin/main") == pulled.merged.commit != before


def test_a_clone_that_is_cut_off_goes_on(vm: VM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        commit(vm)
        vm.push()
    url, target = str(tmp_path / "remote"), tmp_path / "theirs"
    bucket = FaultyBucket(open_bucket.open_bucket(url))
    monkeypatch.setattr(Remotes, "open", lambda _self, name: Storage(name, bucket, pause_seconds=0))
    left = []
    for number in range(30):
        bucket.requests.clear()
        bucket.plan = lambda at, _operation, number=number: Fault.CUT if at >= number else None
        try:
            VM.clone(url, target).close()
        except RemoteUnavailable:
            left.append(target.exists())
        else:
            break
    assert left == sorted(left)
    assert left[0] is False
    assert left[-1] is True
    with VM(target) as other:
        assert other.branches["main"] == vm.branches["main"]
        assert other.fsck().clean


def test_refusals(vm: VM, tmp_path: Path) -> None:
    with pytest.raises(NothingCommitted):
        vm.push()
    with pytest.raises(UnknownRemote):
        vm.fetch("nowhere")
    with pytest.raises(UnknownRef):
        vm.pull()
    with pytest.raises(Conflict):
        vm.remotes.add("origin", "memory://other")
    for url in ("http://host/path", "s3:///path", "s3://bucket?color=red", "file://host/path"):
        with pytest.raises(InvalidRemote):
            vm.remotes.add("other", url)
    commit(vm)
    with pytest.raises(UnknownRef):
        vm.push("origin", ["missing"])
    vm.push()
    with pytest.raises(UnknownRef):
        VM.clone(str(tmp_path / "remote"), tmp_path / "theirs", branch="other")
    assert not (tmp_path / "theirs").exists()
    with pytest.raises(NotAStore):
        VM.clone(str(tmp_path / "remote"), tmp_path / "ours")
    vm.remotes.remove("origin")
    assert "remotes/origin/main" not in vm.store.refs()


def test_without_obstore_it_says_what_to_install(vm: VM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_bucket, "find_spec", lambda _name: None)
    with pytest.raises(RemoteSupportMissing, match=r"pip install 'piecrust-vm\[remote\]'"):
        vm.fetch()
