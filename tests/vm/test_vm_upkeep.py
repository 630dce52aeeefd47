"""A VM's own upkeep: what is deleted goes, what sessions stand on stays, and a check finds nothing wrong."""

from __future__ import annotations

import pytest
from piecrust import VM, CommitId, UnknownRevision
from support.programs import SCRATCH, Program
from support.sessions import A, deploy, load, store


def commit_text(vm: VM, base: CommitId | None, text: str) -> CommitId:
    with vm.session(base) as session:
        if base is None:
            deploy(session, A)
        store(session, text)
        return session.commit()


def test_what_was_deleted_is_collected_and_the_rest_is_sound(vm: VM) -> None:
    first = commit_text(vm, None, "kept")
    second = commit_text(vm, first, "gone")
    vm.delete_commit(second)
    assert vm.gc(dry_run=True).objects_dead > 0
    assert vm.gc().commits_collected == 1
    assert vm.gc(dry_run=True).objects_dead == 0
    with pytest.raises(UnknownRevision):
        vm.session(second)
    with vm.session(first) as session:
        assert load(session, 4) == b"kept"
    assert vm.fsck().clean
    assert vm.fsck(full=False).clean


def test_a_commit_that_a_session_stands_on_is_not_collected(vm: VM) -> None:
    first = commit_text(vm, None, "here")
    vm.store.seal()
    with vm.session(first) as session:
        vm.delete_commit(first)
        vm.gc()
        assert load(session, 4) == b"here"
        session.call(A, "run", Program().store(SCRATCH, "next").bytes())
        last = session.commit()
    assert vm.gc().tombstones == 1
    assert vm.commits() == [last]
    with vm.session(last) as session:
        assert load(session, 4) == b"next"
    assert vm.fsck().clean


def test_damage_is_found(vm: VM) -> None:
    commit_text(vm, None, "sound")
    vm.store.seal()
    [pack] = (vm.root_dir / ".piecrust" / "packs").glob("*")
    data = bytearray(pack.read_bytes())
    data[len(data) // 2] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(data)
    assert not vm.fsck().clean
