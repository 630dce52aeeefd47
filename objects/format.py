"""The names, limits and version of a store's files, and its FORMAT file. docs/format.md draws every byte.

FORMAT is text, so that a person can read it, and ends in a checksum::

    piecrust store
    version 1
    read
    write
    gc
    segment-bytes 67108864
    checksum 0011223344556677...

`read`, `write` and `gc` name the features that a program must know to do that; this version knows none. The first two
lines and the last keep their form in every version, so that an older program can tell "newer" from "damaged".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from blake3 import blake3
from piecrust.objects.disk import Disk, Mode, write_all
from piecrust.objects.errors import CorruptStore, UnsupportedFormat

VERSION: Final = 1
STORE_DIRECTORY: Final = ".piecrust"
SEGMENT_BYTES_MAX: Final = 64 << 20
FORMAT_BYTES_MAX: Final = 4096

_MAGIC: Final = "piecrust store"
_MODES: Final = ("read", "write", "gc")


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the files of a store are."""

    root: Path  # the .piecrust directory

    @property
    def format(self) -> Path:
        """Version and parameters."""
        return self.root / "FORMAT"

    @property
    def lock(self) -> Path:
        """What writers lock."""
        return self.root / "LOCK"

    @property
    def upkeep(self) -> Path:
        """What the one process locks that seals, collects garbage or makes tables."""
        return self.root / "UPKEEP"

    @property
    def durable(self) -> Path:
        """How far the log is published."""
        return self.root / "DURABLE"

    @property
    def log(self) -> Path:
        """Segments."""
        return self.root / "log"

    @property
    def packs(self) -> Path:
        """Sealed packs."""
        return self.root / "packs"

    @property
    def leases(self) -> Path:
        """What living processes stand on."""
        return self.root / "leases"

    @property
    def index(self) -> Path:
        """Caches."""
        return self.root / "index"

    @property
    def quarantine(self) -> Path:
        """What was taken out and not yet removed."""
        return self.root / "quarantine"

    @property
    def tmp(self) -> Path:
        """Files that have not got their name yet."""
        return self.root / "tmp"

    @property
    def remotes(self) -> Path:
        """The names and addresses of remotes."""
        return self.root / "REMOTES"

    @property
    def directories(self) -> tuple[Path, ...]:
        """Every directory below the root."""
        return self.log, self.packs, self.leases, self.index, self.quarantine, self.tmp

    def segment(self, number: int) -> Path:
        """A segment's file."""
        return self.log / segment_name(number)


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08d}.seg"


def segment_number(name: str) -> int | None:
    """The number of a segment's file name; None if it is no such name."""
    stem, dot, suffix = name.partition(".")
    return int(stem) if dot and suffix == "seg" and len(stem) >= 8 and stem.isascii() and stem.isdigit() else None


@dataclass(frozen=True, slots=True)
class Format:
    """What FORMAT says."""

    segment_bytes_max: int = SEGMENT_BYTES_MAX

    def encode(self) -> bytes:
        """The bytes of FORMAT."""
        lines = [_MAGIC, f"version {VERSION}", *_MODES, f"segment-bytes {self.segment_bytes_max}"]
        text = "\n".join(lines) + "\n"
        return f"{text}checksum {_checksum(text)}\n".encode()


def read_format(disk: Disk, path: Path) -> Format:
    """What the store's FORMAT says.

    Raises:
        FileNotFoundError: there is none.
        CorruptStore: it is damaged.
        UnsupportedFormat: a newer version wrote it, or it needs a feature that this one lacks.
    """
    file = disk.open(path, Mode.READ)
    try:
        data = file.read(0, FORMAT_BYTES_MAX + 1)
    finally:
        file.close()
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError as error:
        raise CorruptStore(path, error.start, "not text") from None
    body, found, checksum = text.rpartition("checksum ")
    if not found or checksum != _checksum(body) + "\n" or not body.startswith(_MAGIC + "\n"):
        raise CorruptStore(path, 0, "the checksum does not match")
    fields = dict(line.partition(" ")[::2] for line in body.splitlines()[1:])
    if fields.get("version") != str(VERSION):
        raise UnsupportedFormat(path, fields.get("version", "unknown"), VERSION)
    for mode in _MODES:
        if fields.get(mode):
            raise UnsupportedFormat(path, f"{VERSION} with features to {mode}: {fields[mode]}", VERSION)
    return Format(segment_bytes_max=_number(fields, "segment-bytes", path))


def write_format(disk: Disk, layout: Layout, value: Format) -> None:
    """Write FORMAT durably, as the last step of making a store."""
    draft = layout.tmp / "FORMAT"
    file = disk.open(draft, Mode.ENSURE)
    try:
        write_all(file, 0, value.encode())
        file.sync()
    finally:
        file.close()
    disk.rename(draft, layout.format)
    disk.sync_directory(layout.root)


def _checksum(text: str) -> str:
    return blake3(text.encode("ascii")).hexdigest()


def _number(fields: Mapping[str, str], name: str, path: Path) -> int:
    text = fields.get(name, "")
    if not text.isdigit() or not 1 << 16 <= int(text) <= SEGMENT_BYTES_MAX:
        raise CorruptStore(path, 0, f"{name} {text!r} is out of range")
    return int(text)
