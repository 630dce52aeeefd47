"""Sources: the files that hold objects, open for reading. Each is known by its salt, whatever its name is."""

from __future__ import annotations

from pathlib import Path

from piecrust.objects.disk import Disk, File, Mode
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, SegmentHeader


class Source:
    """Frames in a file."""

    def __init__(self, path: Path, header: SegmentHeader) -> None:
        self.path, self.header, self.salt = path, header, header.salt

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end."""
        raise NotImplementedError

    def view(self, offset: int, length: int) -> memoryview:
        """The same, without a copy if the file is mapped."""
        return memoryview(self.read(offset, length))

    def size(self) -> int:
        """Where frames end at the latest."""
        raise NotImplementedError

    def rest(self) -> None:
        """Give back the memory that was needed for reading; what is read again comes from the file."""

    def close(self) -> None:
        """Give the file back."""
        raise NotImplementedError


class SegmentSource(Source):
    """A segment; a writer may be appending to it."""

    def __init__(self, file: File, path: Path) -> None:
        """Over an open file; `CorruptStore` or `UnsupportedFormat` if it doesn't begin as a segment does."""
        super().__init__(path, SegmentHeader.decode(file.read(0, SEGMENT_HEADER_BYTES), path))
        self.file = file
        self.read = file.read  # type: ignore[method-assign]  # one call less for each object that is read

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
