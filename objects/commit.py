"""Commits: a state, where it comes from, and what led to it.

The id of a commit is the keyed hash of its *link*, which says where it stands in history, and of the hash of its
*content*, which says what it is::

    note    = {"author": text, "message": text, "time": seconds}, each only if given
    content = [state root, map root, positions, transcript | null, note]
    link    = [version, generation, depth, [parent, ...], jump | null, CONTENT_HASH(content)]
    id      = COMMIT_HASH(link)
    body    = [version, generation, depth, [parent, ...], jump | null, content]

all in canonical CBOR. So a proof of ancestry consists of links, whatever the contents are.

- `generation` is 0 without parents, else one more than the highest of the parents'.
- `depth` is the number of first parents up to a commit without any; `jump` names one of them, so chosen (as in a
  skew-binary list) that every ancestor on the line of first parents is reached in O(log depth) steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from piecrust.objects import encoding
from piecrust.objects.access import ObjectReader
from piecrust.objects.encoding import Fields
from piecrust.objects.errors import CorruptObject, InvalidFormat
from piecrust.objects.ids import Address, CommitId, NodeHash, StateRoot
from piecrust.objects.kinds import COMMIT_HASH, CONTENT_HASH, Kind
from piecrust.objects.record import POSITION_MAX
from piecrust.objects.state import State

COMMIT_VERSION: Final = 1
PARENTS_MAX: Final = 16
MESSAGE_BYTES_MAX: Final = 65536
AUTHOR_BYTES_MAX: Final = 4096
GENERATION_MAX: Final = (1 << 48) - 1

NoteValue = str | int


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit object. `time`, if given, is in whole seconds since 1970, UTC; it is the author's claim.

    `positions` is the highest position that a contract was given, in this state or one that it came from.
    """

    state_root: StateRoot
    map_root: NodeHash
    positions: int
    parents: tuple[CommitId, ...]
    generation: int
    depth: int
    jump: CommitId | None
    transcript: Address | None
    message: str | None = None
    author: str | None = None
    time: int | None = None

    @property
    def state(self) -> State:
        """The state that it holds."""
        return State(self.state_root, self.map_root, self.positions)

    def note(self) -> dict[str, NoteValue]:
        """What was given of author, message and time."""
        given = {"author": self.author, "message": self.message, "time": self.time}
        return {key: value for key, value in given.items() if value is not None}

    def content(self) -> tuple[object, ...]:
        """What the commit is, apart from where it stands."""
        transcript = None if self.transcript is None else bytes(self.transcript)
        return bytes(self.state_root), bytes(self.map_root), self.positions, transcript, self.note()

    def place(self) -> tuple[object, ...]:
        """Where it stands in history: the link without the content's hash."""
        jump = None if self.jump is None else bytes(self.jump)
        return COMMIT_VERSION, self.generation, self.depth, tuple(bytes(p) for p in self.parents), jump

    def link(self) -> bytes:
        """What the id is the hash of."""
        return self._after_place(encoding.encode(CONTENT_HASH(encoding.encode(self.content()))))

    def encode(self) -> bytes:
        """The body."""
        return self._after_place(encoding.encode(self.content()))

    def _after_place(self, item: bytes) -> bytes:
        """The array of the place's fields and one more, encoded already."""
        place = encoding.encode(self.place())
        return bytes([place[0] + 1]) + place[1:] + item

    @classmethod
    def decode(cls, address: bytes, body: bytes) -> Commit:
        """The commit with this id.

        Raises:
            CorruptObject: the body is malformed, or another one's.
        """
        try:
            commit = cls.parse(body)
        except InvalidFormat as error:
            raise CorruptObject(Kind.COMMIT, address, error.reason) from error
        if commit_id(commit) != address:
            raise CorruptObject(Kind.COMMIT, address, "its hash differs")
        return commit

    @classmethod
    def parse(cls, body: bytes) -> Commit:
        """The commit that a body is of; `InvalidFormat` if it is none."""
        fields = Fields("commit", encoding.decode("commit", body))
        fields.version(COMMIT_VERSION)
        generation, depth = fields.uint(GENERATION_MAX), fields.uint(GENERATION_MAX)
        parents, jump = fields.hashes(PARENTS_MAX), fields.hash_or_none()
        content = Fields("commit", fields.array(5))
        fields.end()
        state_root, map_root, positions = content.hash(), content.hash(), content.uint(POSITION_MAX)
        transcript, note = content.hash_or_none(), content.take()
        content.end()
        if bool(parents) != bool(generation) or bool(parents) != bool(depth) or depth > generation:
            raise InvalidFormat("commit", f"generation {generation}, depth {depth} with {len(parents)} parents")
        if bool(parents) != (jump is not None) or len(set(parents)) != len(parents):
            raise InvalidFormat("commit", "jump or parents")
        author, message, time = _note(note)
        return cls(
            StateRoot(state_root),
            NodeHash(map_root),
            positions,
            tuple(map(CommitId, parents)),
            generation,
            depth,
            None if jump is None else CommitId(jump),
            None if transcript is None else Address(transcript),
            message,
            author,
            time,
        )


def commit_id(commit: Commit) -> CommitId:
    """The id: two keyed hashes."""
    return CommitId(COMMIT_HASH(commit.link()))


def new_commit(
    reader: ObjectReader,
    state: State,
    parents: Sequence[CommitId],
    transcript: bytes | None,
    *,
    message: str | None = None,
    author: str | None = None,
    time: int | None = None,
) -> Commit:
    """A commit on these parents, with its place in history worked out.

    Raises:
        InvalidFormat: too many parents or one twice, or a message, author or time out of bounds.
    """
    if len(parents) > PARENTS_MAX or len(set(parents)) != len(parents):
        raise InvalidFormat("commit", f"{len(parents)} parents, or one of them twice")
    known: list[Commit] = [reader.load(Kind.COMMIT, parent) for parent in parents]
    commit = Commit(
        state.state_root,
        state.map_root,
        state.positions,
        tuple(parents),
        1 + max(p.generation for p in known) if known else 0,
        1 + known[0].depth if known else 0,
        next_jump(partial(reader.load, Kind.COMMIT), parents[0]) if known else None,
        None if transcript is None else Address(transcript),
        message,
        author,
        time,
    )
    _note(commit.note())
    return commit


class Placed(Protocol):
    """What is known of a commit's place in history: a `Commit`, or less."""

    @property
    def parents(self) -> Sequence[CommitId]:
        """Its parents, the first one first."""

    @property
    def generation(self) -> int:
        """One more than the highest of the parents'; 0 without parents."""

    @property
    def depth(self) -> int:
        """The number of first parents."""

    @property
    def jump(self) -> CommitId | None:
        """A first parent's first parent's ... first parent."""


def next_jump(place_of: Callable[[CommitId], Placed], parent: CommitId) -> CommitId:
    """The jump of a commit whose first parent is this one.

    Two jumps of equal length in a row are joined to one; else the jump is to the parent.
    """
    near = place_of(parent)
    if near.jump is None:
        return parent
    far = place_of(near.jump)
    if far.jump is None:
        return parent
    return far.jump if near.depth - far.depth == far.depth - place_of(far.jump).depth else parent


def misplaced(place_of: Callable[[CommitId], Placed], commit: Placed) -> str | None:
    """What is wrong about a commit's place in history, judged by its parents' places; None if nothing is.

    A proof of ancestry believes jumps, so whoever takes in commits of others has to judge them.
    """
    if not commit.parents:
        return None if (commit.generation, commit.depth, commit.jump) == (0, 0, None) else "it has no parents"
    parents = [place_of(parent) for parent in commit.parents]
    if commit.generation != 1 + max(parent.generation for parent in parents):
        return f"generation {commit.generation}"
    if commit.depth != 1 + parents[0].depth:
        return f"depth {commit.depth}"
    return None if commit.jump == next_jump(place_of, commit.parents[0]) else "it jumps to another commit"


def ancestor(place_of: Callable[[CommitId], Placed], commit: CommitId, generations: int) -> CommitId | None:
    """The n-th first parent, None if history doesn't go back so far. Asks for the places of O(log depth) commits."""
    depth = place_of(commit).depth - generations
    if depth < 0:
        return None
    for step in way_back(place_of, commit, depth):
        commit = step
    return commit


def way_back(place_of: Callable[[CommitId], Placed], commit: CommitId, depth: int) -> Iterator[CommitId]:
    """The commits on the shortest way back to the first parent at a depth, it included, the start not."""
    here = place_of(commit)
    while here.depth > depth:
        assert here.jump is not None
        commit, place = here.jump, place_of(here.jump)
        if place.depth < depth:
            commit, place = here.parents[0], place_of(here.parents[0])
        yield commit
        here = place


def _note(note: object) -> tuple[str | None, str | None, int | None]:
    """Author, message and time, checked."""
    if not isinstance(note, Mapping) or not note.keys() <= {"author", "message", "time"}:
        raise InvalidFormat("commit", "the note is no map of author, message and time")
    author, message, time = note.get("author"), note.get("message"), note.get("time")
    for text, length_max in ((author, AUTHOR_BYTES_MAX), (message, MESSAGE_BYTES_MAX)):
        if text is not None and (not isinstance(text, str) or not _fits(text, length_max)):
            raise InvalidFormat("commit", f"a text of the note is not UTF-8 of up to {length_max} bytes")
    if time is not None and (type(time) is not int or not 0 <= time <= encoding.U64_MAX):
        raise InvalidFormat("commit", "the time is no integer of 64 bits")
    return author, message, time


def _fits(text: str, length_max: int) -> bool:
    try:
        return len(text.encode()) <= length_max
    except UnicodeEncodeError:
        return False
