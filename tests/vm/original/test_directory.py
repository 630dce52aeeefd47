"""Directories that lie, are damaged, or hold what nobody should read: typed errors that name the file."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust.objects.errors import ContractPositionCollision, InvalidFormat, PiecrustError
from piecrust.objects.ids import ContractId, StateRoot
from piecrust.objects.store import Store
from piecrust.vm.original.archives import ArchivedBase, ArchivedElement, ArchivedMetadata
from piecrust.vm.original.directory import OriginalDirectory
from piecrust.vm.original.importing import ImportedDirectory, import_original
from piecrust.vm.original.states import summaries
from piecrust.vm.rkyv.codec import codec
from support import originals
from support.fixtures import contract
from support.older_positions import rewritten, write_older_positions

MUTATIONS_PER_FILE = 12
ID = (bytes(31) + b"\1").hex()  # of the first contract


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """The directory `migrated`: two contracts, and a commit that changed one of them."""
    return originals.unpacked("migrated", tmp_path / "original")


@pytest.fixture
def imported(tmp_path: Path, directory: Path) -> Callable[[], ImportedDirectory]:
    """Imports all of it into a new store."""

    def run() -> ImportedDirectory:
        shutil.rmtree(tmp_path / "store", ignore_errors=True)
        with Store.open(tmp_path / "store", create=True, sync=False, background=False) as store:
            return import_original(store, OriginalDirectory(directory), list(originals.roots("migrated").values()))

    return run


def root(name: str) -> str:
    return originals.roots("migrated")[name].hex()


def files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def test_a_byte_that_changed_is_found_unless_nothing_covers_it(
    directory: Path, imported: Callable[[], ImportedDirectory]
) -> None:
    whole, pick, unnoticed = imported(), random.Random(7), set()
    for path in files(directory):
        content = path.read_bytes()
        for at in sorted({0, len(content) - 1, *(pick.randrange(len(content)) for _ in range(MUTATIONS_PER_FILE))}):
            path.write_bytes(content[:at] + bytes([content[at] ^ (1 << pick.randrange(8))]) + content[at + 1 :])
            try:
                if imported() != whole:
                    unnoticed.add(path.parent.name)
            except PiecrustError:
                pass
        path.write_bytes(content)
    # Code and owners are under no root; an element's length of memory, and a base's base, neither.
    assert unnoticed <= {"bytecode", root("one"), root("two")}


def pages_read_elsewhere(directory: Path) -> set[bytes]:
    """Pages that are there more than once, or are zeros: not every file of them is read."""
    contents = [path.read_bytes() for path in files(directory)]
    return {content for content in contents if contents.count(content) > 1} | {bytes(65536)}


def test_a_file_that_was_cut_short_is_found(directory: Path, imported: Callable[[], ImportedDirectory]) -> None:
    known = pages_read_elsewhere(directory)
    for path in files(directory):
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        if path.parent.name == "bytecode" and not path.suffix:
            assert imported().refused
        elif content not in known:
            with pytest.raises(InvalidFormat) as caught:
                imported()
            assert caught.value.what == str(path)
        path.write_bytes(content)


def test_a_file_that_is_missing_is_named(directory: Path, imported: Callable[[], ImportedDirectory]) -> None:
    known = pages_read_elsewhere(directory)
    for path in files(directory):
        content = path.read_bytes()
        if content in known:
            continue
        path.unlink()
        with pytest.raises(InvalidFormat) as caught:
            imported()
        if path.name == "element":  # then the contract is the base's, or none
            assert "state root" in caught.value.reason
        else:
            assert str(path).startswith(caught.value.what)
            assert caught.value.reason.startswith(("it is missing", f"page {path.name} is missing"))
        path.write_bytes(content)


@pytest.mark.parametrize("place", ["page", "bytecode", "base"])
def test_only_regular_files_of_a_length_that_may_be_are_read(
    place: str, directory: Path, imported: Callable[[], ImportedDirectory], tmp_path: Path
) -> None:
    path = {
        "page": directory / "main" / "memory" / ID / root("two") / "4",
        "bytecode": directory / "main" / "bytecode" / ID,
        "base": directory / "main" / root("two") / "base",
    }[place]
    content = path.read_bytes()
    (tmp_path / "secret").write_bytes(content)
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidFormat, match="no regular file"):
        imported()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(InvalidFormat, match="no regular file"):
        imported()
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidFormat, match="no regular file"):
        imported()
    path.rmdir()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InvalidFormat, match="more than"):
        imported()


def test_what_the_original_would_not_write_is_refused(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidFormat, match="no directory main"):
        OriginalDirectory(tmp_path)
    (directory / "main" / "README").touch()  # files are passed over, as there
    OriginalDirectory(directory)
    for place in ("main", "main/leaf", f"main/leaf/{ID}"):
        (directory / place / "AB" / "element").mkdir(parents=True)
        with pytest.raises(InvalidFormat, match="64 lower-case"):
            OriginalDirectory(directory)
        shutil.rmtree(directory / place / "AB")


def test_commits_that_come_from_each_other_are_refused(
    directory: Path, imported: Callable[[], ImportedDirectory]
) -> None:
    one, two = (originals.roots("migrated")[name] for name in ("one", "two"))
    rewritten(directory / "main" / one.hex() / "base", ArchivedBase, maybe_base=bytes(two))
    with pytest.raises(InvalidFormat, match="comes from itself"):
        imported()
    told = list(summaries(OriginalDirectory(directory)))
    assert {summary.root for summary in told if "comes from itself" in summary.problem} == {one, two}


def test_contracts_are_what_their_folders_say(directory: Path, imported: Callable[[], ImportedDirectory]) -> None:
    path = directory / "main" / "bytecode" / f"{ID}.m"
    rewritten(path, ArchivedMetadata, contract_id=bytes(32))
    with pytest.raises(InvalidFormat, match="the metadata of contract 0000"):
        imported()


def test_elements_that_contradict_themselves_are_refused(
    directory: Path, imported: Callable[[], ImportedDirectory]
) -> None:
    path = directory / "main" / "leaf" / ID / root("two") / "element"
    content = path.read_bytes()
    element = codec(ArchivedElement).decode(content)
    for changes, reason in (
        ({"page_indices": {*element.page_indices, 9}}, "not the pages"),
        ({"page_indices": set()}, "not the pages"),
        ({"hash": None}, "no place"),
        ({"int_pos": None}, "no place"),
        ({"int_pos": 0}, "no place"),
        ({"int_pos": 1 << 32}, "no place"),
        ({"len": 65537}, "whole number"),
        ({"int_pos": 2}, "two contracts at one position"),
        ({"int_pos": 3}, "state root"),
        ({"hash": b"\1" * 32}, "other pages than it says"),
    ):
        rewritten(path, ArchivedElement, **changes)
        with pytest.raises(InvalidFormat, match=reason):
            imported()
        path.write_bytes(content)
    shutil.copy(directory / "main" / "bytecode" / ID, directory / "kept")
    wide = Path(__file__).parents[3] / "fixtures" / "reference" / "contracts" / "bin" / "script64.wasm"
    shutil.copy(wide, directory / "main" / "bytecode" / ID)
    with pytest.raises(InvalidFormat, match="32 bits"):
        imported()


def test_code_that_is_refused_here_is_told_and_kept(directory: Path, imported: Callable[[], ImportedDirectory]) -> None:
    (directory / "main" / "bytecode" / ID).write_bytes(contract("counter")[:-1])
    assert imported().refused.keys() == {ContractId.from_hex(ID)}


def test_two_contracts_of_one_position_are_refused(directory: Path, imported: Callable[[], ImportedDirectory]) -> None:
    other = (bytes(27) + b"\1" + bytes(4)).hex()  # folds to the same number
    for place in ("leaf", "memory"):
        shutil.copytree(directory / "main" / place / ID, directory / "main" / place / other)
    shutil.copy(directory / "main" / "bytecode" / ID, directory / "main" / "bytecode" / other)
    shutil.copy(directory / "main" / "bytecode" / f"{ID}.m", directory / "main" / "bytecode" / f"{other}.m")
    rewritten(directory / "main" / "bytecode" / f"{other}.m", ArchivedMetadata, contract_id=bytes.fromhex(other))
    with pytest.raises(ContractPositionCollision):
        imported()


@pytest.mark.parametrize("name", ["tree_pos", "tree_pos_opt"])
def test_positions_are_taken_from_where_older_versions_wrote_them(
    name: str, directory: Path, imported: Callable[[], ImportedDirectory]
) -> None:
    """That the original reads such files, `tests/fixtures/test_originals.py` asks it."""
    whole = imported()
    write_older_positions(directory, name)
    assert imported() == whole


def test_a_damaged_file_of_positions_is_refused(directory: Path, imported: Callable[[], ImportedDirectory]) -> None:
    path = directory / "main" / root("two") / "tree_pos_opt"
    path.write_bytes(bytes(41))
    with pytest.raises(InvalidFormat, match="whole number of entries"):
        imported()


def test_a_list_tells_what_can_not_be_imported(tmp_path: Path) -> None:
    source = OriginalDirectory(originals.unpacked("finalized", tmp_path / "finalized"))
    names = {commit: name for name, commit in originals.roots("finalized").items()}
    told = {names[summary.root]: summary for summary in summaries(source)}
    assert [name for name, summary in told.items() if summary.problem is not None] == ["lost"]
    assert [name for name, summary in told.items() if summary.is_finalized] == ["two"]
    assert names[told["side"].base or StateRoot(bytes(32))] == "two"
    (source.commit_path(told["three"].root) / "base").unlink()
    again = {names[summary.root]: summary.problem for summary in summaries(OriginalDirectory(source.path))}
    assert [name for name, problem in again.items() if problem is not None] == ["lost", "three", "four"]
