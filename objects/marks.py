"""Marks on objects, while garbage is collected: one byte for each object that a table knows.

Two marks are kept apart. What is *live* was reached from a commit, and all that it refers to was, too. What is only
*needed* is the base of a delta: it stays, but what it refers to need not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from piecrust.objects.catalog import Catalog
from piecrust.objects.kinds import Kind

_LIVE: Final = 1
_NEEDED: Final = 2

Item = tuple[Kind, bytes]


class Marks:
    """The objects of a catalog as it was when this was made, and their marks. As a set it is the live ones."""

    def __init__(self, catalog: Catalog) -> None:
        self._tables = [(opened.table, bytearray(opened.table.objects)) for opened in catalog.tables]
        self._others: dict[Item, int] = {}  # objects that no table knew
        self.recent: list[Item] = []  # those that got their first mark since this was last emptied

    def __contains__(self, item: object, /) -> bool:
        """Whether an object is live."""
        return isinstance(item, tuple) and bool(self._get(item) & _LIVE)

    def add(self, item: Item, /) -> None:
        """An object is live."""
        self._set(item, _LIVE)

    def need(self, item: Item) -> None:
        """An object is the base of a delta that stays."""
        self._set(item, _NEEDED)

    def keeps(self, item: Item) -> bool:
        """Whether an object stays, for whatever reason."""
        return bool(self._get(item))

    def _get(self, item: Item) -> int:
        kind, address = item
        for table, marks in self._tables:
            for number in table.rows_of(address):
                if table.row(number)[1].kind == kind:
                    return marks[number]
        return self._others.get(item, 0)

    def _set(self, item: Item, mark: int) -> None:
        kind, address = item
        before = self._others.get(item, 0)
        found = False
        for table, marks in self._tables:
            for number in table.rows_of(address):
                if table.row(number)[1].kind == kind:
                    before = marks[number]
                    marks[number] |= mark
                    found = True
        if not found:
            self._others[item] = before | mark
        if not before:
            self.recent.append(item)

    def census(self) -> Iterator[tuple[bytes, bool, int]]:
        """Of each object that a table knows, the salt of its source, whether it stays, and the payload's length."""
        for table, marks in self._tables:
            salts = [covered.salt for covered in table.coverage]
            for number, mark in enumerate(marks):
                match = table.row(number)[1]
                yield salts[match.source], bool(mark), match.length
