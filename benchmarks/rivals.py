"""Other stores with versions: SQLite as the plain choice, git through pygit2, and Icechunk."""

from __future__ import annotations

import importlib
import sys
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import Latencies, repeat
from piecrust.objects.page import PAGE_BYTES
from systems import CHANGED, System

GROUP = 256  # pages in a folder of the git tree


class PageStore(System):
    """A store that is given the page that changed."""

    def fill(self, pages: list[bytes]) -> None:
        """The first version."""
        self.page, self.count = pages[CHANGED], 0
        self.begin(pages)

    def commits(self, times: int) -> Latencies:
        """Versions in a line."""

        def commit() -> None:
            self.count += 1
            self.commit(self.changed(self.count))

        return repeat(commit, times)

    @abstractmethod
    def begin(self, pages: list[bytes]) -> None:
        """Makes the store, with its first version."""

    @abstractmethod
    def commit(self, page: bytes) -> None:
        """Makes a version in which the changed page is this."""


class SQLite(PageStore):
    """A row for each version of a page; WAL, durable at each commit (synchronous=FULL)."""

    name = "SQLite WAL FULL"

    def begin(self, pages: list[bytes]) -> None:
        """A table of pages by number and version."""
        self.database = self.opened()
        self.database.execute("PRAGMA journal_mode=WAL")
        self.database.execute(
            "CREATE TABLE pages (page INT, version INT, data BLOB, PRIMARY KEY (page, version)) WITHOUT ROWID"
        )
        with self.database:
            self.database.executemany("INSERT INTO pages VALUES (?, 0, ?)", enumerate(pages))

    def commit(self, page: bytes) -> None:
        """One row in a transaction of its own."""
        with self.database:
            self.database.execute("INSERT INTO pages VALUES (?, ?, ?)", (CHANGED, self.count, page))

    def read_old(self, version: int) -> bytes:
        """The newest row that is not newer than the version."""
        database = self.opened()
        query = "SELECT data FROM pages WHERE page = ? AND version <= ? ORDER BY version DESC LIMIT 1"
        ((data,),) = database.execute(query, (CHANGED, version))
        database.close()
        return data[:8]

    def opened(self) -> Any:
        """A connection."""
        import sqlite3

        database = sqlite3.connect(self.directory / "pages.sqlite")
        database.execute("PRAGMA synchronous=FULL")
        return database

    def close(self) -> None:
        """Closes the connection."""
        self.database.close()


class Git(PageStore):
    """A blob for each page, in folders of 256; blob, two trees and a commit for each version."""

    name = "pygit2"
    sync = False

    def begin(self, pages: list[bytes]) -> None:
        """A bare repository."""
        self.git = importlib.import_module("pygit2")
        self.git.option(self.git.enums.Option.ENABLE_FSYNC_GITDIR, False)  # noqa: FBT003 (its signature)
        self.repository = self.git.init_repository(str(self.directory), bare=True)
        self.who = self.git.Signature("nobody", "nobody@example.org")
        folders = []
        for first in range(0, len(pages), GROUP):
            builder = self.repository.TreeBuilder()
            for number, page in enumerate(pages[first : first + GROUP], first):
                builder.insert(str(number), self.repository.create_blob(page), self.git.enums.FileMode.BLOB)
            folders.append(builder.write())
        self.root = self.repository.TreeBuilder()
        for number, folder in enumerate(folders):
            self.root.insert(str(number), folder, self.git.enums.FileMode.TREE)
        self.folder = self.repository.TreeBuilder(self.repository[folders[CHANGED // GROUP]])
        self.versions = [self.save([])]

    def commits(self, times: int) -> Latencies:
        """Versions in a line; whether files are synced is an option of the whole library."""
        self.git.option(self.git.enums.Option.ENABLE_FSYNC_GITDIR, self.sync)
        return super().commits(times)

    def commit(self, page: bytes) -> None:
        """A blob, its folder, the root, a commit, and the branch."""
        self.folder.insert(str(CHANGED), self.repository.create_blob(page), self.git.enums.FileMode.BLOB)
        self.root.insert(str(CHANGED // GROUP), self.folder.write(), self.git.enums.FileMode.TREE)
        self.versions.append(self.save(self.versions[-1:]))

    def save(self, parents: list[Any]) -> Any:
        """A commit of the root."""
        return self.repository.create_commit(
            "refs/heads/main", self.who, self.who, "version", self.root.write(), parents
        )

    def read_old(self, version: int) -> bytes:
        """The blob in the tree of the old commit."""
        tree = self.git.Repository(str(self.directory))[self.versions[version]].tree
        return tree[str(CHANGED // GROUP)][str(CHANGED)].data[:8]


class SyncedGit(Git):
    """The same, with every file synced."""

    name = "pygit2 with fsync"
    sync = True


class Icechunk(PageStore):
    """An array whose chunks are the pages, uncompressed, in a repository in the local file system."""

    name = "Icechunk"

    def begin(self, pages: list[bytes]) -> None:
        """A repository with one array."""
        icechunk, zarr, numpy = (importlib.import_module(name) for name in ("icechunk", "zarr", "numpy"))
        icechunk.set_logs_filter("error")  # that it is not made for commits of several processes at a time
        self.icechunk, self.zarr, self.numpy = icechunk, zarr, numpy
        self.repository = icechunk.Repository.create(self.storage())
        session = self.repository.writable_session("main")
        shape, chunks = (len(pages), PAGE_BYTES), (1, PAGE_BYTES)
        array = zarr.create_array(session.store, name="pages", shape=shape, chunks=chunks, dtype="u1", compressors=None)
        array[:] = numpy.frombuffer(b"".join(pages), dtype="u1").reshape(shape)
        self.versions = [session.commit("version")]

    def storage(self) -> Any:
        """Where it lies."""
        return self.icechunk.local_filesystem_storage(str(self.directory))

    def commit(self, page: bytes) -> None:
        """A session on the branch, a chunk, a commit."""
        session = self.repository.writable_session("main")
        array = self.zarr.open_group(session.store, mode="r+")["pages"]
        array[CHANGED] = self.numpy.frombuffer(page, dtype="u1")
        self.versions.append(session.commit("version"))

    def read_old(self, version: int) -> bytes:
        """The chunk in a session on the old snapshot."""
        repository = self.icechunk.Repository.open(self.storage())
        session = repository.readonly_session(snapshot_id=self.versions[version])
        return self.zarr.open_group(session.store, mode="r")["pages"][CHANGED].tobytes()[:8]


NEEDED: dict[Callable[[Path], System], tuple[str, ...]] = {
    Icechunk: ("icechunk", "zarr", "numpy"),
    Git: ("pygit2",),
    SyncedGit: ("pygit2",),
    SQLite: ("sqlite3",),
}


def installed() -> list[Callable[[Path], System]]:
    """The rivals that can be measured here; the others are told."""
    found = []
    for rival, modules in NEEDED.items():
        missing = [name for name in modules if not importable(name)]
        if missing:
            print(f"without {', '.join(missing)}: pip install 'piecrust-vm[bench]'", file=sys.stderr)
        else:
            found.append(rival)
    return found


def importable(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True
