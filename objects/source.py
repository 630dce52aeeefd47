"""Sources: the files that hold objects, open for reading. Each is known by its salt, whatever its name is."""

from __future__ import annotations

from pathlib import Path

from piecrust.objects.disk import Disk, File, Mode
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, SegmentHeader


class SegmentSource:
    """A segment, open for reading; a writer may be appending to it."""

    __slots__ = ("file", "header", "path", "read", "salt")

    def __init__(self, file: File, path: Path) -> None:
        """Over an open file; `CorruptStore` or `UnsupportedFormat` if it doesn't begin as a segment does."""
        self.file, self.path = file, path
        self.header = SegmentHeader.decode(file.read(0, SEGMENT_HEADER_BYTES), path)
        self.salt = self.header.salt
        self.read = file.read

    @classmethod
    def open(cls, disk: Disk, path: Path, mode: Mode) -> SegmentSource:
        """Open a segment by its path."""
        file = disk.open(path, mode)
        try:
            return cls(file, path)
        except BaseException:
            file.close()
            raise

    def size(self) -> int:
        """The file's length, room that was allocated included."""
        return self.file.size()

    def close(self) -> None:
        """Close the file."""
        self.file.close()
