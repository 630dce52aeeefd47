"""A bucket with patience: what failed is tried again, where that can do no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from piecrust.objects.errors import CorruptRemote, RemoteUnavailable
from piecrust.objects.remote.bucket import Bucket, Content, Listed

_ATTEMPTS: Final = 5
_PAUSE_SECONDS: Final = 0.1
_T = TypeVar("_T")


class Storage:
    """The objects of a remote. Reads and creations of content-named objects are repeated when they fail."""

    def __init__(self, name: str, bucket: Bucket, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        """`name` is what errors call the remote; `pause_seconds` is the first pause, each one doubles."""
        self.name, self.bucket = name, bucket
        self._pause_seconds = pause_seconds

    def get(self, key: str) -> Content | None:
        """A whole object, None if there is none."""
        return self._patiently(lambda: self.bucket.get(key))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Exactly these bytes of an object.

        Raises:
            CorruptRemote: it is shorter.
            RemoteUnavailable: the remote can't be reached.
        """
        data = self._patiently(lambda: self.bucket.get_range(key, start, length)) if length else b""
        if len(data) != length:
            raise CorruptRemote(self.name, key, f"it ends before {start + length}")
        return data

    def put(self, key: str, data: bytes) -> None:
        """Make an object that is named by its content; fine if it is there already."""
        self._patiently(lambda: self.bucket.put_if_absent(key, data))

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with this."""
        yield from self._patiently(lambda: list(self.bucket.list(prefix)))

    def pause(self, attempt: int) -> None:
        """Wait before another attempt: not before the first one, then ever longer."""
        if attempt:
            time.sleep(self._pause_seconds * 2 ** (attempt - 1))

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        for attempt in range(_ATTEMPTS - 1):
            self.pause(attempt)
            try:
                return ask()
            except RemoteUnavailable:
                continue
        self.pause(_ATTEMPTS - 1)
        try:
            return ask()
        except RemoteUnavailable as error:
            raise RemoteUnavailable(self.name, error.operation, error.reason) from error
