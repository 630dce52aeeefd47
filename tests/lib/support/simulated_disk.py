"""A disk in memory that forgets what was not synced, in every way a real one may.

`SimulatedDisk` implements the store's seam (`piecrust.objects.disk.Disk`) and records every change. From the record
`crash_states` makes the disks that a loss of power could leave behind at any point of a run:

- of the writes that were not synced, each sector (of 512 or 4096 bytes) has seen all, some or none, in any order
  among sectors;
- a file whose length was not synced has any of the lengths that it went through;
- a name that was given or taken away, and whose directory was not synced, is there or not; a rename is never half
  done in the sense that the file has no name at all, but it may have both;
- what was synced is there.

`SimulatedDisk.killed` is the disk after the process was killed: everything written is there, the locks are free.
Faults are injected by the number of the call: see `Fault`.
"""

from __future__ import annotations

import errno
import itertools
import math
import os
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from piecrust.objects.disk import Bytes, Mode

ROOT = Path("/disk")


class PowerLoss(BaseException):
    """Raised by a disk whose power is gone; no handler of errors may catch it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong at a call: an error number; or, for a write, only `short` bytes are taken before the error."""

    error: int
    short: int = 0
    lasting: bool = False  # every later call of the same name fails


@dataclass(slots=True)
class Content:
    """A file's bytes: shared until they are changed."""

    number: int
    data: bytearray | bytes = b""
    locked_by: SimulatedFile | None = None

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        if isinstance(self.data, bytes) or end > len(self.data):
            # A larger file gets a new buffer: one that is mapped can't grow.
            self.data = bytearray(self.data).ljust(max(end, len(self.data)), b"\0")
        self.data[offset:end] = data


@dataclass(frozen=True, slots=True)
class Event:
    """A change of the disk, or a mark of the test's own (`mark`), in the order in which they happened."""

    name: str
    content: Content | None = None
    offset: int = 0
    data: bytes = b""
    path: Path | None = None
    target: Path | None = None
    mark: object = None


class SimulatedFile:
    """A handle on a simulated file."""

    def __init__(self, disk: SimulatedDisk, content: Content) -> None:
        self._disk, self._content, self._closed = disk, content, False

    def _call(self, name: str) -> Fault | None:
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._disk.call(name, takes_part=True) if name == "write" else self._disk.call(name)

    def read(self, offset: int, length: int) -> bytes:
        self._call("read")
        data = bytes(memoryview(self._content.data)[offset : offset + length])
        self._disk.bytes_read += len(data)
        return data

    def write(self, offset: int, data: Bytes) -> int:
        fault = self._call("write")
        data = bytes(data)
        if fault is not None:
            data = data[: fault.short]
        self._content.write(offset, data)
        self._disk.events.append(Event("write", self._content, offset, data))
        return len(data)

    def allocate(self, offset: int, length: int) -> None:
        self._call("allocate")
        missing = offset + length - len(self._content.data)
        if missing > 0:
            at = len(self._content.data)
            self._content.write(at, bytes(missing))
            self._disk.events.append(Event("allocate", self._content, at + missing))

    def sync(self) -> None:
        self._call("sync")
        self._disk.events.append(Event("sync", self._content))

    def size(self) -> int:
        self._call("size")
        return len(self._content.data)

    def map(self) -> memoryview:
        self._call("map")
        if isinstance(self._content.data, bytes):
            self._content.data = bytearray(self._content.data)
        return memoryview(self._content.data).toreadonly()

    def inode(self) -> int:
        return self._content.number

    def try_lock(self) -> bool:
        self._call("try_lock")
        if self._content.locked_by not in (None, self):
            return False
        self._content.locked_by = self
        return True

    def unlock(self) -> None:
        if self._content.locked_by is self:
            self._content.locked_by = None

    def close(self) -> None:
        self.unlock()
        self._closed = True


class SimulatedDisk:
    """Files and directories in memory."""

    def __init__(self, boot: int = 1) -> None:
        self.names: dict[Path, Content | None] = {ROOT: None}  # None: a directory
        self.events: list[Event] = []
        self.calls: list[str] = []  # the names of the calls that can fail, in order
        self.faults: dict[int, Fault] = {}  # by the number of the call
        self.boot = boot
        self.bytes_read = 0
        # What somebody else does before the n-th call, or as soon as he gets the lock.
        self.interrupt_at: tuple[int, Callable[[], None]] | None = None
        self._lasting: dict[str, Fault] = {}
        self._next: dict[str, Fault] = {}
        self._numbers = itertools.count(1)

    def call(self, name: str, *, takes_part: bool = False) -> Fault | None:
        """Count a call, and fail if it is due to."""
        fault = self._next.pop(name, None) or self._lasting.get(name) or self.faults.get(len(self.calls))
        self.calls.append(name)
        if self.interrupt_at is not None and len(self.calls) > self.interrupt_at[0] and not self.is_locked("LOCK"):
            act, self.interrupt_at = self.interrupt_at[1], None
            act()
        if fault is None:
            return None
        if fault.lasting:
            self._lasting[name] = Fault(fault.error)
        if takes_part and fault.short:
            return fault
        raise OSError(fault.error, os.strerror(fault.error))

    def is_locked(self, name: str) -> bool:
        """Whether any handle has locked a file of this name."""
        return any(c.locked_by is not None for p, c in self.names.items() if c is not None and p.name == name)

    def fail_next(self, name: str, fault: Fault) -> None:
        """Let the next call of this name fail."""
        self._next[name] = fault

    def clear_faults(self) -> None:
        """Let nothing fail any more."""
        self.faults, self._lasting, self._next = {}, {}, {}

    def mark(self, mark: object) -> None:
        """Note something of the test's own between the changes."""
        self.events.append(Event("mark", mark=mark))

    def killed(self) -> SimulatedDisk:
        """The disk as another process finds it after every process that used it was killed."""
        disk = SimulatedDisk(self.boot)
        disk.names = {p: c and Content(c.number, bytes(c.data)) for p, c in self.names.items()}
        disk._numbers = itertools.count(1 + max((c.number for c in disk.names.values() if c), default=0))
        return disk

    def replayed(self, start: SimulatedDisk, stop: int) -> SimulatedDisk:
        """`start`, the disk that this run began with, after the first `stop` changes of the run, and a kill."""
        contents = {content.number: content for content in start.names.values() if content is not None}
        for event in self.events[:stop]:
            content = None
            if event.content is not None:
                content = contents.setdefault(event.content.number, Content(event.content.number))
            match event.name:
                case "write" if content is not None:
                    content.write(event.offset, event.data)
                case "allocate" if content is not None:
                    content.write(len(content.data), bytes(max(0, event.offset - len(content.data))))
                case "rename" if event.path is not None and event.target is not None:
                    start.names[event.target] = start.names.pop(event.path)
                case "link" | "make_directory" | "unlink" | "remove_directory":
                    _apply(start.names, Event(event.name, content, path=event.path))
                case _:
                    pass
        return start.killed()

    def boot_id(self) -> bytes:
        return self.boot.to_bytes(16, "big")

    def make_directory(self, path: Path) -> None:
        self.call("make_directory")
        if path in self.names:
            return
        if path.parent not in self.names:
            self.make_directory(path.parent)
        self.names[path] = None
        self.events.append(Event("make_directory", path=path))

    def list(self, path: Path) -> list[str]:
        self.call("list")
        return [p.name for p in self.names if p.parent == path and p != path]

    def open(self, path: Path, mode: Mode) -> SimulatedFile:
        self.call("open")
        content = self.names.get(path)
        if path in self.names and content is None:
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if content is None:
            if mode in (Mode.READ, Mode.WRITE) or self.names.get(path.parent, path) is not None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            content = self.names[path] = Content(next(self._numbers))
            self.events.append(Event("link", content, path=path))
        elif mode is Mode.CREATE:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        return SimulatedFile(self, content)

    def rename(self, source: Path, target: Path) -> None:
        self.call("rename")
        if source not in self.names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(source))
        content = self.names.pop(source)
        self.names[target] = content
        self.events.append(Event("rename", content, path=source, target=target))

    def unlink(self, path: Path) -> None:
        self.call("unlink")
        if self.names.get(path) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        self.events.append(Event("unlink", self.names.pop(path), path=path))

    def remove_directory(self, path: Path) -> None:
        self.call("remove_directory")
        if any(p.parent == path for p in self.names):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        del self.names[path]
        self.events.append(Event("remove_directory", path=path))

    def sync_directory(self, path: Path) -> None:
        self.call("sync_directory")
        self.events.append(Event("sync_directory", path=path))


@dataclass(slots=True)
class _Unsynced:
    """A file's bytes as they were last synced, and what was done to it since."""

    data: bytes = b""
    writes: list[tuple[int, bytes]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @property
    def live(self) -> bytes:
        data = bytearray(self.data)
        for offset, piece in self.writes:
            end = offset + len(piece)
            if end > len(data):
                data.extend(bytes(end - len(data)))
            data[offset:end] = piece
        return bytes(data).ljust(max([0, *self.lengths]), b"\0")


class Stable:
    """What is on the platters after some events, and what may be."""

    def __init__(self) -> None:
        self.names: dict[Path, Content | None] = {ROOT: None}
        self.files: dict[int, _Unsynced] = {}
        self.pending: list[Event] = []  # changes of names whose directory was not synced
        self.marks: list[object] = []

    @classmethod
    def of(cls, disk: SimulatedDisk) -> Stable:
        """All that is on a disk, as if it had been synced."""
        stable = cls()
        stable.names = dict(disk.names)
        stable.files = {c.number: _Unsynced(bytes(c.data)) for c in disk.names.values() if c is not None}
        return stable

    def take(self, event: Event) -> None:
        """Go on by one event."""
        match event.name:
            case "mark":
                self.marks.append(event.mark)
            case "write":
                file = self._file(event)
                file.writes.append((event.offset, event.data))
                file.lengths.append(max([event.offset + len(event.data), len(file.data), *file.lengths]))
            case "allocate":
                file = self._file(event)
                file.lengths.append(max([event.offset, len(file.data), *file.lengths]))
            case "sync":
                number = event.content.number if event.content else 0
                self.files[number] = _Unsynced(self._file(event).live)
            case "sync_directory":
                still = []
                for change in self.pending:
                    if _directory(change) == event.path:
                        _apply(self.names, change)
                    else:
                        still.append(change)
                self.pending = still
            case "rename":
                # The new name belongs to one directory, the old one to another.
                self.pending.append(Event("link", event.content, path=event.target))
                self.pending.append(Event("unlink", event.content, path=event.path, target=event.target))
            case _:
                self.pending.append(event)

    def _file(self, event: Event) -> _Unsynced:
        assert event.content is not None
        return self.files.setdefault(event.content.number, _Unsynced())

    def crashes(self, rng: random.Random, states_max: int, sector: int) -> Iterator[SimulatedDisk]:
        """Disks that a loss of power may leave here: all of them if they are no more than `states_max`, else some."""
        sectors: dict[tuple[int, int], int] = {}  # of a file's sector: how many writes it has not been synced after
        for number, file in self.files.items():
            for offset, data in file.writes:
                for at in _sectors(offset, len(data), sector):
                    sectors[number, at] = sectors.get((number, at), 0) + 1
        versions = [sorted({0, 1, n // 2, n - 1, n}) for n in sectors.values()]
        files = [number for number, file in self.files.items() if file.lengths]
        lengths = [sorted({len(self.files[n].data), *self.files[n].lengths}) for n in files]
        lengths = [sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]}) for sizes in lengths]
        count = 2 ** len(self.pending) * math.prod(map(len, versions)) * math.prod(map(len, lengths))
        if count <= states_max:
            for kept in itertools.product(*versions):
                for sizes in itertools.product(*lengths):
                    for changes in _subsets(self.pending):
                        choice = dict(zip(sectors, kept, strict=True)), dict(zip(files, sizes, strict=True))
                        yield self._crash(*choice, changes, sector)
            return
        for _ in range(states_max):
            style = rng.random()
            share = 0.0 if style < 0.1 else 1.0 if style < 0.2 else rng.random()
            some = {
                key: n if rng.random() < share else rng.choice(choices) if rng.random() < 0.2 else 0
                for (key, n), choices in zip(sectors.items(), versions, strict=True)
            }
            sizes = {
                n: choices[-1] if share == 1 else rng.choice(choices) for n, choices in zip(files, lengths, strict=True)
            }
            yield self._crash(some, sizes, [c for c in self.pending if rng.random() < share], sector)

    def _crash(
        self, kept: dict[tuple[int, int], int], sizes: dict[int, int], changes: Iterable[Event], sector: int
    ) -> SimulatedDisk:
        names = dict(self.names)
        done = set(map(id, changes))
        for change in self.pending:
            linked = change.name != "unlink" or change.target is None or change.target in names
            if id(change) in done and linked:  # a file that is renamed is never without a name
                _apply(names, change)
        disk = SimulatedDisk(boot=2)
        used = {content.number for content in names.values() if content is not None}
        contents = {number: Content(number, self._content(number, kept, sizes, sector)) for number in used}
        disk.names = {path: content and contents[content.number] for path, content in names.items()}
        for path in list(disk.names):  # what lies in a directory whose name was lost is lost with it
            if path != ROOT and any(parent not in disk.names for parent in path.parents if ROOT in parent.parents):
                del disk.names[path]
        disk._numbers = itertools.count(1 + max(used, default=0))
        return disk

    def _content(self, number: int, kept: dict[tuple[int, int], int], sizes: dict[int, int], sector: int) -> bytes:
        file = self.files.get(number)
        if file is None:
            return b""
        if not file.writes and not file.lengths:
            return file.data
        data = bytearray(file.data)
        seen: dict[int, int] = {}
        for offset, piece in file.writes:
            for at in _sectors(offset, len(piece), sector):
                seen[at] = seen.get(at, 0) + 1
                if seen[at] <= kept[number, at]:
                    start, end = max(at, offset), min(at + sector, offset + len(piece))
                    if end > len(data):
                        data.extend(bytes(end - len(data)))
                    data[start:end] = piece[start - offset : end - offset]
        size = sizes.get(number, len(data))
        return bytes(data[:size]).ljust(size, b"\0")


def _sectors(offset: int, length: int, sector: int) -> range:
    return range(offset // sector * sector, offset + length, sector)


def _subsets(items: list) -> Iterator[list]:
    for bits in range(2 ** len(items)):
        yield [item for i, item in enumerate(items) if bits >> i & 1]


def _directory(change: Event) -> Path:
    assert change.path is not None
    return change.path.parent


def _apply(names: dict[Path, Content | None], change: Event) -> None:
    assert change.path is not None
    if change.name in ("unlink", "remove_directory"):
        names.pop(change.path, None)
    else:
        names[change.path] = change.content
