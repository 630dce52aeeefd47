"""How the logical half reads and writes objects, whatever keeps them.

- `ObjectReader.load` gives decoded, verified values: `bytes` for pages, bytecode, blobs and transcripts, `Node`,
  `ContractRecord` and `Commit` for the others.
- `ObjectWriter.put` stages a value under its address. Nothing is encoded before it is published, so computing a root
  on a throw-away `Overlay` costs hashes only.
- Every reader has the all-zero page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Protocol

from piecrust.objects.errors import ObjectNotFound
from piecrust.objects.kinds import Kind
from piecrust.objects.page import ZERO_PAGE, ZERO_PAGE_HASH

_KINDS: Final = tuple(Kind)  # going through an enumeration takes 2 us
_PLACES: Final = range(max(Kind) + 1)


class ObjectReader(Protocol):
    """Something that has objects."""

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded value, verified against its address.

        Raises:
            ObjectNotFound: it isn't there.
            CorruptObject: what is there isn't it.
        """

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether `load` would find it (it may still turn out corrupt)."""


class Promise(Protocol):
    """Something that has, elsewhere, the objects that a store lacks."""

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded value, verified; the store gets it, too."""

    def close(self) -> None:
        """Have everything that came in the store."""


class ObjectWriter(ObjectReader, Protocol):
    """Something that objects can be added to."""

    def put(
        self, kind: Kind, address: bytes, value: Any, /, *, base: bytes | None = None, hint: int | None = None
    ) -> None:
        """Stage a value under its address, which the caller has computed; nothing happens if it is there already.

        `base` is the address of the version before it, a candidate for a delta. `hint` is a bit mask of the parts that
        may differ from `base`: 4 KiB ranges of a page, children of a node; None if that is not known.
        """


class Staged(NamedTuple):
    """A value waiting to be published, with what `put` was told about it."""

    value: Any
    base: bytes | None
    hint: int | None
    bare: bool = False  # a commit that is there for its descendants' sake, without its state


class Overlay:
    """Objects in memory on top of a reader; `staged` is what the reader lacks.

    Not for several threads at once.
    """

    def __init__(self, reader: ObjectReader | None) -> None:
        self.reader = reader
        self._staged: tuple[dict[bytes, Staged], ...] = tuple([{} for _ in _PLACES])

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The value staged here, else the reader's."""
        staged = self._staged[kind].get(address)
        if staged is not None:
            return staged.value
        if self.reader is not None:
            return self.reader.load(kind, address)
        if address == ZERO_PAGE_HASH and kind is Kind.PAGE:
            return ZERO_PAGE
        raise ObjectNotFound(kind, address)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether it is staged here or the reader has it."""
        if address in self._staged[kind]:
            return True
        if self.reader is not None:
            return self.reader.contains(kind, address)
        return address == ZERO_PAGE_HASH and kind is Kind.PAGE

    def put(
        self, kind: Kind, address: bytes, value: Any, /, *, base: bytes | None = None, hint: int | None = None
    ) -> None:
        """Stage it, unless it is here or the reader has it."""
        if not self.contains(kind, address):
            self._staged[kind][address] = Staged(value, base, hint)

    def staged(self) -> Iterator[tuple[Kind, bytes, Staged]]:
        """What was put here and the reader lacks: by kind, then in the order of the puts."""
        for kind in _KINDS:
            for address, staged in self._staged[kind].items():
                yield kind, address, staged


class MemoryObjects(Overlay):
    """Objects in memory alone, for tests, throw-away states and what proofs are made of."""

    def __init__(self) -> None:
        super().__init__(None)
