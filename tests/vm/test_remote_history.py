"""Replays whose workers have no store: they fetch what they touch from a remote."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from piecrust import VM, CommitId, ContractId
from piecrust.objects.errors import CorruptRemote, ObjectNotFound, UnknownRemote, UnknownRevision
from piecrust.objects.kinds import Kind
from piecrust.objects.remote.remotes import Remotes
from piecrust.vm.merge import merge
from piecrust.vm.remote_history import RemoteHistory
from piecrust.vm.remotes import push
from piecrust.vm.replay import RemoteAddress, commits_to_replay, remote_with, replay
from piecrust.vm.restore import restore
from piecrust.vm.verdict import Derived, Holds
from support.fixtures import contract
from support.programs import SCRATCH, Program

pytest.importorskip("obstore")

A, B = (ContractId(bytes(31) + bytes([n])) for n in (1, 2))
OpenVM = Callable[..., VM]


@pytest.fixture
def pushed(vm: VM, tmp_path: Path) -> tuple[Path, list[CommitId]]:
    """A remote with a branch that was merged and a restore; its commits, parents first."""
    with vm.session(branch="main") as session:
        for name in (A, B):
            session.deploy(contract("script"), b"owner", contract_id=name)
        first = session.commit()
    for base, contract_id, branch in (("main", A, "main"), (first, B, "side")):
        with vm.session(base, branch=branch) as session:
            session.call(contract_id, "run", Program().emit("x").add64(SCRATCH, 1).bytes())
            session.commit()
    merge(vm.store, vm.branches["side"])
    tip = restore(vm.store, first, [A])
    Remotes(vm.store).add("origin", str(tmp_path / "remote"))
    push(vm.store)
    return tmp_path / "remote", commits_to_replay(vm.store, None, tip)


def test_workers_need_the_remote_alone(vm: VM, pushed: tuple[Path, list[CommitId]], code_cache: Path) -> None:
    remote, commits = pushed
    source = remote_with(vm.store, commits)
    assert source == RemoteAddress("origin", str(remote))
    assert [verdict.commit for verdict in vm.replay("main", remote="origin", workers=1)] == commits
    vm.close()
    shutil.rmtree(vm.root_dir / ".piecrust")
    with ThreadPoolExecutor(2) as executor:
        told = list(replay(source, commits, executor=executor, workers=2, cache_directory=code_cache))
    assert [(verdict.commit, verdict.holds) for verdict in told] == [(commit, Holds.YES) for commit in commits]
    assert {verdict.derived for verdict in told} == {Derived.CALLS, Derived.MERGE, Derived.RESTORE}


def test_only_what_is_touched_is_fetched(pushed: tuple[Path, list[CommitId]], monkeypatch: pytest.MonkeyPatch) -> None:
    remote, commits = pushed
    history = RemoteHistory("origin", str(remote))
    loaded, load = [], history._objects.load
    monkeypatch.setattr(history._objects, "load", lambda kind, address: loaded.append(kind) or load(kind, address))
    for _ in range(2):
        assert history.graph(commits[-1]).generation == 3
        assert history.load(Kind.COMMIT, commits[0]).parents == ()
    assert loaded == [Kind.COMMIT, Kind.COMMIT]
    assert history.contains(Kind.COMMIT, commits[1])
    with pytest.raises(ObjectNotFound):
        history.load(Kind.COMMIT, bytes(32))


def test_a_damaged_remote_is_not_believed(pushed: tuple[Path, list[CommitId]]) -> None:
    remote, commits = pushed
    source = RemoteAddress("origin", str(remote))
    for pack in remote.rglob("*.pk"):
        whole = pack.read_bytes()
        pack.write_bytes(whole[:200] + bytes(len(whole) // 4) + whole[200 + len(whole) // 4 :])
    with pytest.raises(CorruptRemote):
        list(replay(source, commits, workers=1))
    for pack in remote.rglob("*.pk"):
        pack.unlink()
    assert {verdict.holds for verdict in replay(source, commits, workers=1)} == {Holds.UNKNOWN}


def test_a_remote_is_meant_if_it_has_the_commits(vm: VM, pushed: tuple[Path, list[CommitId]], tmp_path: Path) -> None:
    _, commits = pushed
    with vm.session("main") as session:
        session.call(A, "run", Program().emit("new").bytes())
        unpushed = session.commit()
    assert remote_with(vm.store, [*commits, unpushed]) is None
    with pytest.raises(UnknownRevision) as caught:
        remote_with(vm.store, [*commits, unpushed], "origin")
    assert caught.value.revision == unpushed.hex()
    with pytest.raises(UnknownRemote):
        remote_with(vm.store, commits, "elsewhere")
    Remotes(vm.store).add("elsewhere", str(tmp_path / "elsewhere"))
    assert remote_with(vm.store, commits) is None  # which of them nobody said
    assert remote_with(vm.store, commits, "origin") is not None
