"""What is asked of a place that holds a remote: a few operations on whole objects, known by their keys.

This is the seam to the libraries that speak to object stores, and where tests inject faults.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Content(NamedTuple):
    """An object, and the tag of this version of it."""

    data: bytes
    tag: str


class Listed(NamedTuple):
    """An object in a listing, its length in bytes."""

    key: str
    size: int


class Bucket(Protocol):
    """A place for objects. Keys are ASCII: letters, digits, `. _ - =`, and slashes between parts.

    Every method raises `RemoteUnavailable` if the place can't be reached or refuses; of a write nobody knows then
    whether it was done. What a write returned from is durable, and every later read of anybody sees it.
    """

    def get(self, key: str) -> Content | None:
        """A whole object, None if there is none."""

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes of an object, which must be there; fewer only if it ends before."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Make an object; False if there is one already, which stays."""

    def compare_and_swap(self, key: str, tag: str, data: bytes) -> bool:
        """Replace an object if it still is the version with this tag; False if it is not."""

    def list(self, prefix: str) -> Iterator[Listed]:
        """Every object whose key begins with this, which ends in a slash; in no order."""
