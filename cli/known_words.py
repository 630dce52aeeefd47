"""What completion may offer from a store. It never complains: where there is no store, nothing is known."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from piecrust.cli.command import Settings
from piecrust.cli.working_state import aliases_of, store_directory
from piecrust.objects import contract_map
from piecrust.objects.errors import PiecrustError
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.refs import BRANCHES, REMOTES, TAGS, RefValue
from piecrust.objects.revision import PREFIX_DIGITS_MIN
from piecrust.vm.workspace import Workspace

if TYPE_CHECKING:
    from piecrust.objects.record import ContractRecord
    from piecrust.objects.store import Store

_HEX = re.compile(r"[0-9a-f]+\Z")


def known_names(directory: Path | None, prefix: str) -> list[tuple[str, str]]:
    """For completion: branches (`heads/`) or tags (`tags/`) with the commits that they name."""
    with _store_for_completion(directory) as store:
        return [] if store is None else _names_in(store.refs(), prefix)


def known_revisions(directory: Path | None, incomplete: str) -> list[tuple[str, str]]:
    """For completion: HEAD, branches and tags; commit ids where some digits were typed."""
    with _store_for_completion(directory) as store:
        if store is None:
            return []
        refs = store.refs()
        names = [("HEAD", ""), *_names_in(refs, BRANCHES), *_names_in(refs, TAGS), *_names_in(refs, REMOTES)]
        if len(incomplete) < PREFIX_DIGITS_MIN or not _HEX.match(incomplete):
            return names
        return [*names, *((commit.hex(), "commit") for commit in store.find(Kind.COMMIT, incomplete))]


def known_contracts(directory: Path | None) -> list[tuple[str, str]]:
    """For completion: aliases, and the ids of the working state's contracts."""
    with _store_for_completion(directory) as store:
        if store is None:
            return []
        aliases = aliases_of(store.refs())
        ids = [record.id for record in _records_for_completion(store)]
        named = set(aliases.values())
        listed = [(name, contract.short()) for name, contract in aliases.items()]
        return [*listed, *((contract.hex(), "") for contract in ids if contract not in named)]


def known_functions(directory: Path | None, arguments: Sequence[str]) -> list[str]:
    """For completion: what the contract that the first argument names exports."""
    from piecrust.cli.contract_code import exported_functions

    with _store_for_completion(directory) as store:
        if store is None or not arguments:
            return []
        contract = aliases_of(store.refs()).get(arguments[0])
        digits = arguments[0].lower()
        for record in _records_for_completion(store):
            if record.id == contract or (contract is None and record.id.hex().startswith(digits)):
                return exported_functions(store.load(Kind.BYTECODE, record.bytecode))
        return []


def _records_for_completion(store: Store) -> list[ContractRecord]:
    workspace = Workspace(store)
    commit = workspace.draft() or workspace.head().commit
    if commit is None:
        return []
    return sorted(contract_map.items(store, store.load(Kind.COMMIT, commit).map_root), key=lambda r: r.position)


def _names_in(refs: Mapping[str, RefValue], prefix: str) -> list[tuple[str, str]]:
    return sorted(
        (name.removeprefix(prefix), value.short())
        for name, value in refs.items()
        if name.startswith(prefix) and isinstance(value, CommitId)
    )


@contextmanager
def _store_for_completion(directory: Path | None) -> Iterator[Store | None]:
    """The store, read only; None where there is none: completion never complains."""
    from piecrust.objects.store import Store

    try:
        store = Store.open(store_directory(Settings(directory=directory)), read_only=True)
    except PiecrustError:
        yield None
        return
    with store:
        yield store
