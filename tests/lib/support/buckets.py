"""Buckets for tests of remotes: one that counts and fails as it is told, over another one."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from piecrust.objects.errors import RemoteUnavailable
from piecrust.objects.remote.bucket import Bucket, Content, Listed
from piecrust.objects.remote.open_bucket import open_bucket
from piecrust.objects.remote.storage import Storage

WRITES = ("put_if_absent", "compare_and_swap")


class Fault(Enum):
    """What becomes of a request."""

    CUT = "cut"  # it never arrives
    LOST = "lost"  # it is done, and the answer is lost
    TWICE = "twice"  # it arrives a second time, after the answer


@dataclass
class FaultyBucket:
    """Counts requests; `plan` says by number, from 0, what goes wrong; `before` is called ahead of each."""

    inner: Bucket
    plan: Callable[[int, str], Fault | None] = lambda _number, _operation: None
    before: Callable[[str, str], None] = lambda _operation, _key: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    bytes_read: int = 0

    def get(self, key: str) -> Content | None:
        found = self._ask("get", key)
        self.bytes_read += 0 if found is None else len(found.data)
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        data: bytes = self._ask("get_range", key, start, length)
        self.bytes_read += len(data)
        return data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return bool(self._ask("put_if_absent", key, data))

    def compare_and_swap(self, key: str, tag: str, data: bytes) -> bool:
        return bool(self._ask("compare_and_swap", key, tag, data))

    def list(self, prefix: str) -> Iterator[Listed]:
        yield from self._ask("list", prefix)

    @property
    def writes(self) -> list[tuple[str, str]]:
        """The requests that write: what, and the first part of the key."""
        return [(operation, key.split("/")[0]) for operation, key in self.requests if operation in WRITES]

    def _ask(self, operation: str, key: str, *rest: Any) -> Any:
        number = len(self.requests)
        self.requests.append((operation, key))
        self.before(operation, key)
        fault = self.plan(number, operation)
        if fault is Fault.CUT:
            raise RemoteUnavailable("test", operation, "the connection was cut")
        answer = getattr(self.inner, operation)(key, *rest)
        if operation == "list":
            answer = list(answer)
        if fault is Fault.LOST:
            raise RemoteUnavailable("test", operation, "the answer was lost")
        if fault is Fault.TWICE and operation in WRITES:
            getattr(self.inner, operation)(key, *rest)
        return answer


def memory_bucket() -> Bucket:
    """A new, empty bucket in memory."""
    return open_bucket(f"memory://{uuid.uuid4()}")


def storage_over(bucket: Bucket) -> Storage:
    """A storage that does not wait between attempts."""
    return Storage("origin", bucket, pause_seconds=0)
