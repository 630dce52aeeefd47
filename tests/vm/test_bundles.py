"""Commits leave a store as files and come back: bundles, and images of memory."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from piecrust import (
    VM,
    CommitId,
    Conflict,
    ContractDoesNotExist,
    ContractId,
    InvalidFormat,
    MissingOwner,
    ObjectNotFound,
    StoreIOError,
    UnknownRevision,
)
from piecrust.objects import bundle_state
from piecrust.objects.kinds import Kind
from piecrust.objects.store import Store
from piecrust.rkyv import i64
from piecrust.vm import bundles
from piecrust.vm.bundles import export_bundle, import_bundle
from piecrust.vm.raw_memory import export_raw, import_raw
from piecrust.vm.replay import commits_to_replay, replay
from piecrust.vm.restore import restore
from piecrust.vm.verdict import Holds
from piecrust.vm.workspace import Workspace
from support.fixtures import contract

OpenVM = Callable[..., VM]
OWNER = b"owner".ljust(32)


@pytest.fixture
def counting(vm: VM) -> list[CommitId]:
    """A counter and a box on main; the counter goes 252, 253, 254."""
    commits = []
    for number in range(3):
        with vm.session("main" if commits else None, branch="main") as session:
            if not commits:
                session.deploy(contract("counter"), OWNER, contract_id=COUNTER)
                session.deploy(contract("box"), OWNER, contract_id=BOX)
            for _ in range(number):
                session.call(COUNTER, "increment")
            commits.append(session.commit(message=f"{number}"))
    return commits


COUNTER, BOX = ContractId(b"\x01" * 32), ContractId(b"\x02" * 32)


def value(vm: VM, commit: CommitId) -> int:
    with vm.session(commit) as session:
        return session.query(COUNTER, "read_value", returns=i64).data


def test_a_commit_goes_to_another_store_and_on_from_there(
    vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path
) -> None:
    size = export_bundle(vm.store, counting[-1], tmp_path / "all.bundle")
    assert (tmp_path / "all.bundle").stat().st_size == size
    other = open_vm(tmp_path / "other")
    brought = import_bundle(other.store, tmp_path / "all.bundle", branch="main")
    assert brought.commits == tuple(counting)
    assert [info.id for info in other.log("main")] == counting[::-1]
    assert value(other, counting[-1]) == value(vm, counting[-1])
    with vm.session("main") as here, other.session("main") as there:
        for session in (here, there):
            session.call(COUNTER, "increment")
        assert here.commit() == there.commit()
    export_bundle(other.store, counting[-1], tmp_path / "again.bundle")
    assert (tmp_path / "again.bundle").read_bytes() == (tmp_path / "all.bundle").read_bytes()


def test_an_export_gives_the_memory_back_that_reading_took(
    vm: VM, counting: list[CommitId], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm.store.seal()  # what is read is mapped
    export_bundle(vm.store, counting[-1], tmp_path / "whole")
    rests, rest = [], vm.store.rest

    def counted() -> None:
        rests.append(mapped_bytes())
        rest()
        rests.append(mapped_bytes())

    monkeypatch.setattr(vm.store, "rest", counted)
    monkeypatch.setattr(bundles, "REST_BYTES", 1)
    export_bundle(vm.store, counting[-1], tmp_path / "again")
    assert len(rests) > 2
    assert (tmp_path / "again").read_bytes() == (tmp_path / "whole").read_bytes()
    assert rests[-1] == 0 or sys.platform != "linux"


def mapped_bytes() -> int:
    """How much of mapped packs is in this process's memory."""
    try:
        lines = Path("/proc/self/smaps").read_text().splitlines()
    except OSError:
        return 0
    resident, of_pack = 0, False
    for line in lines:
        if line.split(":")[0] == "Rss":
            resident += int(line.split()[1]) * 1024 if of_pack else 0
        elif not line.split(" ")[0].endswith(":"):
            of_pack = line.endswith(".pk")
    return resident


def bundles_of(store: Store, tip: CommitId, since: CommitId) -> list[bytes]:
    """Every kind of bundle of a commit."""
    written = []
    for options in ({}, {"history": False}, {"contracts": [COUNTER]}, {"since": since}):
        stream = io.BytesIO()
        export_bundle(store, tip, stream, **options)
        written.append(stream.getvalue())
    return written


def test_the_bytes_are_the_same_whatever_happened_to_the_store(
    vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path
) -> None:
    first, tip = counting[0], restore(vm.store, counting[0], [COUNTER])
    expected = bundles_of(vm.store, tip, first)
    vm.store.seal()
    assert bundles_of(vm.store, tip, first) == expected
    other = open_vm(tmp_path / "other")
    with other.session() as session:
        session.deploy(contract("box"), OWNER, contract_id=COUNTER)
        noise = session.commit()
    for data in (expected[2], expected[1], expected[0]):
        import_bundle(other.store, io.BytesIO(data))
    other.delete_commit(noise)
    other.store.seal()
    other.gc(retention_seconds=0)
    assert bundles_of(other.store, tip, first) == expected
    with other.session(tip) as session:
        session.call(COUNTER, "increment")
        session.commit()
    assert bundles_of(other.store, tip, first) == expected


def test_a_bundle_alone_is_enough_for_a_replay(
    vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path, code_cache: Path
) -> None:
    export_bundle(vm.store, counting[-1], tmp_path / "all.bundle")
    other = open_vm(tmp_path / "other")
    tip = import_bundle(other.store, tmp_path / "all.bundle").tip
    commits = commits_to_replay(other.store, None, tip)
    told = list(replay(other.root_dir, commits, workers=1, cache_directory=code_cache))
    assert [(verdict.commit, verdict.holds) for verdict in told] == [(commit, Holds.YES) for commit in counting]


def test_without_history_only_the_state_can_be_opened(vm: VM, counting: list[CommitId], open_vm: OpenVM) -> None:
    stream = io.BytesIO()
    export_bundle(vm.store, counting[-1], stream, history=False)
    other = open_vm(Path(vm.root_dir, "..", "other"))
    stream.seek(0)
    import_bundle(other.store, stream)
    assert value(other, counting[-1]) == value(vm, counting[-1])
    assert len(list(other.log(counting[-1]))) == 3
    with pytest.raises(UnknownRevision):
        other.session(counting[0])


def test_what_was_not_exported_does_not_exist(vm: VM, counting: list[CommitId], open_vm: OpenVM) -> None:
    stream = io.BytesIO()
    export_bundle(vm.store, counting[-1], stream, contracts=[COUNTER])
    other = open_vm(Path(vm.root_dir, "..", "other"))
    stream.seek(0)
    brought = import_bundle(other.store, stream)
    assert brought.tip != counting[-1]
    assert value(other, brought.tip) == value(vm, counting[-1])
    with other.session(brought.tip) as session, pytest.raises(ContractDoesNotExist):
        session.call(BOX, "get")
    with pytest.raises(UnknownRevision):
        other.session(counting[-1])
    with pytest.raises(ContractDoesNotExist):
        export_bundle(vm.store, counting[-1], io.BytesIO(), contracts=[ContractId(bytes(32))])


def test_a_branch_only_moves_on(vm: VM, counting: list[CommitId], open_vm: OpenVM) -> None:
    streams = [io.BytesIO(), io.BytesIO()]
    for commit, stream in zip((counting[0], counting[-1]), streams, strict=True):
        export_bundle(vm.store, commit, stream)
    other = open_vm(Path(vm.root_dir, "..", "other"))
    for stream in streams:
        stream.seek(0)
        import_bundle(other.store, stream, branch="main")
    assert other.branches["main"] == counting[-1]
    streams[0].seek(0)
    with pytest.raises(Conflict):
        import_bundle(other.store, streams[0], branch="main")


def test_a_file_is_there_whole_or_not_at_all(vm: VM, counting: list[CommitId], tmp_path: Path) -> None:
    with pytest.raises(StoreIOError):
        export_bundle(vm.store, counting[-1], tmp_path / "missing" / "file")
    with pytest.raises(StoreIOError):
        import_bundle(vm.store, tmp_path / "missing")
    (tmp_path / "cut").write_bytes(b"piecrust bundle\n")
    with pytest.raises(InvalidFormat):
        import_bundle(vm.store, tmp_path / "cut")
    with pytest.raises(ContractDoesNotExist):
        export_bundle(vm.store, counting[-1], tmp_path / "new", contracts=[ContractId(bytes(32))])
    assert {path.name for path in tmp_path.iterdir()} == {"cut", "state"}


def image_of(vm: VM, commit: CommitId, tmp_path: Path) -> bytes:
    with (tmp_path / "image").open("wb") as file:
        export_raw(vm.store, vm.store.load(Kind.COMMIT, commit).state, COUNTER, file)
    return (tmp_path / "image").read_bytes()


def test_an_image_of_memory_comes_back(vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path) -> None:
    image = image_of(vm, counting[-1], tmp_path)
    other = open_vm(tmp_path / "other")
    with vm.session(counting[-1]) as session:
        assert len(image) == session.memory_len(COUNTER)
    code = contract("counter")
    with pytest.raises(MissingOwner):
        import_raw(other.store, io.BytesIO(image), COUNTER, bytecode=code)
    with pytest.raises(ContractDoesNotExist):
        import_raw(other.store, io.BytesIO(image), COUNTER, owner=OWNER)
    commit = import_raw(other.store, io.BytesIO(image), COUNTER, bytecode=code, owner=OWNER, message="image")
    assert other.branches["main"] == commit
    assert value(other, commit) == value(vm, counting[-1])
    assert image_of(other, commit, tmp_path) == image
    older = import_raw(other.store, io.BytesIO(image_of(vm, counting[0], tmp_path)), COUNTER)
    assert value(other, older) == value(vm, counting[0])
    assert other.commit_info(older).parents == (commit,)
    told = list(replay(other.root_dir, [commit, older], workers=1))
    assert {verdict.holds for verdict in told} == {Holds.UNKNOWN}


class CollectingImage(io.BytesIO):
    """Has garbage collected through another handle before its end is read."""

    def __init__(self, image: bytes, other: VM) -> None:
        super().__init__(image)
        self._other = other

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() == len(self.getbuffer()):
            self._other.gc(retention_seconds=0)
        return super().read(size)


def test_garbage_that_is_collected_beside_the_import_of_an_image_is_a_conflict(
    vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_state, "PIECE_BYTES", 1)
    image = image_of(vm, counting[0], tmp_path) + random.Random(1).randbytes(16 * 65536)  # enough for a collection
    with pytest.raises(Conflict):
        import_raw(vm.store, CollectingImage(image, open_vm(vm.root_dir)), COUNTER)
    assert vm.branches["main"] == counting[-1]
    commit = import_raw(vm.store, io.BytesIO(image), COUNTER)
    assert value(vm, commit) == value(vm, counting[0])


def test_images_that_do_not_fit_are_refused(vm: VM, counting: list[CommitId]) -> None:
    for image in (b"x", bytes(65536)):
        with pytest.raises(InvalidFormat):
            import_raw(vm.store, io.BytesIO(image), COUNTER)
    assert vm.branches["main"] == counting[-1]


def test_a_vm_exports_imports_and_replays(vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path) -> None:
    vm.export("main", tmp_path / "news", since="main~1")
    vm.export("main~1", tmp_path / "old")
    other = open_vm(tmp_path / "other")
    other.import_bundle(tmp_path / "old")
    assert other.import_bundle(tmp_path / "news", branch="main").tip == counting[-1]
    assert [told.holds for told in other.replay("main", workers=1)] == [Holds.YES] * 3
    assert [told.commit for told in other.replay("main", since="main~1", workers=1)] == counting[-1:]


def test_a_state_without_history_survives_the_collection_of_garbage(
    vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path
) -> None:
    vm.export("main", tmp_path / "alone", history=False)
    other = open_vm(tmp_path / "other")
    other.import_bundle(tmp_path / "alone", branch="main")
    other.store.gc()
    assert value(other, counting[-1]) == value(vm, counting[-1])
    assert [info.id for info in other.log("main")] == counting[::-1]
    assert [told.holds for told in other.replay("main", workers=1)] == [Holds.UNKNOWN] * 3
    with pytest.raises(ObjectNotFound) as caught:
        other.export("main", tmp_path / "whole")
    assert "without its state" in caught.value.__notes__[0]
    other.export("main", tmp_path / "again", history=False)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "alone").read_bytes()
    vm.export("main", tmp_path / "all")
    other.import_bundle(tmp_path / "all")
    assert [told.holds for told in other.replay("main", workers=1)] == [Holds.YES] * 3


@pytest.mark.parametrize("options", [{}, {"history": False}, {"contracts": [COUNTER]}])
def test_an_import_is_taken_back_and_done_again(
    vm: VM, counting: list[CommitId], open_vm: OpenVM, tmp_path: Path, options: dict[str, Any]
) -> None:
    vm.export("main", tmp_path / "bundle", **options)
    other = open_vm(tmp_path / "other")
    tip = other.import_bundle(tmp_path / "bundle").tip
    brought, workspace = other.commits(), Workspace(other.store)
    workspace.undo()
    assert other.commits() == []
    with pytest.raises(UnknownRevision):
        other.session(tip)
    workspace.redo()
    assert other.commits() == brought
    assert value(other, tip) == value(vm, counting[-1])
    workspace.undo()
    other.gc()
    assert other.commits() == []
    with pytest.raises(Conflict, match="collected"):
        workspace.redo()
    other.gc()
    assert other.import_bundle(tmp_path / "bundle").tip == tip
    assert value(other, tip) == value(vm, counting[-1])


def test_a_commit_whose_state_was_collected_is_not_taken_back(vm: VM, counting: list[CommitId]) -> None:
    vm.delete_commit(counting[0])
    Workspace(vm.store).undo()
    assert counting[0] in vm.commits()
    vm.delete_commit(counting[0])
    vm.gc()
    with pytest.raises(Conflict, match="collected"):
        Workspace(vm.store).undo()
    vm.gc()
    assert value(vm, counting[-1]) == 255
