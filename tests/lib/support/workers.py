"""What the processes of the tests do."""

from __future__ import annotations

from multiprocessing.connection import Connection
from pathlib import Path

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
    """Do what is asked with one handle that stays open: ("commit", content) or ("read", commit)."""
    with Store.open(directory) as store:
        connection.send("ready")
        while True:
            name, value = connection.recv()
            store.refresh()
            if name == "commit":
                connection.send(make_commit(store, value, branch=f"b{value.hex()}"))
            else:
                connection.send(read_content(store, value))


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
