"""Damaged files: every flipped bit and every lost byte is noticed or does no harm; what is read is never wrong."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from blake3 import blake3
from piecrust.objects.disk import Mode
from piecrust.objects.errors import (
    CorruptObject,
    CorruptStore,
    NotAStore,
    ObjectNotFound,
    PiecrustError,
    StoreError,
    UnsupportedFormat,
)
from piecrust.objects.format import Format, Layout, read_format
from piecrust.objects.frame import marker
from piecrust.objects.ids import CommitId
from piecrust.objects.segment import SegmentHeader, scan
from piecrust.objects.source import SegmentSource
from support.crashes import DIRECTORY, Run, open_simulated, rotate
from support.damage import damages, every_kind, tally
from support.simulated_disk import Content, SimulatedDisk
from support.stores import make_commit, page, read_content, stage_commit

LAYOUT = Layout(DIRECTORY / ".piecrust")


@pytest.fixture(scope="module")
def run() -> Run:
    """Two segments: a closed one with two commits, an active one with two more; the last frame is the last commit."""
    run = Run()
    run.create()
    with run.open() as store:
        first = run.commit(store, 1)
        second = run.commit(store, 2, first)
        rotate(store)
        run.commit(store, 4, run.commit(store, 3, second))
    return run


def damaged(run: Run, path: Path, data: bytes, *, rebooted: bool) -> SimulatedDisk:
    disk = run.disk.killed()
    content = disk.names[path]
    assert content is not None
    disk.names[path] = Content(content.number, data)
    disk.boot += rebooted
    return disk


def used(run: Run, path: Path) -> int:
    """Where the last frame ends."""
    source = SegmentSource.open(run.disk, path, Mode.READ)
    return max(frame.end for frame in scan(source, source.header, 64))


def content_of(run: Run, path: Path) -> bytes:
    content = run.disk.names[path]
    assert content is not None
    return bytes(content.data)


def verdict(run: Run, disk: SimulatedDisk) -> set[CommitId]:
    """The commits that are lost; none if the damage was noticed. Whatever can be read must be right."""
    try:
        store = open_simulated(disk)
    except (CorruptStore, UnsupportedFormat, NotAStore):
        return set()
    with store:
        noticed = bool(store.damage)
        lost = set(run.contents) - set(store.commits())
        for commit in store.commits():
            try:
                assert read_content(store, commit) == run.contents[commit]
            except (CorruptObject, ObjectNotFound):
                noticed = True
        if store.damage:
            with pytest.raises(CorruptStore):
                make_commit(store, b"refused ")
        elif not lost:
            make_commit(store, b"fine    ")
        return set() if noticed else lost


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("rebooted", [False, True])
def test_every_flipped_bit_of_a_segment_is_noticed_or_harmless(run: Run, number: int, rebooted: bool) -> None:
    path = LAYOUT.segment(number)
    data = content_of(run, path)
    last = list(run.contents)[-1]
    end = used(run, path)
    for at in [*range(end + 16), end + 1000, len(data) - 1]:
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        lost = verdict(run, damaged(run, path, bytes(flipped), rebooted=rebooted))
        # After a reboot, damage in the very last frame can't be told from one that never got to the disk.
        assert lost <= ({last} if rebooted and number == 2 else set()), at


def test_damage_in_a_file_of_any_kind_is_found_or_harmless() -> None:
    """`benchmarks/flips.py` damages more."""
    run = every_kind()
    verdicts = tally(run, list(damages(run, flips=12, cuts=4)))
    assert {kind for kind, _ in verdicts} == {"segment", "pack", "table", "STATE", "FORMAT", "DURABLE", "lease"}
    assert {kind for kind, verdict in verdicts if verdict == "harmless"} <= {"DURABLE", "lease"}


@pytest.mark.parametrize("name", ["FORMAT", "DURABLE"])
def test_every_flipped_bit_of_the_small_files_is_noticed_or_harmless(run: Run, name: str) -> None:
    path = LAYOUT.root / name
    data = content_of(run, path)
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        assert verdict(run, damaged(run, path, bytes(flipped), rebooted=False)) == set(), at


@pytest.mark.parametrize("rebooted", [False, True])
def test_every_truncation_of_a_segment_is_noticed_or_harmless(run: Run, rebooted: bool) -> None:
    for number in (1, 2):
        path = LAYOUT.segment(number)
        data = content_of(run, path)
        for length in [*range(0, used(run, path) + 8, 7), len(data) - 1]:
            lost = verdict(run, damaged(run, path, data[:length], rebooted=rebooted))
            # After a reboot nothing says that frames at the end of the log were ever there.
            assert not lost or (rebooted and number == 2), length
            if lost:
                assert lost <= set(list(run.contents)[2:])


@pytest.mark.parametrize("name", ["FORMAT", "DURABLE", "LOCK"])
@pytest.mark.parametrize("length", [0, 1, 50, 100])
def test_truncated_small_files_are_noticed_or_harmless(run: Run, name: str, length: int) -> None:
    path = LAYOUT.root / name
    assert verdict(run, damaged(run, path, content_of(run, path)[:length], rebooted=False)) == set()


@pytest.mark.parametrize("path", [LAYOUT.segment(1), LAYOUT.segment(2), LAYOUT.format, LAYOUT.durable, LAYOUT.lock])
def test_a_missing_file_is_noticed_or_harmless(run: Run, path: Path) -> None:
    for rebooted in (False, True):
        disk = run.disk.killed()
        disk.boot += rebooted
        del disk.names[path]
        lost = verdict(run, disk)
        # The newest segment leaves no trace in the older ones.
        assert not lost or (rebooted and path == LAYOUT.segment(2))


def test_damage_is_told_by_file_and_offset_and_what_is_left_can_be_read(run: Run) -> None:
    first, second, third, fourth = run.contents
    path = LAYOUT.segment(2)
    source = SegmentSource.open(run.disk, path, Mode.READ)
    frames = list(scan(source, source.header, 64))
    flipped = bytearray(content_of(run, path))
    flipped[frames[1].offset + 70] ^= 1
    with open_simulated(damaged(run, path, bytes(flipped), rebooted=False)) as store:
        (damage,) = store.damage
        assert (damage.path, damage.offset) == (path, frames[1].offset)
        assert set(store.commits()) == {first, second, fourth}
        assert read_content(store, first) == run.contents[first]
        with pytest.raises(CorruptStore):
            make_commit(store, b"refused ")
        assert not store.contains(1, third)


def test_a_page_that_holds_frames_is_never_taken_for_one(run: Run) -> None:
    """The bytes of real frames as a contract's page, stored uncompressed by being noise otherwise."""
    disk = run.disk.killed()
    source = SegmentSource.open(disk, LAYOUT.segment(2), Mode.READ)
    stolen = source.read(0, used(run, LAYOUT.segment(2)))
    with open_simulated(disk) as store:
        before = set(store.commits())
        transaction = store.transaction()
        pages = {1: (stolen + page(b"", b"noise")[:4096] * 15)[:65536].ljust(65536, b"\0")}
        commit = stage_commit(transaction, b"forger  ", pages=pages)
        del transaction
        forged = make_commit(store, b"forger  ", pages=pages)
        assert forged == commit
    # The frame of the forger itself is torn: what its page holds must not come up as frames.
    path = LAYOUT.segment(2)
    position = used(run, path)
    content = disk.names[path]
    assert content is not None
    broken = bytearray(content.data)
    broken[position + 100] ^= 1
    with open_simulated(damaged_like(disk, path, bytes(broken))) as store:
        assert set(store.commits()) == before
        assert store.damage == ()


def damaged_like(disk: SimulatedDisk, path: Path, data: bytes) -> SimulatedDisk:
    other = disk.killed()
    content = other.names[path]
    assert content is not None
    other.names[path] = Content(content.number, data)
    other.boot += 1
    return other


def test_the_marker_of_frames_depends_on_the_salt() -> None:
    assert marker(bytes(32)) != marker(b"x" * 32)


def test_a_newer_version_is_refused_with_what_is_supported(run: Run) -> None:
    text = Format().encode().decode().replace("version 1", "version 2")
    body = text.rpartition("checksum ")[0]
    newer = f"{body}checksum {blake3(body.encode()).hexdigest()}\n".encode()
    disk = damaged(run, LAYOUT.format, newer, rebooted=False)
    with pytest.raises(UnsupportedFormat) as caught:
        open_simulated(disk)
    assert (caught.value.path, caught.value.found, caught.value.supported) == (LAYOUT.format, "2", 1)


@pytest.mark.parametrize("mode", ["read", "write", "gc"])
def test_an_unknown_feature_is_refused(run: Run, mode: str) -> None:
    body = Format().encode().decode().rpartition("checksum ")[0].replace(f"\n{mode}\n", f"\n{mode} sharding\n")
    newer = f"{body}checksum {blake3(body.encode()).hexdigest()}\n".encode()
    with pytest.raises(UnsupportedFormat, match="sharding"):
        open_simulated(damaged(run, LAYOUT.format, newer, rebooted=False))


def test_a_newer_segment_is_refused(run: Run) -> None:
    path = LAYOUT.segment(2)
    data = bytearray(content_of(run, path))
    header = SegmentHeader.decode(bytes(data[:64]), path)
    start = struct.pack("<8sIIQ32s", b"PIECRSEG", 9, 0, header.number, header.salt)
    data[:64] = start + blake3(start).digest(8)
    with pytest.raises(UnsupportedFormat):
        open_simulated(damaged(run, path, bytes(data), rebooted=False))


def test_format_says_what_was_asked_for(run: Run) -> None:
    assert read_format(run.disk, LAYOUT.format) == Format()


def test_errors_of_damage_have_one_root() -> None:
    assert issubclass(CorruptStore, StoreError)
    assert issubclass(CorruptObject, PiecrustError)
