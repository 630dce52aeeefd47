"""Whether commits are whole: their place in history, their state with every tree below it, their transcript.

What several commits share is looked at once, and what is lost below it is remembered, so that every commit that needs
a lost object is named and a history costs what differs between its commits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from piecrust.objects import contract_map, transcript, tree
from piecrust.objects.access import ObjectReader, Overlay
from piecrust.objects.commit import Commit, misplaced
from piecrust.objects.errors import ContractPositionCollision, CorruptObject, InvalidFormat, ObjectNotFound
from piecrust.objects.findings import AffectedCommit, Item, LostObject
from piecrust.objects.ids import ZERO, Address, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.rebuild import state_with
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import EMPTY_STATE, State
from piecrust.objects.tree import CONTRACTS, Shape

_UNREADABLE: Final = (CorruptObject, ObjectNotFound)
_WHOLE: Final[frozenset[Item]] = frozenset()
_LOST_MAX: Final = 64  # objects that are named for one commit


class CheckedReader(ObjectReader, Protocol):
    """A reader that knows which of its objects are sound."""

    def is_sound(self, kind: Kind, address: bytes, /) -> bool:
        """Whether `load` would give the object."""


@dataclass(slots=True)
class _Below:
    """What is lost below a place in a tree."""

    whole: set[bytes]
    lost: dict[bytes, frozenset[Item]]

    def get(self, key: bytes) -> frozenset[Item] | None:
        return _WHOLE if key in self.whole else self.lost.get(key)

    def put(self, key: bytes, lost: frozenset[Item]) -> frozenset[Item]:
        if lost:
            self.lost[key] = lost
        else:
            self.whole.add(key)
        return lost


class CommitCheck:
    """Checks commits against one reader."""

    def __init__(self, reader: CheckedReader, *, partial: bool = False) -> None:
        """With `partial`, a remote has what the reader lacks: only what is there and damaged counts as lost."""
        self._reader, self._partial = reader, partial
        self._below = _Below(set(), {})
        self._sound_states: set[CommitId] = set()

    def lineage(self, roots: Iterable[CommitId]) -> tuple[list[tuple[CommitId, Commit]], list[AffectedCommit]]:
        """The commits and their ancestors that can be read, by generation; and those that can't."""
        found: dict[CommitId, Commit] = {}
        unreadable: dict[CommitId, AffectedCommit] = {}
        todo = list(roots)
        while todo:
            commit = todo.pop()
            if commit in found or commit in unreadable:
                continue
            try:
                value: Commit = self._reader.load(Kind.COMMIT, commit)
            except _UNREADABLE as error:
                if self._lacks(error):
                    continue
                lost = LostObject(Kind.COMMIT, Address(commit))
                unreadable[commit] = AffectedCommit(commit, (), str(error), (lost,))
                continue
            found[commit] = value
            todo.extend(value.parents)
        return sorted(found.items(), key=_generation), list(unreadable.values())

    def link(self, commit: CommitId, value: Commit) -> AffectedCommit | None:
        """What is wrong about a commit's place in history."""
        try:
            reason = misplaced(partial(self._reader.load, Kind.COMMIT), value)
        except _UNREADABLE as error:
            if self._lacks(error):
                return None
            lost = [p for p in value.parents if not self._reader.is_sound(Kind.COMMIT, p)]
            named = tuple(LostObject(Kind.COMMIT, Address(parent)) for parent in lost)
            return AffectedCommit(commit, (), "a commit that it came from is lost", named)
        return None if reason is None else AffectedCommit(commit, (), f"its place in history is wrong: {reason}")

    def content(self, commit: CommitId, value: Commit) -> AffectedCommit | None:
        """What is wrong about a commit's state and transcript; parents first, or it costs more."""
        lost = self._of_map(value.map_root) | self._of_state(value.state_root) | self._of_transcript(value)
        if lost:
            named = tuple(LostObject(kind, Address(address)) for kind, address in sorted(lost)[:_LOST_MAX])
            return AffectedCommit(commit, (), f"{len(lost)} of its objects are lost", named)
        try:
            base = next((p for p in value.parents if p in self._sound_states), None)
            reason = disagreement(self._reader, value, None if base is None else self._reader.load(Kind.COMMIT, base))
        except (InvalidFormat, ContractPositionCollision, *_UNREADABLE) as error:
            reason = None if self._lacks(error) else str(error)
        if reason is not None:
            return AffectedCommit(commit, (), reason)
        self._sound_states.add(commit)
        return None

    def _of_map(self, root: bytes) -> frozenset[Item]:
        return self._of_tree(b"m", CONTRACTS, root, self._of_record)

    def _of_state(self, root: bytes) -> frozenset[Item]:
        return self._of_tree(b"s", CONTRACTS, root, _nothing)  # its leaves are page trees; records have them, too

    def _of_record(self, address: bytes) -> frozenset[Item]:
        known = self._below.get(b"r" + address)
        if known is not None:
            return known
        try:
            record: ContractRecord = self._reader.load(Kind.RECORD, address)
        except _UNREADABLE as error:
            lost = _WHOLE if self._lacks(error) else frozenset([(Kind.RECORD, address)])
            return self._below.put(b"r" + address, lost)
        lost = self._of_tree(b"p", record.memory_kind.shape, record.pages_root, partial(self._of_one, Kind.PAGE))
        return self._below.put(b"r" + address, lost | self._of_one(Kind.BYTECODE, record.bytecode))

    def _of_one(self, kind: Kind, address: bytes) -> frozenset[Item]:
        absent = self._partial and not self._reader.contains(kind, address)
        return _WHOLE if absent or self._reader.is_sound(kind, address) else frozenset([(kind, bytes(address))])

    def _of_tree(
        self, role: bytes, shape: Shape, root: bytes, of_leaf: Callable[[bytes], frozenset[Item]]
    ) -> frozenset[Item]:
        return _WHOLE if root == ZERO else self._of_node(role, shape, shape.height, root, of_leaf)

    def _of_node(
        self, role: bytes, shape: Shape, height: int, address: bytes, of_leaf: Callable[[bytes], frozenset[Item]]
    ) -> frozenset[Item]:
        key = role + bytes((height,)) + address
        known = self._below.get(key)
        if known is not None:
            return known
        try:
            node = tree.load_node(self._reader, shape, height, address)
        except _UNREADABLE as error:
            return self._below.put(key, _WHOLE if self._lacks(error) else frozenset([(Kind.NODE, bytes(address))]))
        bottom = height - node.levels
        lost: set[Item] = set()
        for child in node.children.values():
            lost |= of_leaf(child) if bottom == 0 else self._of_node(role, shape, bottom, child, of_leaf)
        return self._below.put(key, frozenset(lost) if lost else _WHOLE)

    def _of_transcript(self, commit: Commit) -> frozenset[Item]:
        address = commit.transcript
        if address is None:
            return _WHOLE
        lost = self._of_one(Kind.TRANSCRIPT, address)
        if lost or not self._reader.contains(Kind.TRANSCRIPT, address):
            return lost
        try:
            references = transcript.references(self._reader, address)
            return _WHOLE.union(*(self._of_one(kind, of) for kind, of in references))
        except _UNREADABLE as error:
            if self._lacks(error):
                return _WHOLE
            kind = error.object_kind if isinstance(error.object_kind, Kind) else Kind.TRANSCRIPT
            return frozenset([(kind, bytes(error.address))])
        except InvalidFormat:
            return frozenset([(Kind.TRANSCRIPT, bytes(address))])

    def _lacks(self, error: Exception) -> bool:
        return self._partial and isinstance(error, ObjectNotFound)


def disagreement(reader: ObjectReader, commit: Commit, base: Commit | None) -> str | None:
    """How the roots of a commit's state disagree, by what changed since a commit whose roots agree."""
    old: State = EMPTY_STATE if base is None else base.state
    differences = contract_map.diff(reader, old.map_root, commit.map_root)
    changes: dict[ContractId, ContractRecord | None] = {contract: new for contract, _, new in differences}
    state = state_with(Overlay(reader), old, changes)
    if state.map_root != commit.map_root:
        return "its contract map can't be made of its records"
    if state.state_root != commit.state_root:
        return f"its records have the state root {state.state_root.hex()}"
    highest = max((record.position for record in changes.values() if record is not None), default=0)
    return f"a contract has position {highest}" if highest > commit.positions else None


def _nothing(_leaf: bytes) -> frozenset[Item]:
    return _WHOLE


def _generation(item: tuple[CommitId, Commit]) -> Any:
    return item[1].generation, item[0]
