"""Buckets by their addresses, through the package obstore: files, S3, memory.

| address | where |
|---|---|
| `/path`, `./path`, `file:///path` | a directory |
| `s3://bucket/prefix?endpoint=URL&region=NAME` | S3, or what speaks its protocol; the query is optional |
| `memory://name` | this process's memory |

Credentials are never part of an address: obstore finds those of S3 as Amazon's own tools do, in AWS_ACCESS_KEY_ID and
the like, or from the machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from blake3 import blake3
from piecrust.objects.errors import InvalidRemote, RemoteSupportMissing, RemoteUnavailable
from piecrust.objects.remote.bucket import Bucket, Content, Listed

if TYPE_CHECKING:
    from obstore.store import MemoryStore, ObjectStore

_S3_OPTIONS: Final = ("endpoint", "region")
_LIST_CHUNK: Final = 1000
_T = TypeVar("_T")


def open_bucket(url: str) -> Bucket:
    """The bucket at an address.

    Raises:
        InvalidRemote: it is none.
        RemoteSupportMissing: obstore is not installed.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("", "file", "s3", "memory"):
        raise InvalidRemote(url, "an address is a path, file://..., s3://... or memory://...")
    if parts.username or parts.password:
        raise InvalidRemote(f"{parts.scheme}://...", "credentials don't belong into an address: set AWS_ACCESS_KEY_ID")
    if find_spec("obstore") is None:
        raise RemoteSupportMissing
    match parts.scheme:
        case "s3":
            return _s3(url)
        case "memory":
            return ObstoreBucket(url, _memory(parts.netloc + parts.path))
        case _:
            return FileBucket(url, file_path(url))


def file_path(url: str) -> Path:
    """The directory of a remote in files."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidRemote(url, "file:// takes an absolute path, and no host")
        return Path(unquote(parts.path))
    return Path(url)


class ObstoreBucket:
    """A bucket over a store of obstore that decides compare-and-swap itself."""

    def __init__(self, name: str, store: ObjectStore | None) -> None:
        self._name, self._optional = name, store

    @property
    def _store(self) -> ObjectStore:
        assert self._optional is not None, "it was opened"
        return self._optional

    def get(self, key: str) -> Content | None:
        """A whole object, None if there is none."""
        import obstore

        def get() -> Content | None:
            try:
                found = obstore.get(self._store, key)
            except FileNotFoundError:
                return None
            return Content(bytes(found.bytes()), str(found.meta["e_tag"]))

        return self._asked("get", get)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of an object."""
        import obstore

        return self._asked("get", lambda: bytes(obstore.get_range(self._store, key, start=start, length=length)))

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Make an object; False if there is one already."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def put() -> bool:
            try:
                obstore.put(self._store, key, data, mode="create")
            except AlreadyExistsError:
                return False
            return True

        return self._asked("put", put)

    def compare_and_swap(self, key: str, tag: str, data: bytes) -> bool:
        """Replace an object if it still is the version with this tag."""
        import obstore
        from obstore.exceptions import PreconditionError

        def put() -> bool:
            try:
                obstore.put(self._store, key, data, mode={"e_tag": tag})
            except (PreconditionError, FileNotFoundError):
                return False
            return True

        return self._asked("put", put)

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with this."""
        import obstore

        pages = obstore.list(self._store, prefix, chunk_size=_LIST_CHUNK)
        while True:
            page = self._asked("list", lambda: next(pages, None))
            if page is None:
                return
            yield from (Listed(str(meta["path"]), int(meta["size"])) for meta in page)

    def _asked(self, operation: str, call: Callable[[], _T]) -> _T:
        from obstore.exceptions import BaseError

        try:
            return call()
        except (BaseError, OSError, ValueError) as error:
            raise RemoteUnavailable(self._name, operation, _first_line(error)) from error


class FileBucket(ObstoreBucket):
    """A bucket in a directory of a local file system; writers wait for one another at a lock.

    obstore has no compare-and-swap for files, and does not sync them. So the tag is the hash of the content, it is
    compared under an flock, and what was written is synced before anybody is told.
    """

    def __init__(self, name: str, directory: Path) -> None:
        """The directory is made when something is written; reading from one that is missing finds nothing."""
        self._directory = directory.absolute()
        self._thread_lock = threading.Lock()
        super().__init__(name, None)  # opened when the directory is there

    def get(self, key: str) -> Content | None:
        """A whole object, None if there is none."""
        found = super().get(key) if self._opened() else None
        return None if found is None else Content(found.data, blake3(found.data).hexdigest())

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of an object."""
        if not self._opened():
            raise RemoteUnavailable(self._name, "get", "there is no such directory")
        return super().get_range(key, start, length)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Make an object; False if there is one already."""
        with self._locked():
            made = super().put_if_absent(key, data)
            self._sync(key)  # also what another process made and was killed before it synced
        return made

    def compare_and_swap(self, key: str, tag: str, data: bytes) -> bool:
        """Replace an object if its content has this hash."""
        import obstore

        with self._locked():
            found = self.get(key)
            if found is None or found.tag != tag:
                return False
            self._asked("put", lambda: obstore.put(self._store, key, data, use_multipart=False))
            self._sync(key)
        return True

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with this."""
        if self._opened():
            yield from super().list(prefix)

    def _opened(self, *, make: bool = False) -> bool:
        from obstore.store import LocalStore

        if self._optional is None and (make or self._directory.is_dir()):
            self._optional = self._asked("open", lambda: LocalStore(self._directory, mkdir=make))
        return self._optional is not None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._opened(make=True)
        with self._thread_lock:
            try:
                file = (self._directory / ".lock").open("ab")
            except OSError as error:
                raise RemoteUnavailable(self._name, "lock", str(error)) from error
            with file:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield

    def _sync(self, key: str) -> None:
        path = self._directory / key
        try:
            _sync_path(path)
            for parent in path.parents:
                _sync_path(parent)
                if parent == self._directory:
                    break
        except OSError as error:
            raise RemoteUnavailable(self._name, "sync", str(error)) from error


_memories: dict[str, MemoryStore] = {}


def _memory(name: str) -> MemoryStore:
    from obstore.store import MemoryStore

    return _memories.setdefault(name, MemoryStore())


def _s3(url: str) -> Bucket:
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(options.keys() - set(_S3_OPTIONS))
    if not parts.netloc or parts.fragment or unknown:
        reason = f"unknown option {unknown[0]}" if unknown else "s3://bucket/prefix, and options after a question mark"
        raise InvalidRemote(url, reason)
    config: Any = dict(options)
    client: Any = {"connect_timeout": "5 seconds", "timeout": "10 minutes"}
    if options.get("endpoint", "").startswith("http://"):
        client["allow_http"] = True
    # Requests are repeated by `Storage`; what obstore does by itself would take minutes without a network.
    retry: Any = {"max_retries": 1, "retry_timeout": timedelta(seconds=10)}
    prefix = parts.path.strip("/") or None
    try:
        store = S3Store(parts.netloc, prefix=prefix, config=config, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        raise InvalidRemote(url, _first_line(error)) from error
    return ObstoreBucket(url, store)


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]
