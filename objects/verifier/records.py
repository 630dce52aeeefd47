"""Contract records and commits, as proofs carry them, and their hashes."""

from __future__ import annotations

import struct
from typing import Final

from blake3 import blake3
from piecrust.objects.verifier.claims import CommitClaim, ContractClaim
from piecrust.objects.verifier.encoding import U64_MAX, an_array, an_integer, encode, fail, is_number, some_bytes
from piecrust.objects.verifier.tree import PAGES, ZERO

RECORD_VERSION: Final = 1
COMMIT_VERSION: Final = 1

_WORDS = struct.Struct("<8I")


def position_key(contract: bytes) -> int:
    """The place of a contract in the contract map: the wrapping sum of the eight little-endian u32 of its id."""
    words: tuple[int, ...] = _WORDS.unpack(contract)
    return sum(words) & 0xFFFFFFFF


def a_record(value: object) -> tuple[ContractClaim, bytes]:
    """A contract record, and its address."""
    version, contract, bytecode, owner, bits, length, pages_root, position = an_array(value, 8)
    if not is_number(version, RECORD_VERSION) or not is_number(bits, *PAGES) or position == 0:
        fail("a record of no known version or memory")
    claim = ContractClaim(
        position=an_integer(position, (1 << 32) - 1),
        pages_root=some_bytes(pages_root, 32),
        memory_bits=an_integer(bits, 64),
        id=some_bytes(contract, 32),
        bytecode=some_bytes(bytecode, 32),
        owner=some_bytes(owner, length_max=65536),
        memory_length=an_integer(length, 1 << 42),
    )
    return claim, keyed("piecrust 2026 record", value)


def an_optional_record(value: object, key: int) -> tuple[ContractClaim | None, bytes | None]:
    """The record at a place of the contract map, if there is one, and the leaf there."""
    if value is None:
        return None, None
    record, address = a_record(value)
    if position_key(record.id or ZERO) != key:
        fail("a record in another's place")
    return record, address


def a_commit(value: object) -> CommitClaim:
    """A commit, its id made of its link and its content."""
    *place, content = an_array(value, 6)
    link = (*place, keyed("piecrust 2026 commit content", content))
    generation, depth, parents, jump = a_link(link)
    state_root, map_root, positions, transcript, note = an_array(content, 5)
    if not isinstance(note, dict) or not note.keys() <= {"author", "message", "time"}:
        fail("a commit's note is something else")
    author, message, time = note.get("author"), note.get("message"), note.get("time")
    if not all(text is None or isinstance(text, str) for text in (author, message)) or None in note.values():
        fail("a commit's note is something else")
    return CommitClaim(
        id=keyed("piecrust 2026 commit", link),
        state_root=some_bytes(state_root, 32),
        map_root=some_bytes(map_root, 32),
        positions=an_integer(positions, (1 << 32) - 1),
        parents=parents,
        generation=generation,
        depth=depth,
        jump=jump,
        transcript=None if transcript is None else some_bytes(transcript, 32),
        author=author,
        message=message,
        time=None if time is None else an_integer(time, U64_MAX),
    )


def a_link(value: object) -> tuple[int, int, tuple[bytes, ...], bytes | None]:
    """Generation, depth, parents and jump of a commit."""
    version, generation, depth, parents, jump, content = an_array(value, 6)
    some_bytes(content, 32)
    if not is_number(version, COMMIT_VERSION):
        fail("a commit of no known version")
    return (
        an_integer(generation, U64_MAX),
        an_integer(depth, U64_MAX),
        tuple([some_bytes(parent, 32) for parent in an_array(parents)]),
        None if jump is None else some_bytes(jump, 32),
    )


def keyed(context: str, value: object) -> bytes:
    """The hash of a value's encoding, keyed by what it is for."""
    return blake3(encode(value), derive_key_context=context).digest()
