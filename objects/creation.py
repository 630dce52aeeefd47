"""Making a store: everything but FORMAT first, then FORMAT, so that a store is whole or is none."""

from __future__ import annotations

from pathlib import Path

from piecrust.objects.checkpoint import Ledger
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.errors import CorruptStore
from piecrust.objects.format import Format, Layout, segment_number, write_format
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_writer import write_segment
from piecrust.objects.replay import read_checkpoint
from piecrust.objects.segment import tail_is_clear
from piecrust.objects.source import SegmentSource

_FIRST_SEGMENT = 1


def store_exists(disk: Disk, layout: Layout) -> bool:
    """Whether the directory holds a store, whole or damaged, and not only the beginnings of one."""
    return layout.format.name in disk.list(layout.root)


def create_store(disk: Disk, layout: Layout, parameters: Format) -> None:
    """Make an empty store, or go on where another process that was killed had stopped making one.

    Raises:
        CorruptStore: there is a store with commits in it that has lost its FORMAT.
    """
    directory = layout.root.parent
    disk.make_directory(directory)
    disk.make_directory(layout.root)
    file = disk.open(layout.lock, Mode.ENSURE)
    try:
        with StoreLock(file, layout.lock):
            if not store_exists(disk, layout):
                _fill(disk, layout, parameters)
    finally:
        file.close()
    disk.sync_directory(directory)
    disk.sync_directory(directory.parent)


def _fill(disk: Disk, layout: Layout, parameters: Format) -> None:
    for path in layout.directories:
        disk.make_directory(path)
    for name in disk.list(layout.log):
        _check_unused(disk, layout.log / name)
        disk.unlink(layout.log / name)
    write_segment(disk, layout, _FIRST_SEGMENT, Ledger(), 1)
    disk.rename(layout.tmp / "segment", layout.segment(_FIRST_SEGMENT))
    disk.sync_directory(layout.log)
    disk.sync_directory(layout.root)
    write_format(disk, layout, parameters)


def _check_unused(disk: Disk, path: Path) -> None:
    """Make sure that a segment holds nothing but the first checkpoint of a store."""
    source = SegmentSource.open(disk, path, Mode.READ)
    try:
        checkpoint = read_checkpoint(source)
        used = segment_number(path.name) != _FIRST_SEGMENT or checkpoint.header.sequence != 1
        if used or not tail_is_clear(source, checkpoint.end):
            raise CorruptStore(path.parent.parent / "FORMAT", 0, "it is missing, but the log is in use")
    finally:
        source.close()
