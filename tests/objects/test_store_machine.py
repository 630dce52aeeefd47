"""A store with several handles against a dictionary: whatever is done in whatever order, every handle sees the same.

The handles of `StoreMachine` are on one simulated disk, which can be killed and started anew. One of `ProcessMachine`
is in a process of its own, on a real disk.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from piecrust.objects.errors import CommitInUse, CommitPinned, Conflict
from piecrust.objects.fsck import fsck
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import RefValue
from piecrust.objects.store import Store
from support.crashes import DIRECTORY, keep_up, open_simulated, rotate
from support.processes import start
from support.simulated_disk import SimulatedDisk
from support.stores import make_commit, read_content, stage_commit
from support.workers import serve

BRANCHES = st.sampled_from(["main", "dev", "feature/x"])
HANDLES = st.integers(0, 1)


class StoreMachine(RuleBasedStateMachine):
    """The model: refs, kept commits with their content and parent, and how many operations there were."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = SimulatedDisk()
        Store.create(DIRECTORY, disk=self.disk, segment_bytes_max=1 << 16)
        self.handles = [self.open(), self.open()]
        self.reader = open_simulated(self.disk, read_only=True)
        self.refs: dict[str, RefValue] = {}
        self.contents: dict[CommitId, bytes] = {}
        self.parents: dict[CommitId, CommitId | None] = {}
        self.kept: set[CommitId] = set()
        self.operations = 0
        self.number = 0

    def open(self) -> Store:
        return open_simulated(self.disk)

    def teardown(self) -> None:
        for store in [*self.handles, self.reader]:
            store.close()

    def fresh(self) -> bytes:
        self.number += 1
        return b"%8d" % self.number

    def note(self, commit: CommitId, content: bytes, parent: CommitId | None) -> None:
        self.contents[commit], self.parents[commit] = content, parent
        self.kept.add(commit)
        self.operations += 1

    def line(self, commit: CommitId | None) -> list[CommitId]:
        found = []
        while commit is not None:
            found.append(commit)
            commit = self.parents[commit]
        return found

    @rule(handle=HANDLES, branch=BRANCHES)
    def commit(self, handle: int, branch: str) -> None:
        store = self.handles[handle]
        store.refresh()
        head, content = self.refs.get(f"heads/{branch}"), self.fresh()
        commit = make_commit(store, content, parent=head, branch=branch, expected=head)
        self.note(commit, content, head)
        self.refs[f"heads/{branch}"] = commit

    @rule(handle=HANDLES, branch=BRANCHES)
    def commit_where_somebody_else_was_first(self, handle: int, branch: str) -> None:
        name = f"heads/{branch}"
        if name in self.refs:
            with pytest.raises(Conflict) as caught:
                make_commit(self.handles[handle], b"conflict", branch=branch, expected=None)
            assert caught.value.actual == self.refs[name]

    @rule(handle=HANDLES, branch=BRANCHES, count=st.integers(1, 4))
    def commit_in_a_batch(self, handle: int, branch: str, count: int) -> None:
        store = self.handles[handle]
        store.refresh()
        with store.batch():
            for _ in range(count):
                head, content = self.refs.get(f"heads/{branch}"), self.fresh()
                commit = make_commit(store, content, parent=head, branch=branch, expected=head)
                self.note(commit, content, head)
                self.refs[f"heads/{branch}"] = commit

    @rule(handle=HANDLES)
    def drop_a_transaction(self, handle: int) -> None:
        stage_commit(self.handles[handle].transaction(), self.fresh())

    @rule(handle=HANDLES, data=st.data())
    @precondition(lambda self: self.contents)
    def tag(self, handle: int, data: st.DataObject) -> None:
        commit = data.draw(st.sampled_from(sorted(self.kept) or sorted(self.contents)))
        if commit in self.kept:
            self.move(handle, f"tags/v{self.number}", commit)

    @rule(handle=HANDLES, data=st.data())
    @precondition(lambda self: any(name.startswith(("heads/", "tags/")) for name in self.refs))
    def remove_a_branch_or_tag(self, handle: int, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n in self.refs if not n.startswith("pins/"))))
        self.move(handle, name, None)

    @rule(handle=HANDLES, data=st.data())
    @precondition(lambda self: self.kept)
    def finalize(self, handle: int, data: st.DataObject) -> None:
        commit = data.draw(st.sampled_from(sorted(self.kept)))
        self.move(handle, f"pins/{commit}", commit)

    def move(self, handle: int, name: str, value: CommitId | None) -> None:
        transaction = self.handles[handle].transaction()
        transaction.set_ref(name, value, expected=self.refs.get(name))
        transaction.publish(Operation("move", (name,)))
        self.operations += 1
        if value is None:
            del self.refs[name]
        else:
            self.refs[name] = value

    @rule(handle=HANDLES, data=st.data())
    @precondition(lambda self: self.kept)
    def delete(self, handle: int, data: st.DataObject) -> None:
        commit = data.draw(st.sampled_from(sorted(self.kept)))
        transaction = self.handles[handle].transaction()
        transaction.delete(commit)
        pins = [CommitId.from_hex(name[5:]) for name in self.refs if name.startswith("pins/")]
        if any(commit in self.line(pin) for pin in pins):
            with pytest.raises(CommitPinned):
                transaction.publish(Operation("delete"))
        elif commit in self.refs.values():
            with pytest.raises(CommitInUse):
                transaction.publish(Operation("delete"))
        else:
            transaction.publish(Operation("delete"))
            self.kept.discard(commit)
            self.operations += 1

    @rule(handle=HANDLES)
    def go_on_in_a_new_segment(self, handle: int) -> None:
        rotate(self.handles[handle])

    @rule(handle=HANDLES, data=st.data())
    @precondition(lambda self: len(self.contents) > len(self.kept))
    def make_a_deleted_commit_again(self, handle: int, data: st.DataObject) -> None:
        commit = data.draw(st.sampled_from(sorted(self.contents.keys() - self.kept)))
        parent = self.parents[commit]
        if parent is None or parent in self.kept:
            self.handles[handle].refresh()
            assert make_commit(self.handles[handle], self.contents[commit], parent=parent) == commit
            self.note(commit, self.contents[commit], parent)

    @rule(handle=HANDLES)
    def seal(self, handle: int) -> None:
        self.handles[handle].seal()

    @rule(handle=HANDLES)
    def make_tables(self, handle: int) -> None:
        keep_up(self.handles[handle])

    @rule(handle=HANDLES, retention=st.sampled_from([0.0, 1e6]))
    def collect(self, handle: int, retention: float) -> None:
        self.handles[handle].refresh()
        found = self.handles[handle].gc(dry_run=True, retention_seconds=retention)
        report = self.handles[handle].gc(retention_seconds=retention)
        assert (report.commits_living, report.objects_dead) == (found.commits_living, found.objects_dead)
        assert self.handles[handle].gc(retention_seconds=retention).commits_collected == 0

    @rule(full=st.booleans())
    def check(self, full: bool) -> None:
        report = fsck(DIRECTORY, full=full, threads=1, disk=self.disk)
        assert report.clean, report

    @rule(handle=HANDLES)
    def reopen(self, handle: int) -> None:
        self.handles[handle].close()
        self.handles[handle] = self.open()

    @rule()
    def kill_all_and_start_anew(self) -> None:
        self.disk = self.disk.killed()
        self.handles = [self.open(), self.open()]
        self.reader = open_simulated(self.disk, read_only=True)

    @rule()
    def restart_the_machine(self) -> None:
        self.disk = self.disk.killed()
        self.disk.boot += 1
        self.handles = [self.open(), self.open()]
        self.reader = open_simulated(self.disk, read_only=True)

    @invariant()
    def every_handle_sees_the_same(self) -> None:
        for store in [*self.handles, self.reader]:
            store.refresh()
            assert store.damage == ()
            assert store.refs() == self.refs
            commits = store.commits()
            assert len(commits) == len(set(commits))
            assert set(commits) == self.kept
            for commit in commits[:2] + commits[-2:]:
                store._reader.cache.clear()
                assert read_content(store, commit) == self.contents[commit]
                parent = self.parents[commit]
                assert store.graph(commit).parents == (() if parent is None else (parent,))
        records = list(self.reader.operations())
        assert [record.sequence for record in records] == list(reversed(range(self.operations)))


class ProcessMachine(RuleBasedStateMachine):
    """This process and another one, each with a handle that stays open; the model: contents by commit, and branches."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.directory = Path(self.folder.name)
        Store.create(self.directory, segment_bytes_max=1 << 16)
        self.store = Store.open(self.directory)
        self.begin()
        self.contents: dict[CommitId, bytes] = {}
        self.branches: dict[str, CommitId] = {}
        self.number = 0

    def begin(self) -> None:
        self.process, self.connection = start(serve, self.directory)
        assert self.connection.recv() == "ready"

    def ask(self, name: str, value: object = None) -> object:
        self.connection.send((name, value))
        return self.connection.recv()

    def teardown(self) -> None:
        self.store.close()
        self.process.kill()
        self.process.join()
        self.folder.cleanup()

    @rule(here=st.booleans())
    def commit(self, here: bool) -> None:
        self.number += 1
        content = b"%8d" % self.number
        branch = f"b{content.hex()}"
        made = make_commit(self.store, content, branch=branch) if here else self.ask("commit", content)
        assert isinstance(made, CommitId)
        self.contents[made] = content
        self.branches[f"heads/{branch}"] = made

    @rule(here=st.booleans(), data=st.data())
    @precondition(lambda self: self.contents)
    def delete(self, here: bool, data: st.DataObject) -> None:
        commit = data.draw(st.sampled_from(sorted(self.contents)))
        names = [name for name, value in self.branches.items() if value == commit]
        if here:
            transaction = self.store.transaction()
            for name in names:
                transaction.set_ref(name, None)
            transaction.delete(commit)
            transaction.publish(Operation("delete"))
        else:
            self.ask("delete", (commit, names))
        del self.contents[commit]
        for name in names:
            del self.branches[name]

    @rule(here=st.booleans(), retention=st.sampled_from([0.0, 1e6]))
    def collect(self, here: bool, retention: float) -> None:
        if here:
            self.store.gc(retention_seconds=retention)
        else:
            self.ask("gc", retention)

    @rule(here=st.booleans())
    def seal(self, here: bool) -> None:
        if here:
            self.store.seal()
        else:
            self.ask("seal")

    @rule()
    def check(self) -> None:
        report = fsck(self.directory, threads=1)
        assert report.clean, report

    @rule()
    def kill_the_other(self) -> None:
        self.process.kill()
        self.process.join()
        self.begin()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = Store.open(self.directory)

    @invariant()
    def both_see_the_same(self) -> None:
        self.store.refresh()
        assert self.store.damage == ()
        assert self.store.refs() == self.branches
        assert set(self.store.commits()) == set(self.contents)
        for commit in sorted(self.contents)[:2]:
            assert read_content(self.store, commit) == self.contents[commit]
            assert self.ask("read", commit) == self.contents[commit]
        assert self.ask("commits") == sorted(self.contents)


StoreMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestStoreMachine = StoreMachine.TestCase
ProcessMachine.TestCase.settings = settings(max_examples=4, stateful_step_count=16, deadline=None)
TestProcessMachine = ProcessMachine.TestCase
