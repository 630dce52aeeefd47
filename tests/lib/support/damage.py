"""Damaging a store's files bit by bit, and looking at what a reader and a check make of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from piecrust.objects import compaction, upkeep
from piecrust.objects.disk import Mode
from piecrust.objects.errors import CorruptObject, ObjectNotFound, PiecrustError
from piecrust.objects.format import Layout
from piecrust.objects.fsck import fsck
from piecrust.objects.segment import scan
from piecrust.objects.source import SegmentSource

from support.crashes import DIRECTORY, Run, keep_up, open_simulated, rotate
from support.simulated_disk import Content, SimulatedDisk
from support.stores import read_content

LAYOUT = Layout(DIRECTORY / ".piecrust")
_DURABLE_SLOTS = (range(96), range(128, 224))


class Damage(NamedTuple):
    """A file that is other than it was: a bit is flipped at `at`, or it ends there."""

    path: Path
    at: int
    cut: bool

    @property
    def kind(self) -> str:
        """The kind of the file."""
        name, directory = self.path.name, self.path.parent.name
        return {"log": "segment", "packs": "pack", "leases": "lease"}.get(
            directory, "table" if name.endswith(".tbl") else name
        )


def every_kind() -> Run:
    """A store with a pack, a closed segment, an active one, tables, a snapshot and a lease that a dead process left."""
    objects_max = compaction.FRESH_OBJECTS_MAX, upkeep.FRESH_OBJECTS_MAX
    compaction.FRESH_OBJECTS_MAX = upkeep.FRESH_OBJECTS_MAX = 20
    try:
        run = Run()
        run.create()
        store = run.open()
        head = None
        for number in range(9):
            if number in (3, 6):
                rotate(store)
            if number == 4:
                keep_up(store)
            head = run.commit(store, number, head, filler=1500)
        keep_up(store)
        rotate(store)
        head = run.commit(store, 9, head, filler=1500)
        rotate(store)
        run.commit(store, 10, head, filler=1500)
        store._to_write().leases.acquire(head)
        run.disk = run.disk.killed()
    finally:
        compaction.FRESH_OBJECTS_MAX, upkeep.FRESH_OBJECTS_MAX = objects_max
    return run


def damages(run: Run, flips: int, cuts: int) -> Iterator[Damage]:
    """So many flipped bits and cut ends of each file, from its first byte to its last, evenly."""
    for path, content in sorted(run.disk.names.items()):
        size = 0 if content is None else len(content.data)
        used = _used(run.disk, path, size)
        if used:
            yield from (Damage(path, at * used // min(flips, used), cut=False) for at in range(min(flips, used)))
            yield from (Damage(path, at * used // min(cuts, used), cut=True) for at in range(min(cuts, used)))


def verdict(run: Run, damage: Damage) -> str:
    """What came of a damage; AssertionError if something wrong was read, or nobody noticed what is lost.

    - `refused`: the store doesn't open; `noticed`: it opens and says what is damaged, or an object can't be read;
    - `found`: reading goes well, and a check finds it;
    - `harmless`: no byte that anything depends on.
    """
    disk = damaged(run.disk, damage)
    lost = noticed = False
    try:
        store = open_simulated(disk, read_only=True)
    except PiecrustError:
        outcome = "refused"
    else:
        with store:
            noticed = bool(store.damage)
            there = set(store.commits())
            for commit, content in run.contents.items():
                try:
                    assert read_content(store, commit) == content, f"a wrong page after {damage}"
                except (CorruptObject, ObjectNotFound):
                    lost = True
            lost = lost or there != set(run.contents)
        outcome = "noticed" if noticed or lost else "found"
    try:
        clean = fsck(DIRECTORY, threads=1, disk=disk).clean
    except PiecrustError:
        clean = False
    if outcome == "found" and clean:
        assert not _matters(damage), f"nobody finds {damage}"
        return "harmless"
    assert not clean, f"a check doesn't find {damage}"
    return outcome


def tally(run: Run, some: list[Damage]) -> Counter[tuple[str, str]]:
    """How often each verdict came for each kind of file."""
    return Counter((damage.kind, verdict(run, damage)) for damage in some)


def damaged(disk: SimulatedDisk, damage: Damage) -> SimulatedDisk:
    """A disk with this damage."""
    disk = disk.killed()
    content = disk.names[damage.path]
    assert content is not None
    data = bytearray(content.data)
    if damage.cut:
        del data[damage.at :]
    else:
        data[damage.at] ^= 1 << damage.at % 8
    disk.names[damage.path] = Content(content.number, data)
    return disk


def _used(disk: SimulatedDisk, path: Path, size: int) -> int:
    """The bytes of a file without the room that was allocated ahead."""
    if path.parent != LAYOUT.log:
        return size
    source = SegmentSource.open(disk, path, Mode.READ)
    return max(frame.end for frame in scan(source, source.header, 64))


def _matters(damage: Damage) -> bool:
    """Whether anything depends on what is damaged."""
    if damage.path.parent == LAYOUT.leases:
        return False  # its process is dead
    if damage.path == LAYOUT.durable:
        return not damage.cut and any(damage.at in slot for slot in _DURABLE_SLOTS)
    return True
