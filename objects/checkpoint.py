"""The ledger: everything the log says that is not an object. A checkpoint frame holds all of it.

The meta of the frames that change it, in canonical CBOR:

- checkpoint: `[[[ref, value], …], [[commit, kept], …], next operation, first operation, generation,
  [[segment, end, chain, salt], …], [[pack, length, salt], …], [condemned commit, …]]`
- transaction: `[operation record, …]` (`piecrust.objects.oplog`)
- sources: `[[segment gone, …], [pack gone, …], [[pack added, length, salt], …], generation, first operation,
  [commit whose exception is settled, …], [condemned commit, …]]`
- objects: empty; history: `[first sequence, [operation record, …]]`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from piecrust.objects import encoding
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.frame import CHAIN_BYTES, SALT_BYTES, EntryFlags
from piecrust.objects.ids import ID_BYTES, CommitId
from piecrust.objects.oplog import OperationRecord, commit_ids, unpack_records
from piecrust.objects.refs import RefValue, decode_ref, encode_ref

_SEGMENT_BYTES: Final = (CHAIN_BYTES, SALT_BYTES)
_PACK_BYTES: Final = (ID_BYTES, SALT_BYTES)


class ClosedSegment(NamedTuple):
    """A segment that is no longer written to; what follows `end` in its file doesn't count."""

    number: int
    end: int
    chain: bytes
    salt: bytes


class PackName(NamedTuple):
    """A pack: the blake3 hash of its file, the file's length, and the salt of its frames."""

    name: bytes
    length: int
    salt: bytes


@dataclass(slots=True)
class Ledger:
    """Refs, exceptions to the flags of commits, where operations are counted from, and the files that hold objects."""

    refs: dict[str, RefValue] = field(default_factory=dict)
    exceptions: dict[CommitId, bool] = field(default_factory=dict)  # kept (True) or deleted, whatever the flags say
    next_operation: int = 0
    first_operation: int = 0  # older ones are no longer held
    generation: int = 0  # counts the times that objects were collected
    segments: list[ClosedSegment] = field(default_factory=list)  # oldest first
    packs: list[PackName] = field(default_factory=list)  # oldest first
    condemned: set[CommitId] = field(default_factory=set)  # dead ones, whose states are being collected or are gone

    def encode(self) -> bytes:
        """The meta of a checkpoint."""
        return encoding.encode(
            (
                [(name, encode_ref(value)) for name, value in self.refs.items()],
                [(bytes(commit), kept) for commit, kept in self.exceptions.items()],
                self.next_operation,
                self.first_operation,
                self.generation,
                self.segments,
                self.packs,
                [bytes(commit) for commit in sorted(self.condemned)],
            )
        )

    @classmethod
    def decode(cls, meta: bytes) -> Ledger:
        """The reverse of `encode`; `InvalidFormat` if it is something else."""
        match encoding.decode("checkpoint", meta):
            case (
                tuple(refs),
                tuple(exceptions),
                int(next_operation),
                int(first_operation),
                int(generation),
                tuple(segments),
                tuple(packs),
                tuple(condemned),
            ):
                ledger = cls({}, {}, next_operation, first_operation, generation, _segments(segments), _packs(packs))
                ledger.condemned = set(commit_ids(condemned))
            case _:
                raise InvalidFormat("checkpoint", "not an array of its eight fields")
        for item in refs:
            match item:
                case (str(name), (bytes() | str()) as value):
                    ledger.refs[name] = decode_ref(value)
                case _:
                    raise InvalidFormat("checkpoint", "a ref without a name or a value")
        for item in exceptions:
            match item:
                case (bytes(commit), bool(kept)):
                    ledger.exceptions[CommitId(commit)] = kept
                case _:
                    raise InvalidFormat("checkpoint", "an exception that is none")
        return ledger

    def apply_operations(self, meta: bytes, kept_here: set[bytes]) -> list[OperationRecord]:
        """Do what a transaction's operations say; `kept_here` are the commits that its own table flags as kept."""
        records = unpack_records(meta, self.next_operation)
        for record in records:
            self.apply(record, kept_here)
        return records

    def apply(self, record: OperationRecord, kept_here: set[bytes]) -> None:
        """Do what one operation says."""
        for name, change in record.ref_changes.items():
            if change.after is None:
                self.refs.pop(name, None)
            else:
                self.refs[name] = change.after
        for commit in record.kept:
            self.condemned.discard(commit)
            if commit in kept_here:
                self.exceptions.pop(commit, None)
            else:
                self.exceptions[commit] = True
        for commit in record.deleted:
            self.exceptions[commit] = False
        self.next_operation = record.sequence + 1

    def kept(self, commit: CommitId, flags: int) -> bool:
        """Whether a commit is kept, by its flags where it is stored and what was said since."""
        return self.exceptions.get(commit, bool(flags & EntryFlags.KEPT))

    def collected(self, commit: CommitId, flags: int) -> bool:
        """Whether a commit's state may be gone: nothing can be built on it, unless it is made again as a whole."""
        return commit in self.condemned or (bool(flags & EntryFlags.DELETED) and not self.exceptions.get(commit, False))

    def apply_sources(self, meta: bytes) -> None:
        """Do what a frame about sources says."""
        match encoding.decode("sources", meta):
            case (
                tuple(gone_segments),
                tuple(gone_packs),
                tuple(packs),
                int(generation),
                int(first_operation),
                tuple(settled),
                (tuple() | None) as condemned,
            ):
                pass
            case _:
                raise InvalidFormat("sources", "not an array of its seven fields")
        gone = {*gone_segments, *gone_packs}
        self.segments = [segment for segment in self.segments if segment.number not in gone]
        self.packs = [pack for pack in self.packs if pack.name not in gone] + _packs(packs)
        self.generation, self.first_operation = generation, first_operation
        for commit in commit_ids(settled):
            self.exceptions.pop(commit, None)
        if condemned is not None:
            self.condemned = set(commit_ids(condemned))


class SourcesChange(NamedTuple):
    """Which files hold objects from now on, and what collecting garbage settled."""

    gone_segments: Sequence[int]
    gone_packs: Sequence[bytes]
    packs: Sequence[PackName]
    generation: int
    first_operation: int
    settled: Iterable[CommitId]
    condemned: Iterable[CommitId] | None  # None: they stay as they are

    def encode(self) -> bytes:
        """The meta of a frame about sources."""
        return encoding.encode(
            (
                self.gone_segments,
                self.gone_packs,
                self.packs,
                self.generation,
                self.first_operation,
                [bytes(commit) for commit in self.settled],
                None if self.condemned is None else [bytes(commit) for commit in self.condemned],
            )
        )


def _segments(values: tuple[object, ...]) -> list[ClosedSegment]:
    segments = []
    for value in values:
        match value:
            case (int(number), int(end), bytes(chain), bytes(salt)) if (len(chain), len(salt)) == _SEGMENT_BYTES:
                segments.append(ClosedSegment(number, end, chain, salt))
            case _:
                raise InvalidFormat("checkpoint", "a segment that is none")
    return segments


def _packs(values: tuple[object, ...]) -> list[PackName]:
    packs = []
    for value in values:
        match value:
            case (bytes(name), int(length), bytes(salt)) if (len(name), len(salt)) == _PACK_BYTES:
                packs.append(PackName(name, length, salt))
            case _:
                raise InvalidFormat("checkpoint", "a pack that is none")
    return packs
