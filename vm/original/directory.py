"""A directory of the original as a whole: its commits, what each was made on, and where each one's files are.

A commit has files for the contracts that it changed; everything else is its base's, and so on along the *line* of its
bases. What was finalized has moved to one place, the *ground*, where every line ends whose last base is not there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from itertools import takewhile
from pathlib import Path
from typing import Final

from piecrust.objects.errors import InvalidFormat, StoreIOError
from piecrust.objects.ids import ContractId, StateRoot
from piecrust.vm.original.files import (
    Element,
    read_base,
    read_bytecode,
    read_element,
    read_owner,
    read_page,
    read_positions,
)

MAIN: Final = "main"
MEMORY: Final = "memory"
BYTECODE: Final = "bytecode"
LEAF: Final = "leaf"
BASE: Final = "base"
ELEMENT: Final = "element"
METADATA_SUFFIX: Final = ".m"
POSITIONS: Final = "tree_pos"
PACKED_POSITIONS: Final = "tree_pos_opt"

_ID: Final = re.compile("[0-9a-f]{64}")
_ELEMENTS_KEPT: Final = 64
_MEMORIES_KEPT: Final = 16

Owners = Mapping[ContractId, StateRoot | None]
"""Which commit of a line wrote each contract's element last; None stands for the ground."""


class OriginalDirectory:
    """A directory that the original wrote, as it is when this is made; files are read when they are asked for.

    Nothing in it is believed: what is given was checked for its form, and states are for the caller to check against
    their roots.
    """

    def __init__(self, path: Path) -> None:
        """`path` is what the original was given, the directory that holds `main`.

        Raises:
            InvalidFormat: It is no such directory, or holds what the original would not write.
            StoreIOError: The operating system refused.
        """
        self.path = path
        self._main = path / MAIN
        if not self._main.is_dir():
            raise InvalidFormat(str(path), f"there is no directory {MAIN}/ in it, so the original did not write it")
        places = {MEMORY, BYTECODE, LEAF}
        self.commits = frozenset(StateRoot(_id(folder)) for folder in _folders(self._main) if folder.name not in places)
        self._changed: dict[StateRoot | None, list[ContractId]] = {}
        for folder in _folders(self._main / LEAF):
            contract = ContractId(_id(folder))
            for writer in _writers(folder):
                self._changed.setdefault(writer, []).append(contract)
        self._bases: dict[StateRoot, StateRoot | None] = {}
        self._depths: dict[StateRoot, int] = {}
        self._element = lru_cache(_ELEMENTS_KEPT)(self._read_element)
        self._positions = lru_cache(1)(self._read_positions)
        self._memory = lru_cache(_MEMORIES_KEPT)(self._memory_folders)

    def base(self, commit: StateRoot) -> StateRoot | None:
        """What a commit of the directory was made on; it need not be there.

        Raises:
            InvalidFormat: The commit's file is missing, as where the original was interrupted, or damaged.
        """
        if commit not in self._bases:
            self._bases[commit] = read_base(self._main / commit.hex() / BASE).base
        return self._bases[commit]

    def line(self, commit: StateRoot) -> Iterator[StateRoot]:
        """A commit and what it was made on, newest first, as far as that is there.

        Raises:
            InvalidFormat: as `base`; or a commit comes from itself.
        """
        here: StateRoot | None = commit
        seen: set[StateRoot] = set()
        while here is not None and here in self.commits:
            if here in seen:
                raise InvalidFormat(str(self._main / here.hex() / BASE), "the commit comes from itself")
            seen.add(here)
            yield here
            here = self.base(here)

    def depth(self, commit: StateRoot) -> int:
        """How long the line of a commit is.

        Raises:
            InvalidFormat: as `line`.
        """
        if commit not in self._depths:
            line = list(takewhile(lambda here: here not in self._depths, self.line(commit)))
            base = self.base(line[-1])
            before = 0 if base is None else self._depths.get(base, 0)
            self._depths |= {here: before + distance for distance, here in enumerate(reversed(line), 1)}
        return self._depths[commit]

    def in_order(self, commits: Collection[StateRoot]) -> list[StateRoot]:
        """Commits of the directory so that each comes after what it was made on; always the same for the same ones.

        Raises:
            InvalidFormat: as `line`.
        """
        return sorted(set(commits), key=lambda commit: (self.depth(commit), commit))

    def owners(self, commit: StateRoot | None) -> Owners:
        """The contracts of a commit, or of what was finalized (None).

        Raises:
            InvalidFormat: as `line`.
        """
        line = [] if commit is None else list(self.line(commit))
        owners: dict[ContractId, StateRoot | None] = {}
        if not line or self.base(line[-1]) is not None:
            owners = dict.fromkeys(self._changed.get(None, ()))
        for here in reversed(line):
            owners.update(self.changed(here))
        return owners

    def changed(self, commit: StateRoot) -> Owners:
        """The contracts whose elements a commit wrote itself."""
        return dict.fromkeys(self._changed.get(commit, ()), commit)

    def element(self, contract: ContractId, owner: StateRoot | None, commit: StateRoot | None) -> Element:
        """A contract as its owner left it; `commit` is whose state is looked at, None for what was finalized.

        Raises:
            InvalidFormat: The file is damaged, or lies.
        """
        positions = None if commit is None else self._positions(commit)
        position = None if positions is None else positions.get(contract.position_key)
        return self._element(contract, owner, position)

    def page(self, contract: ContractId, index: int, commit: StateRoot | None) -> tuple[Path, bytes]:
        """A page of a contract as a commit, or what was finalized (None), has it, and the file that it is in.

        Raises:
            InvalidFormat: It is missing, or no page.
        """
        folders = self._memory(contract, commit)
        for folder in folders:
            path = folder / str(index)
            if os.path.lexists(path):
                return path, read_page(path)
        raise InvalidFormat(str(folders[-1]), f"page {index} is missing: no commit of the line has it")

    def code(self, contract: ContractId) -> tuple[bytes, bytes]:
        """A contract's bytecode and owner: the last that were deployed, whatever the commit.

        Raises:
            InvalidFormat: They are missing, or damaged.
        """
        path = self._main / BYTECODE / contract.hex()
        return read_bytecode(path), read_owner(path.with_suffix(METADATA_SUFFIX), contract)

    def commit_path(self, commit: StateRoot | None) -> Path:
        """The folder of a commit, or of all, for what was finalized."""
        return self._main if commit is None else self._main / commit.hex()

    def code_path(self, contract: ContractId) -> Path:
        """The file of a contract's bytecode."""
        return self._main / BYTECODE / contract.hex()

    def _read_element(self, contract: ContractId, owner: StateRoot | None, position: int | None) -> Element:
        folder = self._main / LEAF / contract.hex()
        return read_element((folder if owner is None else folder / owner.hex()) / ELEMENT, position)

    def _read_positions(self, commit: StateRoot) -> Mapping[int, int] | None:
        """What older versions wrote beside a commit's base; it goes before what elements say."""
        folder = self._main / commit.hex()
        for name in (PACKED_POSITIONS, POSITIONS):
            if (folder / name).exists():
                return read_positions(folder / name, packed=name == PACKED_POSITIONS)
        return None

    def _memory_folders(self, contract: ContractId, commit: StateRoot | None) -> list[Path]:
        """Where pages of a contract are looked for, as a commit has it: those of its line, then the ground's."""
        memory = self._main / MEMORY / contract.hex()
        there = {folder.name for folder in _folders(memory)}
        names = [] if commit is None else [here.hex() for here in self.line(commit)]
        return [*(memory / name for name in names if name in there), memory]


def _writers(folder: Path) -> Iterator[StateRoot | None]:
    """Who wrote an element into a contract's folder: commits, in folders of their own, or the ground (None)."""
    if (folder / ELEMENT).exists():
        yield None
    for commit in _folders(folder):
        if (commit / ELEMENT).exists():
            yield StateRoot(_id(commit))


def _folders(path: Path) -> list[Path]:
    """The folders in a folder, if it is there; files are passed over, as the original does."""
    try:
        with os.scandir(path) as entries:
            return [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreIOError(path, "list", error.errno) from error


def _id(folder: Path) -> bytes:
    if _ID.fullmatch(folder.name) is None:
        raise InvalidFormat(str(folder), "its name is not 64 lower-case hexadecimal digits")
    return bytes.fromhex(folder.name)
