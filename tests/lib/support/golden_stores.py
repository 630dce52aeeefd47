"""Golden stores: small stores of each version of the format, with what must be read from them.

    python -m support.golden_stores DIRECTORY [NAME ...]        (with tests/lib on the path)

writes those of the present version, or some of them. They are made once for each version and kept for ever.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from piecrust.objects.compaction import compact
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import Symbolic
from piecrust.objects.sealing import seal
from piecrust.objects.store import Store

from support.crashes import rotate
from support.stores import make_commit, page, read_page

PAGES = (0, 1, 700)


def in_the_log(store: Store) -> None:
    """Everything in one segment: deltas, a batch, all sorts of refs, a deleted commit."""
    first = make_commit(store, b"first   ", branch="main", message="the first")
    second = make_commit(store, b"second  ", parent=first, branch="main")
    wide = {index: page(b"wide%4d" % index, b"noise%d" % index) for index in PAGES}
    third = make_commit(store, b"", parent=second, branch="feature/wide", pages=wide)
    with store.batch():
        fourth = make_commit(store, b"fourth  ", parent=second, branch="main")
        make_commit(store, b"fifth   ", parent=fourth, branch="main")
    dead = make_commit(store, b"deleted ")
    transaction = store.transaction()
    transaction.set_ref("HEAD", Symbolic("heads/main"))
    transaction.set_ref("tags/v1", second)
    transaction.set_ref(f"pins/{third}", third)
    transaction.delete(dead)
    transaction.publish(Operation("arrange", ("refs", "ünïcode")))


def in_packs(store: Store) -> None:
    """Packs of sealed segments and of collected ones, tombstones, a closed segment, tables and a tail."""
    head: CommitId | None = None
    line = []
    for number in range(24):
        head = make_commit(store, b"%8d" % number, parent=head, branch="main")
        line.append(head)
        if number in (7, 11):
            store.seal()
    transaction = store.transaction()
    transaction.delete(line[3])
    transaction.delete(make_commit(store, b"garbage "))
    transaction.publish(Operation("delete"))
    store.gc(retention_seconds=0)
    for number in range(3):
        head = make_commit(store, b"tail%4d" % number, parent=head, branch="main")
    parts = store._to_write()
    parts.upkeep.run(lambda: compact(parts.log, store._graph))
    rotate(store)
    make_commit(store, b"the last", parent=head, branch="main")


def sealed_after_collecting(store: Store) -> None:
    """A log that says of files, and nothing of commits that are condemned, after garbage was collected."""
    head: CommitId | None = None
    for number in range(6):
        head = make_commit(store, b"%8d" % number, parent=head, branch="main")
    transaction = store.transaction()
    transaction.delete(make_commit(store, b"garbage "))
    transaction.publish(Operation("delete"))
    store.gc(retention_seconds=0)
    for number in range(4):
        head = make_commit(store, b"more%4d" % number, parent=head, branch="main")
    rotate(store)
    head = make_commit(store, b"active  ", parent=head, branch="main")
    parts = store._to_write()
    parts.upkeep.run(lambda: seal(parts.log, parts.lock, store._graph))  # of the closed segment alone
    make_commit(store, b"the last", parent=head, branch="main")


STORES: dict[str, Callable[[Store], None]] = {
    "log": in_the_log,
    "packs": in_packs,
    "sealed": sealed_after_collecting,
}


def describe(store: Store) -> dict[str, Any]:
    """What can be read from a store, in JSON."""
    commits = {}
    for commit in sorted(store.commits()):
        found = store.load(Kind.COMMIT, commit)
        commits[commit.hex()] = {
            "state_root": found.state_root.hex(),
            "parents": [parent.hex() for parent in found.parents],
            "pages": {
                index: read_page(store, commit, index)[:24].hex() for index in PAGES if _has(store, commit, index)
            },
        }
    return {
        "refs": {name: str(value) for name, value in sorted(store.refs().items())},
        "commits": commits,
        "deleted": sorted(c.hex() for c in _ancestors(store) if store.is_deleted(c)),
        "operations": [[r.sequence, r.operation.command, list(r.operation.arguments)] for r in store.operations()],
    }


def unpack(archive: Path, directory: Path) -> None:
    """Put a golden store into a directory."""
    with tarfile.open(archive) as tar:
        tar.extractall(directory, filter="data")


def make(directory: Path, names: Iterable[str] = STORES) -> None:
    """Make the stores of this version that have these names."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in names:
        with TemporaryDirectory() as scratch:
            root = Path(scratch)
            Store.create(root, segment_bytes_max=1 << 16)
            clock = iter(range(1_700_000_000 * 10**9, 2**63, 10**9))
            with Store.open(root, background=False, clock=lambda clock=clock: next(clock)) as store:
                STORES[name](store)
                described = describe(store)
            (root / ".piecrust" / "DURABLE").unlink()
            with tarfile.open(directory / f"{name}.tar.xz", "w:xz") as tar:
                for path in sorted((root / ".piecrust").rglob("*")):
                    tar.add(path, path.relative_to(root), recursive=False, filter=_plain)
            (directory / f"{name}.json").write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _has(store: Store, commit: CommitId, index: int) -> bool:
    try:
        read_page(store, commit, index)
    except AssertionError:
        return False
    return True


def _ancestors(store: Store) -> set[CommitId]:
    found: set[CommitId] = set()
    todo = store.commits()
    while todo:
        commit = todo.pop()
        if commit not in found:
            found.add(commit)
            todo += store.graph(commit).parents
    return found


if __name__ == "__main__":
    make(Path(sys.argv[1]), sys.argv[2:] or STORES)
