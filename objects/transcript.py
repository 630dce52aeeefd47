"""Transcripts: what leads from a commit's parent to it, in a form that can be executed again.

A commit that was not made by a session has a derivation in the transcript's place: a merge, a restore or an import.
All are objects of the kind TRANSCRIPT, canonical CBOR arrays that begin with the version and the form::

    transcript  [1, 0, list of [name, value], list of [excluded query], transient storage, contain failures, steps]
    merge       [1, 1, base | null, ours, theirs, list of [contract, side]]
    restore     [1, 2, source, contracts]
    import      [1, 3, format, source, contracts]

    steps       list of   [0, contract, bytecode, owner, init | null, gas limit, outcome | null, answers]      deploy
                          [1, contract, function, argument, gas limit, outcome, answers, feed | null]          call
                          [2, name, value]                                                                 set meta
                          [3, name]                                                                     remove meta
                          [4, contract, deploy, steps]                                                      migrate
    outcome     [0, gas spent, data, events]  or  [1, kind, detail, events]
    events      list of   [source, topic, data, reverted]
    answers     list of   [name, price, answer, null]  or  [name, price, null, [kind, detail]]
    feed        [count, digest]

Strings and lists are cut as `piecrust.objects.pieces` says; texts among the strings are UTF-8, `contracts` is one
string of ids. `format` and the kinds of failures are plain CBOR texts. Names, contracts and ids are in rising order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final

from piecrust.objects import encoding
from piecrust.objects.access import ObjectReader, ObjectWriter
from piecrust.objects.encoding import Fields
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import ID_BYTES, Address, CommitId, ContractId, Hash
from piecrust.objects.kinds import TRANSCRIPT_HASH, Kind
from piecrust.objects.pieces import get_bytes, get_list, put_bytes, put_list
from piecrust.objects.step_codec import decode_step, encode_step
from piecrust.objects.steps import Deploy, Migrate, Step

TRANSCRIPT_VERSION: Final = 1
FORMAT_BYTES_MAX: Final = 64

_WHAT = "transcript"


@dataclass(frozen=True, slots=True)
class Transcript:
    """What a session did, from its options to its last step."""

    steps: tuple[Step, ...] = ()
    metadata: Mapping[str, bytes] = field(default_factory=dict)
    excluded_queries: frozenset[str] = frozenset()
    transient_storage: bool = False
    contain_host_query_failures: bool = True


class Side(IntEnum):
    """Whose contract a merge took."""

    OURS = 0
    THEIRS = 1


@dataclass(frozen=True, slots=True)
class Merge:
    """A merge of two commits; `choices` has the contracts that both sides changed since `base`."""

    base: CommitId | None
    ours: CommitId
    theirs: CommitId
    choices: Mapping[ContractId, Side] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Restore:
    """Contracts as they are in another commit; none means the whole state."""

    source: CommitId
    contracts: frozenset[ContractId] = frozenset()


@dataclass(frozen=True, slots=True)
class Import:
    """Contracts that came from outside; none means a whole state.

    `format` names what they were read from; `source` is its identity there: a state root, or the hash of a file.
    """

    format: str
    source: Hash
    contracts: frozenset[ContractId] = frozenset()


Derivation = Transcript | Merge | Restore | Import


def store(writer: ObjectWriter, derivation: Derivation) -> Address:
    """Stage a transcript or derivation and the blobs that it is cut into; its address.

    Raises:
        InvalidFormat: something in it is out of bounds, or a text isn't encodable.
    """
    try:
        body = encoding.encode((TRANSCRIPT_VERSION, *_encode(writer, derivation)))
    except UnicodeEncodeError as error:
        raise InvalidFormat(_WHAT, f"a text is not encodable: {error}") from error
    address = Address(TRANSCRIPT_HASH(body))
    writer.put(Kind.TRANSCRIPT, address, body)
    return address


def load(reader: ObjectReader, address: bytes) -> Derivation:
    """What a commit's `transcript` names.

    Raises:
        InvalidFormat: the object is none, or one of a later version.
        ObjectNotFound: it, or a part of it, is missing.
    """
    fields = Fields(_WHAT, encoding.decode(_WHAT, reader.load(Kind.TRANSCRIPT, address)))
    fields.version(TRANSCRIPT_VERSION)
    form = fields.uint(len(_DECODERS) - 1)
    derivation = _DECODERS[form](reader, fields)
    fields.end()
    return derivation


def references(reader: ObjectReader, address: bytes) -> Iterator[tuple[Kind, bytes]]:
    """The blobs and bytecodes that a transcript needs, itself not among them."""
    watched = _Watched(reader)
    derivation = load(watched, address)
    yield from ((Kind.BLOB, blob) for blob in watched.blobs)
    if isinstance(derivation, Transcript):
        yield from ((Kind.BYTECODE, bytecode) for bytecode in dict.fromkeys(_bytecodes(derivation.steps)))


class _Watched:
    """A reader that remembers which blobs were read."""

    def __init__(self, reader: ObjectReader) -> None:
        self.reader = reader
        self.blobs: dict[bytes, None] = {}

    def load(self, kind: Kind, address: bytes, /) -> Any:
        if kind is Kind.BLOB:
            self.blobs[address] = None
        return self.reader.load(kind, address)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        return self.reader.contains(kind, address)


def _bytecodes(steps: tuple[Step, ...]) -> Iterator[bytes]:
    for step in steps:
        if isinstance(step, Deploy):
            yield step.bytecode
        elif isinstance(step, Migrate):
            yield step.deploy.bytecode
            yield from _bytecodes(step.steps)


def _encode(writer: ObjectWriter, derivation: Derivation) -> tuple[object, ...]:
    match derivation:
        case Transcript(steps, metadata, excluded, transient_storage, contain):
            pairs = sorted((name.encode(), value) for name, value in metadata.items())
            names = sorted(name.encode() for name in excluded)
            return (
                0,
                put_list(writer, [(put_bytes(writer, name), put_bytes(writer, value)) for name, value in pairs]),
                put_list(writer, [(put_bytes(writer, name),) for name in names]),
                transient_storage,
                contain,
                put_list(writer, [encode_step(writer, step) for step in steps]),
            )
        case Merge(base, ours, theirs, choices):
            chosen = [(bytes(contract), int(choices[contract])) for contract in sorted(choices)]
            return 1, None if base is None else bytes(base), bytes(ours), bytes(theirs), put_list(writer, chosen)
        case Restore(source, contracts):
            return 2, bytes(source), _put_ids(writer, contracts)
        case Import(format_, source, contracts):
            return 3, format_, bytes(source), _put_ids(writer, contracts)


def _decode_transcript(reader: ObjectReader, fields: Fields) -> Transcript:
    pairs = [_pair(reader, item) for item in get_list(reader, _WHAT, fields.take())]
    names = [_single(reader, item) for item in get_list(reader, _WHAT, fields.take())]
    _rising([name for name, _ in pairs])
    _rising(names)
    transient_storage, contain = fields.flag(), fields.flag()
    steps = tuple(decode_step(reader, item) for item in get_list(reader, _WHAT, fields.take()))
    metadata = {_text(name): value for name, value in pairs}
    return Transcript(steps, metadata, frozenset(map(_text, names)), transient_storage, contain)


def _decode_merge(reader: ObjectReader, fields: Fields) -> Merge:
    base, ours, theirs = fields.hash_or_none(), CommitId(fields.hash()), CommitId(fields.hash())
    choices: dict[ContractId, Side] = {}
    for item in get_list(reader, _WHAT, fields.take()):
        choice = Fields(_WHAT, item)
        contract, side = ContractId(choice.hash()), Side(choice.uint(max(Side)))
        choices[contract] = side
        choice.end()
    _rising(list(choices))
    return Merge(None if base is None else CommitId(base), ours, theirs, choices)


def _decode_restore(reader: ObjectReader, fields: Fields) -> Restore:
    return Restore(CommitId(fields.hash()), _get_ids(reader, fields))


def _decode_import(reader: ObjectReader, fields: Fields) -> Import:
    return Import(fields.text(FORMAT_BYTES_MAX), Hash(fields.hash()), _get_ids(reader, fields))


_DECODERS = (_decode_transcript, _decode_merge, _decode_restore, _decode_import)


def _put_ids(writer: ObjectWriter, contracts: frozenset[ContractId]) -> object:
    return put_bytes(writer, b"".join(sorted(contracts)))


def _get_ids(reader: ObjectReader, fields: Fields) -> frozenset[ContractId]:
    joined = get_bytes(reader, _WHAT, fields.take())
    if len(joined) % ID_BYTES:
        raise InvalidFormat(_WHAT, "no whole number of contract ids")
    ids = [ContractId(joined[at : at + ID_BYTES]) for at in range(0, len(joined), ID_BYTES)]
    _rising(ids)
    return frozenset(ids)


def _pair(reader: ObjectReader, item: tuple[object, ...]) -> tuple[bytes, bytes]:
    fields = Fields(_WHAT, item)
    name, value = get_bytes(reader, _WHAT, fields.take()), get_bytes(reader, _WHAT, fields.take())
    fields.end()
    return name, value


def _single(reader: ObjectReader, item: tuple[object, ...]) -> bytes:
    fields = Fields(_WHAT, item)
    name = get_bytes(reader, _WHAT, fields.take())
    fields.end()
    return name


def _rising(values: Sequence[bytes]) -> None:
    if any(a >= b for a, b in pairwise(values)):
        raise InvalidFormat(_WHAT, "names or ids out of order, or one twice")


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidFormat(_WHAT, "a text is not UTF-8") from error
