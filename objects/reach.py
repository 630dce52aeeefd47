"""What a commit needs: the objects of its state, of its transcript, and of its history.

The walks share a set of what was seen before: objects in it, and what lies below them, are passed over. So walking
many commits costs what differs between them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from piecrust.objects import transcript, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.commit import Commit
from piecrust.objects.errors import ObjectNotFound
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.record import ContractRecord
from piecrust.objects.tree import CONTRACTS


class Seen(Protocol):
    """A set of objects; any set will do."""

    def __contains__(self, item: object, /) -> bool:
        """Whether it was seen."""

    def add(self, item: tuple[Kind, bytes], /) -> None:
        """It was seen."""


def reachable(
    reader: ObjectReader, commit: CommitId, seen: Seen, *, partial: bool = False
) -> Iterator[tuple[Kind, bytes]]:
    """Every object that opening this one commit and executing its transcript again may read.

    The commits that it came from are not among them: see `history`. With `partial`, objects that the reader lacks are
    passed over, with what only they lead to.
    """
    if partial:
        reader = _Partial(reader)
    if _new(seen, Kind.COMMIT, commit):
        yield Kind.COMMIT, commit
    value: Commit = reader.load(Kind.COMMIT, commit)
    yield from _of_state(reader, value, seen)
    if value.transcript is not None and _new(seen, Kind.TRANSCRIPT, value.transcript):
        yield Kind.TRANSCRIPT, value.transcript
        if isinstance(reader, _Partial) and not reader.contains(Kind.TRANSCRIPT, value.transcript):
            return
        try:
            for kind, address in transcript.references(reader, value.transcript):
                if _new(seen, kind, address):
                    yield kind, address
        except ObjectNotFound:
            if not partial:
                raise  # else the blobs that are here come again from where the missing ones do


def history(reader: ObjectReader, commit: CommitId, seen: set[bytes]) -> Iterator[tuple[CommitId, Commit]]:
    """The commit and all of its ancestors, but none that is in `seen` and nothing beyond it. In no order."""
    todo = [commit]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            value: Commit = reader.load(Kind.COMMIT, here)
            yield here, value
            todo.extend(reversed(value.parents))


def _of_state(reader: ObjectReader, commit: Commit, seen: Seen) -> Iterator[tuple[Kind, bytes]]:
    entered: list[bytes] = []
    partial = isinstance(reader, _Partial)

    def enter(address: bytes) -> bool:
        if not _new(seen, Kind.NODE, address) or (partial and not reader.contains(Kind.NODE, address)):
            return False
        entered.append(address)
        return True

    for _ in tree.walk(reader, CONTRACTS, commit.state_root, enter):
        pass  # its leaves are page trees; the records below have them, with their shapes
    for address in tree.walk(reader, CONTRACTS, commit.map_root, enter):
        if not _new(seen, Kind.RECORD, address):
            continue
        yield Kind.RECORD, address
        if partial and not reader.contains(Kind.RECORD, address):
            continue
        record: ContractRecord = reader.load(Kind.RECORD, address)
        if _new(seen, Kind.BYTECODE, record.bytecode):
            yield Kind.BYTECODE, record.bytecode
        for page in tree.walk(reader, record.memory_kind.shape, record.pages_root, enter):
            if _new(seen, Kind.PAGE, page):
                yield Kind.PAGE, page
    yield from ((Kind.NODE, address) for address in entered)


class _Partial:
    """A reader that lacks some objects."""

    def __init__(self, reader: ObjectReader) -> None:
        self.load, self.contains = reader.load, reader.contains


def _new(seen: Seen, kind: Kind, address: bytes) -> bool:
    if (kind, address) in seen:
        return False
    seen.add((kind, address))
    return True
