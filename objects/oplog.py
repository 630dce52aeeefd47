"""The operation log: what was done to the store, when, and which refs it moved.

Each publish carries the record of its operation in its frame, so a commit, its ref and its record are durable together
or not at all. Records are not hashed into commits: the time is here and not there, and a commit's id is the same on
every machine. In a frame a record is an array in canonical CBOR::

    [time in ns since 1970, command, [argument, …], [[ref, before, after], …], [commit kept, …], [commit deleted, …]]

Its sequence number is not written: records are counted from the number that the checkpoint gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from piecrust.objects import encoding
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import CommitId
from piecrust.objects.refs import RefValue, decode_ref, encode_ref


@dataclass(frozen=True, slots=True)
class Operation:
    """What the user asked for, for `op-log` to show."""

    command: str
    arguments: tuple[str, ...] = ()


class RefChange(NamedTuple):
    """How an operation moved a ref; None: the ref was or is not there."""

    before: RefValue | None
    after: RefValue | None


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """One operation as it happened."""

    sequence: int
    time: int  # ns since 1970, by the clock of the machine that did it
    operation: Operation
    ref_changes: Mapping[str, RefChange] = field(default_factory=lambda: MappingProxyType({}))
    kept: tuple[CommitId, ...] = ()
    deleted: tuple[CommitId, ...] = ()

    def pack(self) -> tuple[object, ...]:
        """As it stands in a frame."""
        changes = [(name, encode_ref(c.before), encode_ref(c.after)) for name, c in self.ref_changes.items()]
        operation = self.operation
        return (
            self.time,
            operation.command,
            operation.arguments,
            changes,
            [bytes(c) for c in self.kept],
            [bytes(c) for c in self.deleted],
        )

    @classmethod
    def unpack(cls, sequence: int, value: object) -> OperationRecord:
        """The reverse of `pack`; `InvalidFormat` if it is something else."""
        match value:
            case (int(time), str(command), tuple(arguments), tuple(changes), tuple(kept), tuple(deleted)):
                pass
            case _:
                raise InvalidFormat("operation record", "not an array of its six fields")
        if not all(isinstance(argument, str) for argument in arguments):
            raise InvalidFormat("operation record", "an argument is not text")
        refs = {}
        for change in changes:
            match change:
                case (str(name), before, after):
                    refs[name] = RefChange(decode_ref(before), decode_ref(after))
                case _:
                    raise InvalidFormat("operation record", "a ref's change is none")
        return cls(sequence, time, Operation(command, arguments), refs, commit_ids(kept), commit_ids(deleted))


def commit_ids(values: tuple[object, ...]) -> tuple[CommitId, ...]:
    """The commit ids in a CBOR array."""
    ids = []
    for value in values:
        if not isinstance(value, bytes):
            raise InvalidFormat("operation record", "a commit id is not bytes")
        ids.append(CommitId(value))
    return tuple(ids)


def unpack_records(meta: bytes, first: int) -> list[OperationRecord]:
    """The operations of a transaction's meta, counted from `first`."""
    values = encoding.decode("transaction", meta)
    if not isinstance(values, tuple):
        raise InvalidFormat("transaction", "not an array of operations")
    return [OperationRecord.unpack(first + i, value) for i, value in enumerate(values)]


def pack_history(records: Sequence[OperationRecord]) -> bytes:
    """The meta of a frame that keeps records, of which there is at least one, without what they came with."""
    return encoding.encode((records[0].sequence, [record.pack() for record in records]))


def unpack_history(meta: bytes) -> tuple[int, list[OperationRecord]]:
    """The reverse of `pack_history`, with the first sequence number."""
    match encoding.decode("history", meta):
        case (int(first), tuple(values)):
            return first, [OperationRecord.unpack(first + i, value) for i, value in enumerate(values)]
        case _:
            raise InvalidFormat("history", "not a sequence number and an array of operations")
