"""The store that a command works on: found, opened, and its names resolved.

The store is the directory of `-C`, else of `PIECRUST_STORE`, else the nearest one above the current directory that
holds `.piecrust/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from piecrust.cli.command import Settings, settings
from piecrust.cli.command_errors import Ambiguous, Missing, UsageError
from piecrust.cli.revisions import find_commit, find_range
from piecrust.objects import contract_map
from piecrust.objects.errors import NotAStore
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.refs import ALIASES, CONTRACTS, RefValue, Symbolic
from piecrust.objects.revision import PREFIX_DIGITS_MIN
from piecrust.objects.state import EMPTY_STATE, State
from piecrust.vm.workspace import Head, Workspace

if TYPE_CHECKING:
    from piecrust.cli.interfaces import Interfaces
    from piecrust.objects.record import ContractRecord
    from piecrust.objects.store import Store
    from piecrust.vm.abi_model import Abi
    from piecrust.vm.vm import VM

STORE_DIRECTORY = ".piecrust"
_HEX = re.compile(r"[0-9a-f]+\Z")


class WorkingState:
    """An open store with its HEAD, working state and aliases."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.workspace = Workspace(store)

    @cached_property
    def interfaces(self) -> Interfaces:
        """The interfaces of the working state's contracts."""
        from piecrust.cli.interfaces import Interfaces

        return Interfaces(self.interface)

    @property
    def head(self) -> Head:
        """Where HEAD is."""
        return self.workspace.head()

    def commit(self, revision: str) -> CommitId:
        """The commit that a revision names."""
        return find_commit(self.store, revision)

    def ends(self, text: str) -> tuple[CommitId, CommitId]:
        """The commits of both ends of `a..b`."""
        return find_range(self.store, text)

    def named(self, revision: CommitId | bytes | str) -> CommitId:
        """The commit of an id or a revision."""
        return self.commit(revision) if isinstance(revision, str) else CommitId(revision)

    def state(self, commit: CommitId | None) -> State:
        """The state of a commit; the empty one for None."""
        if commit is None:
            return EMPTY_STATE
        found = self.store.load(Kind.COMMIT, commit)
        return State(found.state_root, found.map_root, found.positions)

    def current(self) -> State:
        """The state of the working state: with what is not committed."""
        return self.state(self.workspace.draft() or self.head.commit)

    def state_at(self, revision: str | None) -> State:
        """The state of a revision; the working state's for None."""
        return self.current() if revision is None else self.state(self.commit(revision))

    def records(self, state: State) -> list[ContractRecord]:
        """The contracts of a state, by position."""
        return sorted(contract_map.items(self.store, state.map_root), key=lambda record: record.position)

    def aliases(self) -> dict[str, ContractId]:
        """The names that contracts were given."""
        return aliases_of(self.store.refs())

    def contract(self, name: str, *states: State) -> ContractId:
        """The contract with this alias, id, or unique prefix of an id in these states (by default the working state).

        Raises:
            Missing: none has; Ambiguous: several have.
        """
        alias = self.aliases().get(name)
        if alias is not None:
            return alias
        digits = name.lower().removeprefix("0x")
        if not _HEX.match(digits) or len(digits) > 64 or len(digits) < PREFIX_DIGITS_MIN:
            hints = [f"did you mean {word}?" for word in _near(name, list(self.aliases()))]
            if _HEX.match(digits) and len(digits) < PREFIX_DIGITS_MIN:
                hints.append(f"at least {PREFIX_DIGITS_MIN} digits of an id are needed")
            raise Missing(f"there is no contract {name!r}", hints=[*hints, "piecrust contracts"])
        if len(digits) == 64:
            return ContractId(bytes.fromhex(digits))
        known = {record.id for state in states or (self.current(),) for record in self.records(state)}
        matching = sorted(contract for contract in known if contract.hex().startswith(digits))
        if not matching:
            raise Missing(f"no contract's id begins with {name!r}", hints=["piecrust contracts"])
        if len(matching) > 1:
            raise Ambiguous(
                f"{len(matching)} contracts have ids that begin with {name!r}",
                details=[contract.hex() for contract in matching],
                hints=["give more digits, or an alias"],
            )
        return matching[0]

    def interface(self, contract: ContractId, state: State | None = None) -> Abi | None:
        """The interface that a contract carries, None if it carries none or is not there."""
        record = contract_map.lookup(self.store, (state or self.current()).map_root, contract)
        return None if record is None else self.interface_of(record)

    def interface_of(self, record: ContractRecord) -> Abi | None:
        """The interface that a contract carries."""
        from piecrust.cli.contract_code import interface_of

        return interface_of(self.store.load(Kind.BYTECODE, record.bytecode))

    def scratch_of(self, record: ContractRecord) -> list[range]:
        """The bytes of a contract's memory that its interface declares as scratch."""
        interface = self.interface_of(record)
        scratch = () if interface is None else interface.scratch
        return [range(span.address, span.address + span.length) for span in scratch]

    def label(self, contract: ContractId) -> str:
        """What to call a contract: its alias, or the first digits of its id."""
        names = [name for name, identifier in self.aliases().items() if identifier == contract]
        return min(names) if names else contract.short()


def aliases_of(refs: Mapping[str, RefValue]) -> dict[str, ContractId]:
    """The aliases among the refs of a store."""
    return {
        name.removeprefix(ALIASES): ContractId.from_hex(value.name.removeprefix(CONTRACTS))
        for name, value in sorted(refs.items())
        if name.startswith(ALIASES) and isinstance(value, Symbolic)
    }


def alias_value(contract: ContractId) -> Symbolic:
    """What the ref of an alias holds."""
    return Symbolic(CONTRACTS + contract.hex())


def store_directory(current: Settings) -> Path:
    """The directory that holds `.piecrust/`.

    Raises:
        NotAStore: there is none here or above.
    """
    given = current.directory or (Path(p) if (p := current.environment.get("PIECRUST_STORE")) else None)
    if given is not None:
        return given
    here = Path.cwd()
    for directory in (here, *here.parents):
        if (directory / STORE_DIRECTORY).is_dir():
            return directory
    raise NotAStore(here, "there is no .piecrust here or in a directory above")


@contextmanager
def opened(context: typer.Context, *, read_only: bool = False) -> Iterator[WorkingState]:
    """The store that the command line means, open for the time of a block; contracts can not run."""
    from piecrust.objects.store import Store

    current = settings(context)
    with Store.open(store_directory(current), read_only=read_only) as store:
        yield _looked_over(store, current)


def open_vm(current: Settings, *, read_only: bool = False) -> VM:
    """A VM on the store, which takes its write tracker and compile cache from the environment."""
    from piecrust.vm.vm import VM

    select_implementations(current.environment)
    cache = current.environment.get("PIECRUST_CACHE")
    return VM(store_directory(current), create=False, read_only=read_only, cache_directory=cache or None)


def select_implementations(environment: Mapping[str, str]) -> None:
    """Use the write tracker and the way into the engine that the environment asks for, if it does.

    Raises:
        UsageError: there is none of that name, or it does not work here.
    """
    from piecrust.vm import native, tracking

    for variable, module in (("PIECRUST_TRACKER", tracking), ("PIECRUST_NATIVE", native)):
        name: Any = environment.get(variable)
        if name:
            try:
                module.select(name)
            except (ValueError, OSError) as error:
                raise UsageError(f"{variable}={name} does not work here") from error


@contextmanager
def opened_vm(context: typer.Context, *, read_only: bool = False) -> Iterator[tuple[WorkingState, VM]]:
    """The store with a VM, in which contracts can run, for the time of a block."""
    current = settings(context)
    with open_vm(current, read_only=read_only) as vm:
        yield _looked_over(vm.store, current), vm


def _looked_over(store: Store, current: Settings) -> WorkingState:
    """A store that was just opened; damage is an error for a command that writes, a warning for one that reads.

    Raises:
        CorruptStore: the store is damaged, and the command would write.
    """
    for damage in store.damage:
        if not store.read_only:
            raise damage
        current.damage.append(f"{damage} (see piecrust fsck)")
    at = WorkingState(store)
    current.labels.update({contract: name for name, contract in at.aliases().items()})
    return at


def only_one(given: Mapping[str, object]) -> None:
    """Refuse options that exclude one another.

    Raises:
        UsageError: more than one was given.
    """
    used = [name for name, value in given.items() if value]
    if len(used) > 1:
        raise UsageError(f"{' and '.join(used)} exclude one another")


def _near(word: str, words: Sequence[str]) -> list[str]:
    from difflib import get_close_matches

    return get_close_matches(word, words, n=3)
