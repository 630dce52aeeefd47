"""Opening a store: the parts of a handle, for reading alone or for writing, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from piecrust.objects.creation import create_store, store_exists
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.durable import Durable
from piecrust.objects.errors import NotAStore
from piecrust.objects.format import STORE_DIRECTORY, Format, Layout, read_format
from piecrust.objects.graph import CommitGraph
from piecrust.objects.lease import Leases
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_reader import LogReader
from piecrust.objects.log_writer import LogWriter
from piecrust.objects.publisher import Publisher
from piecrust.objects.reader import Reader
from piecrust.objects.upkeep import Upkeep

_Log = TypeVar("_Log", bound=LogReader)


@dataclass(frozen=True, slots=True)
class Parts:
    """What every handle has."""

    log: LogReader
    reader: Reader


@dataclass(frozen=True, slots=True)
class WritingParts(Parts):
    """What a handle that writes has."""

    log: LogWriter
    lock: StoreLock
    publisher: Publisher
    leases: Leases
    upkeep: Upkeep


def open_for_reading(disk: Disk, layout: Layout, cache_bytes: int) -> Parts:
    """Open a store without writing anything."""
    read_format(disk, layout.format)
    log = _followed(LogReader(disk, layout, Durable(disk, layout.durable, writable=False), writable=False))
    return Parts(log, Reader(log.catalog, cache_bytes))


def open_for_writing(
    disk: Disk,
    layout: Layout,
    cache_bytes: int,
    *,
    create: bool,
    sync: bool,
    lock_seconds: float,
    background: bool,
    clock: Callable[[], int],
) -> WritingParts:
    """Open a store, or make it first if it may be made."""
    if create and not store_exists(disk, layout):
        check_may_create(disk, layout.root.parent)
        create_store(disk, layout, Format())
    segment_bytes_max = read_format(disk, layout.format).segment_bytes_max
    durable = Durable(disk, layout.durable, writable=True)
    log = _followed(LogWriter(disk, layout, durable, segment_bytes_max=segment_bytes_max, sync=sync))
    reader = Reader(log.catalog, cache_bytes)
    lock = StoreLock(disk.open(layout.lock, Mode.ENSURE), layout.lock, lock_seconds)
    graph = CommitGraph(reader.catalog, reader.load)
    upkeep = Upkeep(log, lock, graph, background=background)
    return WritingParts(log, reader, lock, Publisher(log, reader, lock, clock), Leases(disk, layout), upkeep)


def check_exists(disk: Disk, layout: Layout) -> None:
    """Raise `NotAStore` unless there is a store."""
    if not store_exists(disk, layout):
        names = disk.list(layout.root.parent)
        raise NotAStore(layout.root.parent, "there is no store in it" if names else "it is empty or missing")


def check_may_create(disk: Disk, directory: Path) -> None:
    """Raise `NotAStore` if the directory holds anything but the beginnings of a store."""
    if disk.list(directory) not in ([], [STORE_DIRECTORY]):
        raise NotAStore(directory, "it holds other things")


def _followed(log: _Log) -> _Log:
    try:
        log.follow()
    except BaseException:
        log.close()
        raise
    return log
