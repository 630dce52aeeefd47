"""Publishing: encode, lock, catch up, check, append one frame, sync, make visible.

Objects are encoded before the lock is taken. Under it the ledger is the newest there is, so that refs are compared and
swapped, and what was deduplicated against objects that garbage collection may have taken is checked again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from piecrust.objects import encoding
from piecrust.objects.access import Overlay
from piecrust.objects.catalog import OperationFrame
from piecrust.objects.encoder import Encoder, StagedObject
from piecrust.objects.errors import CommitInUse, CommitPinned, Conflict, PiecrustError, StoreError, UnknownRevision
from piecrust.objects.frame import INLINE_BYTES_MAX, Encoding, Entry, FrameType, TableRow, encode_body
from piecrust.objects.graph import CommitGraph
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_writer import LogWriter
from piecrust.objects.oplog import Operation, OperationRecord, RefChange
from piecrust.objects.reader import Reader
from piecrust.objects.refs import PINS, RefValue
from piecrust.objects.replay import kept_commits
from piecrust.objects.source import SegmentSource
from piecrust.objects.transaction import Anything, RefUpdate

FRAME_BYTES: Final = 8 << 20  # objects beyond this go into frames of their own, ahead of the one that counts
HEAD_BYTES: Final = 16 << 10  # and so do short ones beyond this: who reads one of them decompresses the whole head


class Change(NamedTuple):
    """What one operation asks for, apart from objects.

    With a `generation` it is refused if garbage was collected since: some objects were published ahead of it.
    """

    operation: Operation
    ref_updates: dict[str, RefUpdate]
    kept: Sequence[CommitId]
    deleted: Sequence[CommitId]
    generation: int | None = None


class Publisher:
    """Appends transactions to the log of one handle."""

    def __init__(self, log: LogWriter, reader: Reader, lock: StoreLock, clock: Callable[[], int]) -> None:
        self.log, self.reader, self.lock = log, reader, lock
        self.encoder = Encoder(reader)
        self._clock = clock

    def publish(
        self,
        overlay: Overlay,
        assumed: list[StagedObject],
        generation: int,
        changes: Sequence[Change],
        graph: CommitGraph,
        entries: list[Entry] | None = None,
    ) -> None:
        """Publish objects with the operations that they belong to, with one sync.

        `entries` are the objects of the overlay, if they are encoded already.
        """
        objects = list(overlay.staged())
        kept = {bytes(commit) for change in changes for commit in change.kept}
        if entries is None:
            entries = self.encoder.encode(objects, kept)
        with self.log.mutex, self.lock:
            try:
                if self.log.prepare():
                    entries = [e for e in entries if self.reader.catalog.locate(e.kind, e.address) is None]
                if self.log.ledger.generation != generation:
                    # What was left out because it was there, and what deltas were made against, may be gone.
                    self._check_bases([*objects, *assumed])
                    objects = [(k, a, staged._replace(value=overlay.load(k, a))) for k, a, staged in objects]
                    entries = self.encoder.encode(self._missing([*objects, *assumed]), kept)
                self._append(entries, self._records(changes, graph, [*objects, *assumed]))
            except PiecrustError:
                raise
            except BaseException:
                self.log.forget()  # a signal may have come between the file and what is in memory
                raise
        # Pages rest in the memories of contracts: who commits one after another would fill the cache with them in vain.
        whole = {entry.address for entry in entries if entry.encoding is not Encoding.DELTA}
        for kind, address, staged in objects:
            if kind is not Kind.PAGE or address in whole:
                self.reader.cache.put(kind, address, staged.value)

    def _append(self, entries: list[Entry], records: list[OperationRecord]) -> None:
        log = self.log
        *ahead, last = _pieces(entries)
        written: list[tuple[SegmentSource, int, list[TableRow]]] = []
        try:
            for piece in ahead:
                body = encode_body(piece, b"")
                offset = log.append(FrameType.OBJECTS, body.data, publish=False)
                written.append((log.active, offset, body.rows))
            body = encode_body(last, encoding.encode([record.pack() for record in records]))
            offset = log.append(FrameType.TRANSACTION, body.data)
        except StoreError:
            if ahead:
                log.forget()  # what was written ahead stays behind
            raise
        for source, at, rows in [*written, (log.active, offset, body.rows)]:
            self.reader.catalog.add_frame(source, at, rows)
        log.catalog.fresh_operations.append(OperationFrame(records[0].sequence, log.active, offset))
        kept_here = kept_commits(body.rows)
        for record in records:
            log.ledger.apply(record, kept_here)

    def _missing(self, objects: list[StagedObject]) -> list[StagedObject]:
        """Those that the store doesn't have."""
        locate = self.reader.catalog.locate
        return [staged for staged in objects if locate(staged[0], staged[1]) is None]

    def _check_bases(self, objects: list[StagedObject]) -> None:
        """Raise `Conflict` if a commit descends from one whose state was collected meanwhile."""
        made = {address for kind, address, _ in objects if kind is Kind.COMMIT}
        for commit in [staged.value for kind, _, staged in objects if kind is Kind.COMMIT]:
            for parent in commit.parents:
                if parent not in made and self._is_collected(parent):
                    raise Conflict(parent.hex(), parent, None)

    def _check_there(self, ref: str, commit: CommitId) -> None:
        """Raise unless a ref may be set to a commit."""
        if self.reader.catalog.locate(Kind.COMMIT, commit) is None:
            raise UnknownRevision(commit.hex())
        if self._is_collected(commit):
            raise Conflict(ref, commit, None)

    def _is_collected(self, commit: CommitId) -> bool:
        location = self.reader.catalog.locate(Kind.COMMIT, commit)
        return location is None or self.log.ledger.collected(commit, location.flags)

    def _records(
        self, changes: Sequence[Change], graph: CommitGraph, objects: list[StagedObject]
    ) -> list[OperationRecord]:
        """What the changes come to on the newest ledger; `Conflict` if they no longer fit it."""
        ledger = self.log.ledger
        staged = {bytes(address) for kind, address, _ in objects if kind is Kind.COMMIT}
        refs: dict[str, RefValue | None] = {}
        records: list[OperationRecord] = []
        for change in changes:
            if change.generation not in (None, ledger.generation):
                raise collected(change.operation)
            moved: dict[str, RefChange] = {}
            for name, (value, expected) in change.ref_updates.items():
                actual = refs[name] if name in refs else ledger.refs.get(name)
                if not isinstance(expected, Anything) and actual != expected:
                    raise Conflict(name, expected, actual)
                if isinstance(value, CommitId) and value not in staged:
                    self._check_there(name, value)
                if actual != value:
                    moved[name] = RefChange(actual, value)
                refs[name] = value
            for commit in change.deleted:
                if commit not in staged and self.reader.catalog.locate(Kind.COMMIT, commit) is None:
                    raise UnknownRevision(commit.hex())
                _check_deletable(commit, ledger.refs | refs, graph)
            records.append(
                OperationRecord(
                    ledger.next_operation + len(records),
                    self._clock(),
                    change.operation,
                    moved,
                    tuple(change.kept),
                    tuple(change.deleted),
                )
            )
        return records


def collected(operation: Operation) -> Conflict:
    """The error of an operation whose objects, published ahead of it, a collection of garbage may have taken."""
    conflict = Conflict(operation.command, "the store as it was", "the store after a collection of garbage")
    conflict.add_note("do it again")
    return conflict


def _check_deletable(commit: CommitId, refs: Mapping[str, RefValue | None], graph: CommitGraph) -> None:
    pins = [
        CommitId.from_hex(name.removeprefix(PINS)) for name, value in refs.items() if name.startswith(PINS) and value
    ]
    if any(graph.is_ancestor(commit, pin) for pin in pins):
        raise CommitPinned(commit)
    users = sorted(name for name, value in refs.items() if value == commit)
    if users:
        raise CommitInUse(commit, users)


def _pieces(entries: list[Entry]) -> list[list[Entry]]:
    """The entries, cut where a frame would get too long, or its head; at least one piece.

    The last one has all commits, for the operations beside them say which of its commits are kept.
    """
    pieces: list[list[Entry]] = [[]]
    size = head = 0
    for entry in [e for e in entries if e.kind is not Kind.COMMIT]:
        length = len(entry.payload)
        size += length
        head += length if length <= INLINE_BYTES_MAX else 0
        if (size > FRAME_BYTES or head > HEAD_BYTES) and pieces[-1]:
            pieces.append([])
            size, head = length, length if length <= INLINE_BYTES_MAX else 0
        pieces[-1].append(entry)
    pieces[-1] += [entry for entry in entries if entry.kind is Kind.COMMIT]
    return pieces
