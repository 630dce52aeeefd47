"""The store's files as files: how much they take, what was left behind, and what is in quarantine.

For the one process that does upkeep.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from piecrust.objects.checkpoint import PackName, SourcesChange
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.format import Layout, segment_number
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_writer import LogWriter
from piecrust.objects.pack import PackSource, pack_name, pack_path, verify_pack

_DRAFTS = ("pack", "STATE")  # in tmp/; the rotation's draft belongs to whoever holds the lock


def store_files(disk: Disk, layout: Layout) -> Iterator[Path]:
    """Every file of a store."""
    for directory in (layout.root, *layout.directories):
        below = {path.name for path in layout.directories} if directory == layout.root else set()
        yield from (directory / name for name in disk.list(directory) if name not in below)


def store_bytes(disk: Disk, layout: Layout) -> int:
    """The lengths of all files of a store, room that was allocated included."""
    total = 0
    for path in store_files(disk, layout):
        with contextlib.suppress(FileNotFoundError):  # other processes come and go
            file = disk.open(path, Mode.READ)
            try:
                total += file.size()
            finally:
                file.close()
    return total


def remove_leftovers(log: LogWriter) -> None:
    """Remove what an interrupted upkeep left behind: drafts, packs never published, segments that were sealed.

    Under the log's mutex, with the log read to its end.
    """
    disk, layout, ledger = log.disk, log.layout, log.ledger
    for name in disk.list(layout.tmp):
        if name in _DRAFTS or name.endswith(".tbl"):
            disk.unlink(layout.tmp / name)
    used = {pack.name for pack in ledger.packs}
    for name in disk.list(layout.packs):
        if pack_name(name) not in used:
            disk.unlink(layout.packs / name)
    numbers = {closed.number for closed in ledger.segments}
    for name in disk.list(layout.log):
        number = segment_number(name)
        if number is not None and number < log.position.segment and number not in numbers:
            disk.unlink(layout.log / name)


def quarantine_packs(log: LogWriter, names: list[bytes]) -> None:
    """Move packs, which the log no longer names, to quarantine."""
    for name in names:
        log.disk.rename(pack_path(log.layout, name), quarantined(log.layout, name))
    log.disk.sync_directory(log.layout.quarantine)
    log.disk.sync_directory(log.layout.packs)


def release_packs(log: LogWriter, names: list[bytes]) -> None:
    """Bring packs back from quarantine, for the log to name them again."""
    for name in names:
        log.disk.rename(quarantined(log.layout, name), pack_path(log.layout, name))
    log.disk.sync_directory(log.layout.packs)


def restore_quarantine(log: LogWriter, lock: StoreLock) -> int:
    """Name every collected pack that is in quarantine in the log again; how many there were.

    What was collected with them is there again, deleted commits as kept ones.
    """
    names = [name for entry in log.disk.list(log.layout.quarantine) if (name := pack_name(entry)) is not None]
    with log.mutex, lock:
        log.prepare()
        packs = []
        for name in names:
            source = PackSource.open(log.disk, quarantined(log.layout, name))
            verify_pack(source, name)
            packs.append(PackName(name, len(source.data), source.salt))
        release_packs(log, names)
        ledger = log.ledger
        if packs:
            log.publish_sources(SourcesChange([], [], packs, ledger.generation + 1, ledger.first_operation, [], []))
    return len(packs)


def quarantined(layout: Layout, name: bytes) -> Path:
    """Where a pack is while it is in quarantine."""
    return layout.quarantine / pack_path(layout, name).name


def empty_quarantine(log: LogWriter) -> None:
    """Remove collected packs from quarantine; what was damaged stays there until somebody looks at it."""
    for name in log.disk.list(log.layout.quarantine):
        if pack_name(name) is not None:
            log.disk.unlink(log.layout.quarantine / name)
