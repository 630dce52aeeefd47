"""What the processes of the tests do."""

from __future__ import annotations

import contextlib
import io
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

from piecrust.objects import bundle_state
from piecrust.objects.bundle_reader import read_bundle
from piecrust.objects.errors import Conflict
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.store import Store

from support.stores import make_commit, read_content


def commit_for_ever(connection: Connection, directory: Path, start: int) -> None:
    """Commit on branch main as fast as possible; tell of each commit when it is acknowledged."""
    with Store.open(directory) as store:
        head = store.refs().get("heads/main")
        number = start
        while True:
            content = b"%8d" % number
            head = make_commit(store, content, parent=head, branch="main", expected=head)
            connection.send((bytes(head), content))
            number += 1


def serve(connection: Connection, directory: Path) -> None:
    """Do what is asked with one handle that stays open: `commit` content, `read` a commit, and so on."""
    with Store.open(directory) as store:
        connection.send("ready")
        while True:
            name, value = connection.recv()
            store.refresh()
            match name:
                case "commit":
                    connection.send(make_commit(store, value, branch=f"b{value.hex()}"))
                case "read":
                    connection.send(read_content(store, value))
                case "commits":
                    connection.send(sorted(store.commits()))
                case "delete":
                    commit, names = value
                    transaction = store.transaction()
                    for ref in names:
                        transaction.set_ref(ref, None)
                    transaction.delete(commit)
                    connection.send(transaction.publish(Operation("delete")))
                case "gc":
                    connection.send(store.gc(retention_seconds=value).commits_living)
                case "seal":
                    connection.send(store.seal())


def race(connection: Connection, directory: Path, worker: int, commits: int) -> None:
    """Make commits on one branch that others commit on too, again after each conflict; tell how many there were."""
    conflicts = 0
    with Store.open(directory) as store:
        made = []
        while len(made) < commits:
            head = store.refs().get("heads/main")
            try:
                content = b"%2d%6d" % (worker, len(made))
                made.append(make_commit(store, content, parent=head, branch="main", expected=head))
            except Conflict as conflict:
                conflicts += conflict.actual != head
                store.refresh()
        transaction = store.transaction()
        transaction.publish(Operation("done", (str(worker),)))
    connection.send((conflicts, made))


def hold_lease(connection: Connection, directory: Path, commit: bytes) -> None:
    """Stand on a commit until killed."""
    with Store.open(directory) as store, store.lease(CommitId(commit)):
        connection.send("held")
        connection.recv()


def work_with_others(connection: Connection, directory: Path, worker: int, commits: int) -> None:
    """Commits on a shared branch and on none, some of which are deleted; tell what is left, and of how many
    operations."""
    rng = random.Random(worker)
    kept: dict[bytes, bytes] = {}
    free: list[CommitId] = []
    operations = conflicts = 0
    with Store.open(directory, lock_seconds=120) as store:
        for number in range(commits):
            content = b"%2d%6d" % (worker, number)
            if number % 3:
                while True:
                    store.refresh()
                    head = store.refs().get("heads/main")
                    with contextlib.suppress(Conflict):
                        made = make_commit(store, content, parent=head, branch="main", expected=head)
                        break
                    conflicts += 1
            else:
                made = make_commit(store, content)
                free.append(made)
            kept[made] = content
            operations += 1
            if free and rng.random() < 0.2:
                gone = free.pop(rng.randrange(len(free)))
                transaction = store.transaction()
                transaction.delete(gone)
                transaction.publish(Operation("delete"))
                del kept[gone]
                operations += 1
    connection.send((kept, operations, conflicts))


def collect_for_ever(connection: Connection, directory: Path) -> None:
    """Seal and collect garbage again and again, until told to stop; tell how often."""
    runs = 0
    with Store.open(directory, lock_seconds=120) as store:
        while not connection.poll(0.01):
            store.gc(retention_seconds=0)
            runs += 1
    connection.send(runs)


def seal_for_ever(_connection: Connection, directory: Path) -> None:
    """Make packs of whatever is in the log, again and again."""
    with Store.open(directory, lock_seconds=120) as store:
        while True:
            store.seal()


def read_for_ever(connection: Connection, directory: Path) -> None:
    """Read whatever is there until told to stop; tell how many commits were read."""
    reads = 0
    with Store.open(directory, read_only=True) as store:
        while not connection.poll(0.001):
            store.refresh()
            for commit in store.commits()[:20]:
                assert len(read_content(store, commit)) == 8
                reads += 1
    connection.send(reads)


class _Stopping(io.BytesIO):
    """Says so, and waits for ever, when so much of it was read."""

    def __init__(self, data: bytes, offset: int, connection: Connection) -> None:
        super().__init__(data)
        self._offset, self._connection = offset, connection

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._offset:
            self._connection.send("there")
            time.sleep(60)
        return super().read(size)


def import_in_pieces(connection: Connection, directory: Path, data: bytes, offset: int) -> None:
    """Import a bundle page by page up to an offset, to be killed then or before."""
    bundle_state.PIECE_BYTES = 1
    with Store.open(directory) as store:
        connection.send("begun")
        read_bundle(store, _Stopping(data, offset, connection))
