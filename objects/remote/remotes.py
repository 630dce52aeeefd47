"""The remotes that a store knows: their names and where they are, in `.piecrust/REMOTES`.

The file is JSON: `{"version": 1, "remotes": {"origin": {"url": "s3://bucket/prefix", "lazy": false}}}`. Nothing in it
is secret: credentials are the environment's. It is replaced as a whole, under the store's lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from piecrust.objects.disk import store_error
from piecrust.objects.errors import Conflict, CorruptStore, InvalidRemote, StoreReadOnly, UnknownRemote
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import REMOTES
from piecrust.objects.remote.open_bucket import file_path, open_bucket
from piecrust.objects.remote.storage import Storage
from piecrust.objects.remote.taken import TakenPacks
from piecrust.objects.store import Store

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class RemoteEntry:
    """A remote: its name here, its address, and whether the store asks it for objects that it lacks."""

    name: str
    url: str
    lazy: bool = False


class Remotes:
    """The remotes of a store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._path = store.layout.remotes

    def __iter__(self) -> Iterator[RemoteEntry]:
        """All of them, by name."""
        return iter(sorted(self._read().values(), key=lambda entry: entry.name))

    def __getitem__(self, name: str) -> RemoteEntry:
        """The remote of a name; `UnknownRemote` if there is none."""
        entry = self._read().get(name)
        if entry is None:
            raise UnknownRemote(name)
        return entry

    def add(self, name: str, url: str, *, lazy: bool = False) -> RemoteEntry:
        """Give a remote a name; nothing is asked of it. A path is made absolute.

        Raises:
            InvalidRemote: no remote can have this name or address.
            Conflict: there is a remote of this name.
            RemoteSupportMissing: the package obstore is not installed.
        """
        if not _NAME.fullmatch(name):
            raise InvalidRemote(name, "a name is of letters, digits, _ and -")
        open_bucket(url)
        if "://" not in url:
            url = str(file_path(url).absolute())
        entry = RemoteEntry(name, url, lazy)
        with self._changing() as entries:
            if name in entries:
                raise Conflict(f"remote {name}", "nothing", entries[name].url)
            entries[name] = entry
        return entry

    def remove(self, name: str) -> None:
        """Forget a remote and where its branches were; what came from it stays.

        Raises:
            UnknownRemote: there is none of this name.
        """
        with self._changing() as entries:
            if entries.pop(name, None) is None:
                raise UnknownRemote(name)
        TakenPacks(self._store, name).forget()
        transaction = self._store.transaction()
        gone = [ref for ref in self._store.refs() if ref.startswith(f"{REMOTES}{name}/")]
        for ref in gone:
            transaction.set_ref(ref, None)
        if gone:
            transaction.publish(Operation("remote", ("remove", name)))

    def open(self, name: str) -> Storage:
        """The storage of a remote; nothing is asked of it yet."""
        return Storage(name, open_bucket(self[name].url))

    def _read(self) -> dict[str, RemoteEntry]:
        try:
            return _decoded(json.loads(self._path.read_bytes()))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise store_error(self._path, "read", error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptStore(self._path, 0, f"not a list of remotes: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, RemoteEntry]]:
        if self._store.read_only:
            raise StoreReadOnly(self._store.root_dir)
        try:
            with (self._path.parent / "LOCK").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = self._read()
                yield entries
                remotes = {name: {"url": entry.url, "lazy": entry.lazy} for name, entry in sorted(entries.items())}
                _replace(self._path, json.dumps({"version": 1, "remotes": remotes}, indent=1) + "\n")
        except OSError as error:
            raise store_error(self._path, "write", error) from error


def _decoded(value: Any) -> dict[str, RemoteEntry]:
    if value["version"] != 1:
        raise ValueError("a newer version wrote it")
    return {n: RemoteEntry(str(n), str(of["url"]), of["lazy"] is True) for n, of in value["remotes"].items()}


def _replace(path: Path, text: str) -> None:
    draft = path.parent / "tmp" / path.name
    with draft.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    handle = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
